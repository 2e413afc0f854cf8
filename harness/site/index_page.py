# SPDX-License-Identifier: GPL-2.0-only
"""The first page, what is new since the last run; and the page of each cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal

from harness.judge.lines import short
from harness.records.base import Record
from harness.records.history import Category, Cell, CellState, PastRun, ResultState
from harness.records.probe import Status
from harness.records.run import Verdict
from harness.report import history as text
from harness.report.columns import count
from harness.report.history import when
from harness.site import names
from harness.site.past import SiteData
from harness.site.trends import Figure
from harness.site.words import Link, cell_link, cell_words, duration, run_link

#: Tests of a cell that the first page names; the cell's own page has all.
MOST_TESTS = 25
#: Cells that the first page has in full.
MOST_CELLS = 50
_MOST_CHARACTERS = 300
_LATEST_RUNS = 15


class TestLine(Record, frozen=True, kw_only=True):
    """A test that does not end as before, or that fails.

    Attributes:
        test: link to its page.
        category: see `Category`.
        status: in the newest run; empty where that has no result.
        reason: one line; may be empty.
        first_bad: the run since which it fails; None if it does not.
        last_good: the last run in which it passed; None if there is none.
        often: how often it failed lately; may be empty.
        flaky: whether one kernel has both passed and failed it.
        known: the known issues that explain it, in a line; may be empty.
        alarming: whether the kernel got worse, by nothing that is known and not by chance.
    """

    test: Link
    category: Category
    status: Status | Literal[""]
    reason: str
    first_bad: Link | None
    last_good: Link | None
    often: str
    flaky: bool
    known: str
    alarming: bool


class CellBlock(Record, frozen=True, kw_only=True):
    """What is new in a cell.

    Attributes:
        cell: link to its page.
        latest: its newest run.
        before: the run that this is compared with; None for the first one.
        comparison: the page that compares them; empty if there is none.
        lines: what is new, the worst first.
        more: how many more lines the cell's page has.
        rest: how many tests ended as before, in words.
    """

    cell: Link
    latest: Link
    before: Link | None
    comparison: str
    lines: tuple[TestLine, ...]
    more: int
    rest: str


class RunLine(Record, frozen=True, kw_only=True):
    """A run in a list.

    Attributes:
        run: link to its page.
        verdict: see `Verdict`.
        reason: one line.
        cell: link to its cell.
        took: its wall time.
    """

    run: Link
    verdict: Verdict
    reason: str
    cell: Link
    took: str


class Count(Record, frozen=True, kw_only=True):
    """How many tests are in a category.

    Attributes:
        category: see `Category`.
        words: the number and the category.
        alarming: whether one of them is.
    """

    category: Category
    words: str
    alarming: bool


class IndexPage(Record, frozen=True, kw_only=True):
    """The first page.

    Attributes:
        newest: when the newest run began; empty if there is none.
        alarm: that a kernel got worse, or fails in its cell's first run, by nothing that is known
            and not by chance; empty if none does.
        counts: tests by category, without those that end as before.
        same: how many end as before.
        cells: those with something new.
        more: how many more cells have something new.
        quiet: cells where all ends as before.
        stale: how many cells had no run lately.
        runs: the latest.
        total: how many runs there are.
        all_runs: path of the list of them.
    """

    newest: str
    alarm: str
    counts: tuple[Count, ...]
    same: int
    cells: tuple[CellBlock, ...]
    more: int
    quiet: tuple[CellBlock, ...]
    stale: int
    runs: tuple[RunLine, ...]
    total: int
    all_runs: str


class CellPage(Record, frozen=True, kw_only=True):
    """The page of a cell.

    Attributes:
        words: the cell in a line.
        block: what is new in it; None if it had no run lately.
        runs: its last runs, newest first.
        figure: the picture of its times; None if there is none.
    """

    words: str
    block: CellBlock | None
    runs: tuple[RunLine, ...]
    figure: Figure | None


class RunsPage(Record, frozen=True, kw_only=True):
    """A page of the list of runs.

    Attributes:
        number: of the page, from 1 for the oldest runs.
        last: of the page with the newest runs.
        runs: newest first.
        newer: path of the page with newer runs; empty for the newest.
        older: likewise.
    """

    number: int
    last: int
    runs: tuple[RunLine, ...]
    newer: str
    older: str


def index(past: SiteData, compared: AbstractSet[str]) -> IndexPage:
    """Return the model of the first page.

    Args:
        past: what is known.
        compared: IDs of the runs that have a page which compares them with the run before.
    """
    state = past.state
    blocks = [block(each, compared, MOST_TESTS) for each in state.cells]
    new = [each for each in blocks if each.lines]
    alarming = {test.category for each in state.cells for test in each.tests if test.alarming}
    worse = any(test.alarming for each in state.cells if each.before for test in each.tests)
    fails = "The kernel got worse." if worse else "A kernel fails that was not run before."
    return IndexPage(
        newest=when(past.runs[0]) if past.runs else "",
        alarm=fails if state.exit_code else "",
        counts=tuple(
            Count(
                category=category,
                words=text.category(number, category),
                alarming=category in alarming,
            )
            for category, number in state.counts.items()
            if category != "same" and number
        ),
        same=state.counts["same"],
        cells=tuple(new[:MOST_CELLS]),
        more=len(new) - len(new[:MOST_CELLS]),
        quiet=tuple(each for each in blocks if not each.lines),
        stale=state.stale,
        runs=tuple(map(run_line, past.runs[:_LATEST_RUNS])),
        total=len(past.runs),
        all_runs=names.RUNS,
    )


def cell(
    which: Cell,
    found: Sequence[PastRun],
    state: CellState | None,
    compared: AbstractSet[str],
    figure: Figure | None = None,
) -> CellPage:
    """Return the model of a cell's page.

    Args:
        which: the cell.
        found: its last runs, newest first.
        state: what is new in it; None if it had no run lately.
        compared: as for `index`.
        figure: of its times; None if there is none.
    """
    return CellPage(
        words=cell_words(which) if which.machine else f"Builds of {cell_words(which)}",
        block=block(state, compared, None) if state else None,
        runs=tuple(map(run_line, found)),
        figure=figure,
    )


#: Runs on a page of the list.
RUNS_A_PAGE = 200


def runs(found: Sequence[PastRun]) -> Iterator[RunsPage]:
    """Yield the models of the list's pages.

    A page has the same runs whatever comes later, so that a new run changes the last page only.

    Args:
        found: all runs, newest first.
    """
    last = _pages(len(found))
    oldest_first = found[::-1]
    for number in range(1, last + 1):
        part = oldest_first[(number - 1) * RUNS_A_PAGE : number * RUNS_A_PAGE]
        yield RunsPage(
            number=number,
            last=last if number == last else 0,
            runs=tuple(map(run_line, reversed(part))),
            newer=names.runs(number + 1) if number < last else "",
            older=names.runs(number - 1) if number > 1 else "",
        )


def _pages(total: int) -> int:
    return max(1, -(-total // RUNS_A_PAGE))


def run_line(run: PastRun) -> RunLine:
    """Return a run's line in a list."""
    return RunLine(
        run=run_link(run),
        verdict=run.verdict,
        reason=cut(run.reason),
        cell=cell_link(run.cell),
        took=duration(run.seconds),
    )


def block(state: CellState, compared: AbstractSet[str], most: int | None) -> CellBlock:
    """Return what is new in a cell, at most so many lines."""
    shown = state.tests[:most]
    rest = [count(state.passing, "test") + " passed"] if state.passing else []
    rest += [f"{state.known} failed by a known issue"] if state.known else []
    rest += [f"{state.skipped} skipped"] if state.skipped else []
    return CellBlock(
        cell=cell_link(state.cell),
        latest=run_link(state.latest, state.before),
        before=run_link(state.before, state.latest) if state.before else None,
        comparison=names.comparison(state.latest.id) if state.latest.id in compared else "",
        lines=tuple(map(_line, shown)),
        more=len(state.tests) - len(shown),
        rest=", ".join(rest),
    )


def _line(test: ResultState) -> TestLine:
    return TestLine(
        test=Link(text=test.name, path=names.probe(test.name)),
        category=test.category,
        status=test.status or "",
        reason=cut(test.reason),
        first_bad=run_link(test.first_bad, test.last_good) if test.first_bad else None,
        last_good=run_link(test.last_good, test.first_bad) if test.last_good else None,
        often=f"{test.bad} of {test.known} failed" if test.bad else "",
        flaky=test.flaky,
        known=", ".join(test.known_issues),
        alarming=test.alarming,
    )


def cut(text: str) -> str:
    """Return a text in one line that is not too long for a list."""
    return short(" ".join(text.split()), _MOST_CHARACTERS)
