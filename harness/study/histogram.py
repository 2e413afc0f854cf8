# SPDX-License-Identifier: GPL-2.0-only
"""Histograms of times as the C probes print them (`histogram.c` in `probes/c/lib`)."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Cells for each power of two, and all cells: HISTOGRAM_STEPS and HISTOGRAM_CELLS.
_STEPS = 16
_CELLS = _STEPS * 40

_CELL = re.compile(r"(\d{1,3}):(\d{1,9})", re.ASCII)


def parse(text: str) -> tuple[tuple[int, int], ...]:
    """Return cells and their counts, the lowest first.

    Args:
        text: such as ``16:2,250:1``.

    Raises:
        ValueError: if the text is not a histogram.
    """
    found = []
    for word in text.split(","):
        match = _CELL.fullmatch(word)
        if match is None:
            raise ValueError(f"{word!r} is not CELL:COUNT")
        found.append((int(match[1]), int(match[2])))
    cells = [cell for cell, _ in found]
    if cells != sorted(set(cells)) or cells[-1] >= _CELLS or not all(count for _, count in found):
        raise ValueError("the cells are not in order, or not of this histogram")
    return tuple(found)


def percentile(cells: Sequence[tuple[int, int]], percent: float) -> int:
    """Return a time, in ns, that this share of the times does not reach; 6 % more at most.

    Args:
        cells: what `parse` returned.
        percent: above 0; 100 is for the longest time.
    """
    needed = sum(count for _, count in cells) * percent / 100
    seen = 0
    for cell, count in cells:
        seen += count
        if seen >= needed:
            return _start(cell + 1)
    raise ValueError(f"no share of {percent} %")


def shares(cells: Sequence[tuple[int, int]]) -> list[tuple[int, float]]:
    """Return times in ns, and the share, to 1, of all times that do not reach each of them.

    Args:
        cells: what `parse` returned; the first point is where the lowest cell begins.
    """
    total, seen = sum(count for _, count in cells), 0
    points = [(_start(cells[0][0]), 0.0)] if cells else []
    for cell, count in cells:
        seen += count
        points.append((_start(cell + 1), seen / total))
    return points


def _start(cell: int) -> int:
    if cell < _STEPS:
        return cell
    return (_STEPS + cell % _STEPS) << (cell // _STEPS - 1)
