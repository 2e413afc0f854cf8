# SPDX-License-Identifier: GPL-2.0-only
"""What fails, since when, and what is new: `hgm status`.

Each test of a cell is compared with the run before it there (`Category`). A test that fails has
failed since the run after its last pass. It is flaky if, among the last `WINDOW` runs, one and the
same kernel, by the hash of all that went into it, has both passed and failed it; otherwise it fails
steadily. A FAIL that known issues of the kernel explain is known, any other one is new.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from harness.records.history import (
    BOOT,
    BUILD,
    CONSOLE,
    Category,
    Cell,
    CellState,
    HistoryState,
    PastResult,
    PastRun,
    ResultState,
)

#: How many runs a statement about flakiness rests on.
WINDOW = 50

#: The order in which categories are shown.
ORDER: tuple[Category, ...] = (
    *("regression", "new failure", "still failing", "disappeared"),
    *("fixed", "new pass", "appeared", "same"),
)


class Past(Protocol):
    """What is asked of `harness.store.history.history.HistoryStore`."""

    def cells(self, since: datetime.datetime | None = None) -> tuple[Cell, ...]:
        """Return the cells that have a run since a time."""

    def last_runs(self, cell: Cell, marker: str, count: int) -> tuple[PastRun, ...]:
        """Return the last runs of a cell, newest first."""

    def results_of(self, run: PastRun, marker: str) -> tuple[PastResult, ...]:
        """Return the results of a run."""

    def trail(self, cell: Cell, name: str) -> Iterable[PastResult]:
        """Return the results of a test in a cell that are good or bad, newest first."""


def state(past: Past, since: datetime.datetime) -> HistoryState:
    """Return what fails, and since when, in the cells that have had a run since a time."""
    recent = past.cells(since)
    cells = [found for cell in recent if (found := cell_state(past, cell))]
    cells.sort(key=lambda each: min(map(_rank, each.tests), default=(len(ORDER), True)))
    counts: Counter[Category] = Counter(test.category for each in cells for test in each.tests)
    counts["same"] += sum(each.passing + each.known + each.skipped for each in cells)
    return HistoryState(
        cells=tuple(cells),
        counts={category: counts[category] for category in ORDER},
        stale=len(past.cells()) - len(recent),
        exit_code=int(any(test.alarming for each in cells for test in each.tests)),
    )


def cell_state(past: Past, cell: Cell) -> CellState | None:
    """Return what the history says of a cell; None if it says nothing of its kernel."""
    tests: list[ResultState] = []
    unchanged: Counter[str] = Counter()
    ends: list[tuple[PastRun, PastRun | None]] = []
    for marker in (BOOT, CONSOLE) if cell.machine else (BUILD,):
        runs = past.last_runs(cell, marker, 2)
        if not runs:
            continue
        before = runs[1] if len(runs) > 1 else None
        ends.append((runs[0], before))
        old = {each.name: each for each in (past.results_of(before, marker) if before else ())}
        new = {each.name: each for each in past.results_of(runs[0], marker)}
        for name in dict.fromkeys((*new, *old)):
            category = categorize(old.get(name), new.get(name))
            # In the first run of a cell everything appears, and a known issue is nothing new.
            first = before is None and (category != "new failure" or new[name].status == "KNOWN")
            if category == "same" or first:
                unchanged[new[name].status] += 1
            else:
                tests.append(_test(past, cell, name, category, new.get(name)))
    if not ends:
        return None
    latest, before = max(ends, key=lambda each: each[0].started)
    return CellState(
        cell=cell,
        latest=latest,
        before=before,
        tests=tuple(sorted(tests, key=_rank)),
        passing=unchanged["PASS"],
        known=unchanged["KNOWN"],
        skipped=unchanged["SKIP"] + unchanged["LOST"],
    )


def _rank(test: ResultState) -> tuple[int, bool]:
    """Return a test's place among those of a cell: by category, then those that are alarming."""
    return ORDER.index(test.category), not test.alarming


def categorize(before: PastResult | None, after: PastResult | None) -> Category:
    """Return how a result changed; at least one of the two is there."""
    was, now = _class(before), _class(after)
    if now == "good":
        return {"good": "same", "bad": "fixed"}.get(was, "new pass")  # type: ignore[return-value]
    if now == "bad":
        return {"good": "regression", "bad": "still failing"}.get(was, "new failure")  # type: ignore[return-value]
    if was in ("good", "bad") or after is None:
        return "disappeared"
    return "appeared" if before is None else "same"


def _class(result: PastResult | None) -> str:
    """Return ``good``, ``bad``, or empty for what says nothing: absent, SKIP or LOST."""
    if result is None or not (result.good or result.bad):
        return ""
    return "bad" if result.bad else "good"


def _test(
    past: Past, cell: Cell, name: str, category: Category, newest: PastResult | None
) -> ResultState:
    first_bad: PastRun | None = None
    last_good: PastRun | None = None
    window: list[PastResult] = []
    for number, result in enumerate(past.trail(cell, name)):
        if number < WINDOW:
            window.append(result)
        if result.bad and last_good is None:
            first_bad = result.run
        elif last_good is None:
            last_good = result.run
        if number >= WINDOW and last_good is not None:
            break
    good, bad = sum(each.good for each in window), sum(each.bad for each in window)
    fails = newest is not None and newest.bad > 0
    return ResultState(
        name=name,
        category=category,
        status=newest.status if newest else None,
        reason=newest.reason if newest else "",
        known_issues=newest.known_issues if newest else (),
        first_bad=first_bad if fails else None,
        last_good=last_good,
        flaky=flaky(window),
        bad=bad,
        known=good + bad,
    )


def flaky(results: Iterable[PastResult]) -> bool:
    """Return whether one and the same kernel has both passed and failed a test."""
    good, bad = set(), set()
    for result in results:
        if result.good:
            good.add(result.run.kernel_key)
        if result.bad:
            bad.add(result.run.kernel_key)
    return bool(good & bad - {""})
