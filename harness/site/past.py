# SPDX-License-Identifier: GPL-2.0-only
"""What all pages are made from: the runs, and the last results of each cell."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from harness.records.history import Cell, HistoryState, Mark, PastRun
from harness.records.outcome import Outcome
from harness.site.words import Link, run_link
from harness.store.history import changes
from harness.store.history.history import NIGHTLY, HistoryStore

#: How many runs of a cell are shown on the pages of probes and cells.
WINDOW = 60


class Nights(NamedTuple):
    """The last runs of one cell, and their results.

    Attributes:
        cell: which one.
        runs: at most `WINDOW` whose probes ran, oldest first.
        links: to each of them.
        marks: of each test, one a run, in the order of the runs; None where it has no result.
    """

    cell: Cell
    runs: tuple[PastRun, ...]
    links: tuple[Link, ...]
    marks: dict[str, tuple[Mark | None, ...]]


class SiteData(NamedTuple):
    """What is known.

    Attributes:
        runs: all of them, newest first.
        before: for the ID of a run, the run before it in its cell whose probes ran as well.
        after: for the ID of a run, the one that it is the run before of.
        state: what fails, and since when.
        nights: those of each cell of a machine, in the order of the cells.
        tests: names of all tests.
    """

    runs: tuple[PastRun, ...]
    before: dict[str, PastRun]
    after: dict[str, PastRun]
    state: HistoryState
    nights: tuple[Nights, ...]
    tests: tuple[str, ...]


def read(history: HistoryStore, days: int) -> SiteData:
    """Return what the history knows.

    Args:
        history: the store.
        days: cells without a run in so many days before the newest run are left out of the state.
    """
    runs = history.runs()
    newest = max((run.started for run in runs), default=datetime.datetime.now(datetime.UTC))
    state = changes.state(history, newest - datetime.timedelta(days=days))
    by_cell: dict[Cell, list[PastRun]] = {}
    for run in reversed(runs):
        if run.cell and run.outcome is Outcome.PROBES_RAN and run.campaign in NIGHTLY:
            by_cell.setdefault(run.cell, []).append(run)
    before: dict[str, PastRun] = {}
    after: dict[str, PastRun] = {}
    for each in by_cell.values():
        for one, two in itertools.pairwise(each):
            before[two.id], after[one.id] = one, two
    cells = sorted(by_cell, key=order)
    nights = tuple(_nights(history, cell, by_cell[cell][-WINDOW:]) for cell in cells)
    return SiteData(runs, before, after, state, nights, history.tests())


def order(cell: Cell | None) -> tuple[str, ...]:
    """Return what cells are sorted by; runs without a cell come first."""
    return () if cell is None else msgspec.structs.astuple(cell)


def _nights(history: HistoryStore, cell: Cell, runs: Sequence[PastRun]) -> Nights:
    place = {run.id: number for number, run in enumerate(runs)}
    marks: dict[str, list[Mark | None]] = {}
    for run_id, name, mark in history.marks(runs):
        marks.setdefault(name, [None] * len(runs))[place[run_id]] = mark
    whole = {name: tuple(marks[name]) for name in sorted(marks)}
    return Nights(cell, tuple(runs), tuple(map(run_link, runs)), whole)
