# SPDX-License-Identifier: GPL-2.0-only
"""The result of `hgm cache list` as text."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from harness.cache import CacheEntry

#: Kinds of entries of which there are too many to list each.
_SMALL = {"probe": "compiled probes", "config": "kernel configurations"}


def write(entries: Sequence[CacheEntry], root: Path, limit: int, stream: TextIO) -> None:
    """Write a line an entry, small ones together, and the size of all beside the limit."""
    for kind, words in _SMALL.items():
        if sizes := [entry.size for entry in entries if entry.kind == kind]:
            stream.write(f"{gib(sum(sizes)):>10}  {len(sizes)} {words}\n")
    for entry in entries:
        if entry.kind in _SMALL:
            continue
        used = datetime.datetime.fromtimestamp(entry.used).astimezone()
        name = Path(entry.path).relative_to(root)
        mark = "  in use" if entry.pinned else ""
        stream.write(f"{gib(entry.size):>10}  {used:%Y-%m-%d %H:%M}  {name}{mark}\n")
    total = sum(entry.size for entry in entries)
    stream.write(f"{gib(total):>10}  of {gib(limit)} in {root}\n")


def gib(size: int) -> str:
    """Return a number of bytes in GiB with two decimals."""
    return f"{size / 2**30:.2f} GiB"
