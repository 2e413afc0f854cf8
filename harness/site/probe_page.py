# SPDX-License-Identifier: GPL-2.0-only
"""The page of a test: how it ended in the last runs of each cell, and when that changed."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator, Sequence

from harness.records.base import Record
from harness.records.history import Mark, PastRun
from harness.records.probe import Status
from harness.site import names
from harness.site.index_page import cut
from harness.site.past import Nights
from harness.site.words import Link, cell_link, duration

#: Results of a cell that are shown one by one; the page of a test with many cells stays small.
_TILES = 40
_WIDTH, _HEIGHT = 300, 40


class Tile(Record, frozen=True, kw_only=True):
    """A result in a row of them.

    Attributes:
        status: how it ended.
        path: of the run.
        title: when, of which kernel, and how it ended.
    """

    status: Status
    path: str
    title: str


class Turn(Record, frozen=True, kw_only=True):
    """A run in which the test ended otherwise than before.

    Attributes:
        run: which one.
        before: how it ended before; empty for the first result.
        status: how it ended then.
        reason: one line; may be empty.
    """

    run: Link
    before: str
    status: Status
    reason: str


class Chart(Record, frozen=True, kw_only=True):
    """How long a test took, as a line in a box of 300 by 40.

    Attributes:
        points: of the line, one a pass: its place in the row of tiles, and its time, 0 below.
        most: the longest time, at the top.
    """

    points: str
    most: str


class Trail(Record, frozen=True, kw_only=True):
    """A test in one cell.

    Attributes:
        cell: which one.
        anchor: of the cell in the page.
        tiles: the last results, oldest first.
        often: how often it failed.
        flaky: whether one kernel has both passed and failed it.
        took: how long it takes.
        chart: how long each pass among the tiles took; None for less than two.
        turns: newest first; none if it passed from the first run on.
    """

    cell: Link
    anchor: str
    tiles: tuple[Tile, ...]
    often: str
    flaky: bool
    took: str
    chart: Chart | None
    turns: tuple[Turn, ...]


class ProbePage(Record, frozen=True, kw_only=True):
    """The page of a test.

    Attributes:
        name: of the test.
        shows: what a PASS shows; empty if it is not in the catalogue.
        guards: the invariant that it guards; may be empty.
        trails: one a cell.
    """

    name: str
    shows: str
    guards: str
    trails: tuple[Trail, ...]


def probe(name: str, nights: Sequence[Nights], shows: str = "", guards: str = "") -> ProbePage:
    """Return the model of a test's page."""
    found = ((each, each.marks[name]) for each in nights if name in each.marks)
    return ProbePage(
        name=name,
        shows=shows,
        guards=guards,
        trails=tuple(_trail(each, marks) for each, marks in found),
    )


def _trail(nights: Nights, marks: Sequence[Mark | None]) -> Trail:
    pairs = [(link, mark) for link, mark in zip(nights.links, marks, strict=True) if mark]
    bad, known = tally(marks)
    return Trail(
        cell=cell_link(nights.cell),
        anchor=anchor(nights),
        tiles=tuple(_tile(link, mark.status) for link, mark in pairs[-_TILES:]),
        often=f"{bad} of {known} failed" if known else "never ran",
        flaky=flaky(nights.runs, marks),
        took=_took([mark.seconds for _, mark in pairs if mark.status == "PASS"]),
        chart=_chart([mark for _, mark in pairs[-_TILES:]]),
        turns=() if {mark.status for _, mark in pairs} == {"PASS"} else tuple(_turns(pairs))[::-1],
    )


@functools.lru_cache(20_000)
def _tile(link: Link, status: Status) -> Tile:
    # That of a run is on the page of each test that ended so in it.
    return Tile(status=status, path=link.path, title=f"{link.text}: {status}")


def anchor(nights: Nights) -> str:
    """Return the name of a cell's place in a test's page."""
    return names.cell(nights.cell).removesuffix(".html").replace("/", "-")


def tally(marks: Sequence[Mark | None]) -> tuple[int, int]:
    """Return how many repetitions failed, and how many have a result."""
    bad = sum(mark.bad for mark in marks if mark)
    return bad, bad + sum(mark.good for mark in marks if mark)


def flaky(runs: Sequence[PastRun], marks: Sequence[Mark | None]) -> bool:
    """Return whether one and the same kernel has both passed and failed a test."""
    bad = {run.kernel_key for run, mark in zip(runs, marks, strict=True) if mark and mark.bad}
    if not bad:
        return False
    good = {run.kernel_key for run, mark in zip(runs, marks, strict=True) if mark and mark.good}
    return bool((good & bad) - {""})


def _took(seconds: Sequence[float]) -> str:
    if not any(seconds):
        return ""
    middle = statistics.median(seconds)
    return (
        f"{duration(middle)} (median), {duration(min(seconds))} to {duration(max(seconds))}, "
        f"{duration(seconds[-1])} the last time"
    )


def _chart(marks: Sequence[Mark]) -> Chart | None:
    passed = [(at, mark.seconds) for at, mark in enumerate(marks) if mark.status == "PASS"]
    most = max((seconds for _, seconds in passed), default=0.0)
    if len(passed) < 2 or not most:
        return None
    across, up = _WIDTH / (len(marks) - 1), _HEIGHT / most
    points = [f"{at * across:.0f},{_HEIGHT - seconds * up:.0f}" for at, seconds in passed]
    return Chart(points=" ".join(points), most=duration(most))


def _turns(pairs: Sequence[tuple[Link, Mark]]) -> Iterator[Turn]:
    before = ""
    for link, mark in pairs:
        if mark.status != before:
            yield Turn(run=link, before=before, status=mark.status, reason=cut(mark.reason))
        before = mark.status
