# SPDX-License-Identifier: GPL-2.0-only
"""Rows of words as columns, and numbers of things."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def lines(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield a line for each row, each column as wide as its widest word."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{word:<{width}}" for word, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def visible(line: str) -> str:
    """Return a line with U+FFFD for what controls a terminal or turns the order of characters."""
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in line)


def count(number: int, noun: str, many: str = "") -> str:
    """Return ``1 probe``, ``2 probes``, or the other plural that is given."""
    return f"{number} {noun if number == 1 else many or f'{noun}s'}"
