# SPDX-License-Identifier: GPL-2.0-only
"""The overlay of a run: the files it adds to the cached initramfs, such as keys and probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.image import cpio, tree


@dataclass(frozen=True)
class OverlayFile:
    """One file of an overlay.

    Attributes:
        path: where it goes in the guest, absolute or relative to the root.
        data: its contents.
        mode: its permission bits.
    """

    path: str
    data: bytes
    mode: int = 0o644


def overlay_archive(files: Sequence[OverlayFile]) -> bytes:
    """Return a cpio archive to append to ``GuestImage.initramfs``.

    The kernel unpacks one after the other. Parent directories are added with mode 0755, also where
    the initramfs has another mode.

    Raises:
        ValueError: if a path leaves the root, is the root, or is given twice.
    """
    entries = {}
    for one in files:
        path = tree.plain_path(one.path.lstrip("/"))
        if not path or path in entries:
            raise ValueError(f"{one.path!r} is the root, or is given twice")
        entries[path] = tree.file(path, one.data, one.mode)
    return cpio.archive(tree.with_parents(entries).values())
