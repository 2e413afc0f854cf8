# SPDX-License-Identifier: GPL-2.0-only
"""Write the ``newc`` cpio format, which the kernel unpacks into its first root file system.

Layout: Documentation/driver-api/early-userspace/buffer-format.rst. The kernel reads one archive
after another, so a run's overlay can follow a cached archive, as each is a multiple of four bytes
long. Our own, because cpio(1) needs root to put device nodes on a disk first, and no maintained
Python library writes the format.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.image.tree import Entry

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"

#: The kernel takes no longer name (N_ALIGN and PATH_MAX in init/initramfs.c).
_LONGEST_NAME = 4095


def archive(entries: Iterable[Entry]) -> bytes:
    """Return a whole archive, a multiple of four bytes long, with the entries in the given order.

    Raises:
        ValueError: if a path or a file is longer than the format or the kernel takes.
    """
    return b"".join(pieces(entries))


def pieces(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the same archive in pieces, of which the contents of a file are one."""
    for number, entry in enumerate(entries, start=1):
        yield from _member(number, entry)
    yield from _member(0, Entry(_TRAILER, 0))


def _member(inode: int, entry: Entry) -> Iterator[bytes]:
    name = entry.path.encode() + b"\0"
    if len(name) > _LONGEST_NAME or len(entry.data) >= 1 << 32:
        raise ValueError(f"{entry.path[:60]!r} is too long for a cpio archive")
    fields = (
        inode,
        entry.mode,
        0,  # uid
        0,  # gid
        1,  # nlink: a larger one would make the kernel look for hard links
        0,  # mtime
        len(entry.data),
        0,  # major and minor number of the device it was read from
        0,
        *entry.device,
        len(name),
        0,  # checksum, unused in this variant
    )
    header = _MAGIC + b"".join(b"%08X" % field for field in fields)
    yield header + name + _padding(header + name)
    yield entry.data
    yield _padding(entry.data)


def _padding(data: bytes) -> bytes:
    return bytes(-len(data) % 4)
