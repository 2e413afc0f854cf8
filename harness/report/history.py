# SPDX-License-Identifier: GPL-2.0-only
"""The history as text: runs, the results of a test over runs, and what fails since when."""

from __future__ import annotations

from collections.abc import Iterator

from harness.records.history import (
    Category,
    Cell,
    CellState,
    HistoryState,
    PastResult,
    PastRun,
    Pruned,
    ResultHistory,
    ResultState,
    RunHistory,
)
from harness.report import columns
from harness.report.cache import gib

_WIDEST = 100
#: Plurals of the categories that are nouns.
_PLURALS: dict[Category, str] = {
    "regression": "regressions",
    "new failure": "new failures",
    "new pass": "new passes",
}


def category(number: int, which: Category) -> str:
    """Return how many tests are in a category, such as ``2 regressions`` or ``2 fixed``."""
    return columns.count(number, which, _PLURALS.get(which, which))


def when(run: PastRun, *, seconds: bool = False) -> str:
    """Return when a run began, to the minute or second, UTC."""
    return f"{run.started:%Y-%m-%d %H:%M:%S}" if seconds else f"{run.started:%Y-%m-%d %H:%M}"


def runs(found: RunHistory) -> Iterator[str]:
    """Yield a line for each run."""
    rows = [
        (when(run), run.verdict, f"{run.seconds:.0f} s", _kernel(run), _cell(run.cell), _name(run))
        for run in found.runs
    ]
    yield from columns.lines(rows)
    yield f"{columns.count(len(rows), 'run')}, newest first"


def results(found: ResultHistory) -> Iterator[str]:
    """Yield a line for each result by cell, and the reason of each that did not pass."""
    cells: dict[str, list[PastResult]] = {}
    for each in found.results:
        cells.setdefault(_cell(each.cell), []).append(each)
    for cell, past in cells.items():
        yield cell
        rows = [
            (
                f"  {when(each.run)}",
                each.status,
                _repetitions(each.good, each.bad),
                f"{each.seconds:.2f} s" if each.seconds else "-",
                each.name,
                _kernel(each.run),
                _name(each.run),
            )
            for each in past
        ]
        for line, each in zip(columns.lines(rows), past, strict=True):
            yield line
            if each.status != "PASS":
                yield f"      {_cut(each.reason)}"
        yield ""
    yield f"{columns.count(len(found.results), 'result')}, newest first"


def state(found: HistoryState) -> Iterator[str]:
    """Yield what fails and what is new, the worst cells first, and a line that sums it up."""
    for each in found.cells:
        if each.tests:
            yield from _cell_state(each)
    same = sum(not each.tests for each in found.cells)
    if same:
        yield f"as before: {columns.count(same, 'cell')}"
    if found.stale:
        yield f"left out: {columns.count(found.stale, 'cell')} without a recent run (--days)"
    counts = [category(number, which) for which, number in found.counts.items() if number]
    word = "FAIL" if found.exit_code else "nothing new that is bad"
    yield f"{word}: {', '.join(counts) or 'no runs'}"


def pruned(found: Pruned) -> Iterator[str]:
    """Yield the runs that were removed, those that could not be, and how many are left."""
    yield from (run.run_dir for run in found.removed)
    yield from found.failed
    verb = "would remove" if found.dry_run else "removed"
    kept = f"kept {found.kept}, {found.landmarks} of them because a test began to fail there"
    yield f"{verb} {columns.count(len(found.removed), 'run')}, {gib(found.bytes)}; {kept}"


def _cell_state(found: CellState) -> Iterator[str]:
    against = f"against {when(found.before)}" if found.before else "its first run"
    yield f"{_cell(found.cell)}"
    yield f"  {when(found.latest)}, {_kernel(found.latest)}, {against}: {_name(found.latest)}"
    for test in found.tests:
        yield f"  {test.category:<13}  {test.status or 'gone':<5}  {test.name}"
        yield from (f"      {line}" for line in (_cut(test.reason), _since(test)) if line)
    known = [f"{found.known} by a known issue"] if found.known else []
    rest = [f"{found.passing} pass", *known, f"{found.skipped} skipped"]
    yield f"  {'as before' if found.before else 'the others'}: {', '.join(rest)}"
    yield ""


def _since(test: ResultState) -> str:
    """Return since when a test fails, how often, and whether that is known."""
    if test.first_bad is None:
        return ""
    often = f"{'flaky' if test.flaky else 'steady'}: {test.bad} of {test.known} bad"
    return "; ".join(
        (
            f"since {when(test.first_bad)} ({_kernel(test.first_bad)}, {_name(test.first_bad)})",
            f"last good {when(test.last_good)} ({_kernel(test.last_good)})"
            if test.last_good
            else "never passed",
            often,
            f"known issue {', '.join(test.known_issues)}" if test.known_issues else "new",
        )
    )


def _repetitions(good: int, bad: int) -> str:
    return f"{bad} of {good + bad} bad" if good + bad > 1 else ""


def _kernel(run: PastRun) -> str:
    return run.release or "not built"


def _name(run: PastRun) -> str:
    return run.run_dir.rpartition("/")[2]


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    words = (cell.kernel, cell.series, cell.config, cell.machine, cell.accel, cell.probes)
    return " | ".join(word for word in words if word)


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 1]}\N{HORIZONTAL ELLIPSIS}"
