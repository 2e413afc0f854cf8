# SPDX-License-Identifier: GPL-2.0-only
"""The matrix: tests by cells, how each ended last, and how often it failed lately."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harness.records.base import Record
from harness.records.probe import BAD, Status
from harness.site import names
from harness.site.past import Nights
from harness.site.probe_page import anchor, flaky, tally
from harness.site.words import Link, cell_link


class Column(Record, frozen=True, kw_only=True):
    """A cell, which is a column.

    Attributes:
        number: from 1.
        cell: which one.
        latest: its newest run.
    """

    number: int
    cell: Link
    latest: Link


class Square(Record, frozen=True, kw_only=True):
    """A test in a cell.

    Attributes:
        status: in the newest run; empty where that has no result.
        path: of the place in the test's page.
        often: how many of how many failed lately; empty if none did.
        flaky: whether one kernel has both passed and failed it.
    """

    status: Status | Literal[""]
    path: str
    often: str
    flaky: bool


class Row(Record, frozen=True, kw_only=True):
    """A test, which is a row.

    Attributes:
        test: link to its page.
        squares: one a column; None where the cell has no result of it.
        plain: whether it passed or was skipped in every newest run, and failed in none lately.
        flaky: whether it is flaky in a cell.
    """

    test: Link
    squares: tuple[Square | None, ...]
    plain: bool
    flaky: bool


class MatrixPage(Record, frozen=True, kw_only=True):
    """The matrix."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def matrix(nights: Sequence[Nights]) -> MatrixPage:
    """Return the model of the matrix."""
    tests = sorted({name for each in nights for name in each.marks})
    return MatrixPage(
        columns=tuple(
            Column(number=number, cell=cell_link(each.cell), latest=each.links[-1])
            for number, each in enumerate(nights, 1)
        ),
        rows=tuple(_row(name, nights) for name in tests),
    )


def _row(name: str, nights: Sequence[Nights]) -> Row:
    squares = tuple(_square(name, each) for each in nights)
    found = [each for each in squares if each]
    return Row(
        test=Link(text=name, path=names.probe(name)),
        squares=squares,
        plain=not any(each.often or each.status in (*BAD, "KNOWN", "LOST") for each in found),
        flaky=any(each.flaky for each in found),
    )


def _square(name: str, nights: Nights) -> Square | None:
    marks = nights.marks.get(name)
    if marks is None:
        return None
    bad, known = tally(marks)
    last = marks[-1]
    return Square(
        status=last.status if last else "",
        path=f"{names.probe(name)}#{anchor(nights)}",
        often=f"{bad}/{known}" if bad else "",
        flaky=flaky(nights.runs, marks),
    )
