# SPDX-License-Identifier: GPL-2.0-only
"""The overlay of a run: the files it adds to the cached initramfs, such as keys and probes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.image import cpio, tree


@dataclass(frozen=True)
class OverlayFile:
    """One file of an overlay.

    Attributes:
        path: where it goes in the guest, absolute or relative to the root.
        data: its contents, or the file of this host that has them.
        mode: its permission bits.
    """

    path: str
    data: bytes | Path
    mode: int = 0o644


def overlay_archive(files: Sequence[OverlayFile]) -> Iterator[bytes]:
    """Return the pieces of a cpio archive to append to ``GuestImage.initramfs``.

    The kernel unpacks one after the other. Parent directories are added with mode 0755, also where
    the initramfs has another mode. Files are read one after the other: all probes are 50 MB, for
    each of the guests that start at the same time.

    Raises:
        ValueError: if a path leaves the root, is the root, or is given twice.
    """
    contents: dict[str, OverlayFile] = {}
    for one in files:
        path = tree.plain_path(one.path.lstrip("/"))
        if not path or path in contents:
            raise ValueError(f"{one.path!r} is the root, or is given twice")
        contents[path] = one
    whole = tree.with_parents({path: tree.file(path, b"", 0) for path in contents})
    return cpio.pieces(
        _entry(path, contents[path]) if path in contents else each for path, each in whole.items()
    )


def _entry(path: str, one: OverlayFile) -> tree.Entry:
    data = one.data.read_bytes() if isinstance(one.data, Path) else one.data
    return tree.file(path, data, one.mode)
