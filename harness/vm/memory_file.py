# SPDX-License-Identifier: GPL-2.0-only
"""Files in memory that hold a guest's memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path


def create(size: int, stack: ExitStack) -> int:
    """Return the descriptor of an empty one, which the stack closes.

    One on a full disk would kill the QEMU that writes to it.
    """
    descriptor = os.memfd_create("hgm-guest")
    stack.callback(os.close, descriptor)
    os.truncate(descriptor, size)
    return descriptor


def copy(path: Path, stack: ExitStack) -> int:
    """Return the descriptor of one with the content of a sparse file, which the stack closes."""
    with path.open("rb", buffering=0) as file:
        source = file.fileno()
        target = create(os.fstat(source).st_size, stack)
        for start, end in extents(source):
            os.lseek(target, start, os.SEEK_SET)
            while start < end:
                start += os.sendfile(target, source, start, end - start)
    return target


def extents(descriptor: int) -> Iterator[tuple[int, int]]:
    """Yield where each part of a sparse file that is not a hole begins and ends."""
    end = 0
    while True:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end
