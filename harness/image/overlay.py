# SPDX-License-Identifier: GPL-2.0-only
"""What one run adds to the cached initramfs: its keys and the probes that were selected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.image import cpio, tree


@dataclass(frozen=True)
class OverlayFile:
    """A file that only one run's guest has.

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

    The kernel unpacks both, one after the other. Directories that the files need are made, with
    mode 0755, also where the initramfs had another mode.

    Raises:
        ValueError: if a path climbs out of the root, is the root, or is given twice.
    """
    entries = {}
    for one in files:
        path = tree.plain_path(one.path.lstrip("/"))
        if not path or path in entries:
            raise ValueError(f"{one.path!r} is no file's path, or is given twice")
        entries[path] = tree.file(path, one.data, one.mode)
    return cpio.archive(tree.with_parents(entries).values())
