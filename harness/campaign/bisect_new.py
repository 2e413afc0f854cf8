# SPDX-License-Identifier: GPL-2.0-only
"""Bisects what is new in a round of a matrix: `hgm matrix --bisect-new`.

New is a test that passed in an earlier run of its cell and fails in the round's, if it is neither
flaky nor a known issue. It is bisected among the patches of the cell's series; without a series,
among the commits of a local repository since the run in which it last passed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from harness.campaign import bisect, commits
from harness.campaign.bisect import BisectRequest
from harness.campaign.matrix_file import PlannedCell
from harness.campaign.predicate import Predicate
from harness.context import Context
from harness.errors import HarnessError, SpecError
from harness.kernel import specs
from harness.probes import catalog
from harness.records.base import to_json
from harness.records.campaign import Bisection, MatrixResult, NewBisection
from harness.records.history import BOOT, BUILD, CONSOLE, HistoryState, PastRun
from harness.records.probe import BAD
from harness.store import rundir
from harness.workspace import atomic_write

About = Literal["probe", "splat", "build", "boot"]
_ABOUT: dict[str, About] = {BUILD: "build", BOOT: "boot", CONSOLE: "splat"}


class NewFailures(NamedTuple):
    """Tests of one cell that began to fail after the same run.

    Attributes:
        cell: whose.
        about: what a bisection is to look at, as in `Predicate`.
        tests: their names.
        good: the run in which they last passed.
        bad: the run of the round.
    """

    cell: PlannedCell
    about: About
    tests: tuple[str, ...]
    good: PastRun
    bad: PastRun


def new_failures(
    planned: Sequence[PlannedCell], result: MatrixResult, state: HistoryState
) -> Iterator[NewFailures]:
    """Yield what is new in a round; of cells with the same kernel, a test only in the first one.

    Args:
        planned: the cells of the matrix.
        result: the round.
        state: what the history says after it.
    """
    cells = {found.run_dir: cell for cell, found in zip(planned, result.cells, strict=True)}
    seen: set[tuple[tuple[str, ...], str]] = set()
    for each in state.cells:
        cell = cells.get(each.latest.run_dir)
        if cell is None:
            continue
        groups: dict[tuple[About, str], list[str]] = {}
        good: dict[str, PastRun] = {}
        for test in each.tests:
            if test.alarming and test.last_good and (cell.build, test.name) not in seen:
                seen.add((cell.build, test.name))
                good[test.last_good.id] = test.last_good
                about = _ABOUT.get(test.name, "probe")
                groups.setdefault((about, test.last_good.id), []).append(test.name)
        for (about, run), names in groups.items():
            yield NewFailures(cell, about, tuple(names), good[run], each.latest)


def bisect_new(
    planned: Sequence[PlannedCell],
    result: MatrixResult,
    state: HistoryState,
    runs: Path,
    context: Context,
) -> MatrixResult:
    """Bisect what is new in a round, and return the round with what was found.

    A bisection that cannot be done does not end the others.

    Args:
        planned: the cells of the matrix.
        result: the round.
        state: what the history says after it.
        runs: where the directories of the bisections are made.
        context: cache, deadline, progress.
    """
    found: list[NewBisection] = []
    for failures in new_failures(planned, result, state):
        for each in _bisections(failures, runs, context):
            found.append(each)
            result = msgspec.structs.replace(result, bisections=tuple(found))
            atomic_write(Path(result.directory) / "matrix.json", to_json(result))
    return result


def _bisections(failures: NewFailures, runs: Path, context: Context) -> Iterator[NewBisection]:
    """Yield a bisection for each culprit; tests that fail in the same kernel share one."""
    left = failures.tests
    if failures.about == "probe":
        known = {spec.name for spec in catalog.load()}
        left = tuple(name for name in left if name in known)
        others = tuple(name for name in failures.tests if name not in known)
        if others:
            yield _without(failures, others, "only probes of the catalogue can be bisected")
    while left:
        context.progress.stage("matrix", f"bisecting {', '.join(left)}")
        try:
            found = _bisect(failures, left, runs, context)
        except HarnessError as error:
            yield _without(failures, left, error.line(), left=context.deadline.expired())
            return
        failing = _bad_in(found)
        bad = tuple(name for name in left if name in failing) or left
        yield NewBisection(names=str(failures.cell.names), tests=bad, found=found)
        left = tuple(name for name in left if name not in bad)


def _bisect(
    failures: NewFailures, tests: tuple[str, ...], runs: Path, context: Context
) -> Bisection:
    request = failures.cell.request
    probes = tests if failures.about == "probe" else request.probes
    wanted = BisectRequest(
        subject=request.subject, predicate=Predicate(about=failures.about, probes=probes)
    )
    kernel = request.subject.kernel
    if kernel.series != "none":
        return bisect.bisect_series(wanted, runs, context)
    source = specs.parse_source(kernel.source)
    ends = [run.origin.removeprefix("commit ") for run in (failures.good, failures.bad)]
    if source.kind != "git" or not Path(source.where).is_dir():
        raise SpecError(
            f"{kernel.source} without a series has neither patches nor commits to bisect",
            hint=f"it changed from {failures.good.origin} to {failures.bad.origin}",
        )
    history = commits.history(Path(source.where), ends[0], ends[1], context)
    return bisect.bisect_commits(wanted, history, runs, context)


def _bad_in(found: Bisection) -> Collection[str]:
    """Return the probes that fail in the kernel that showed the fault."""
    shown = found.shown
    if shown is None:
        return ()
    record = rundir.load(Path(shown.run_dir))
    return {catalog.plain_name(probe.name) for probe in record.probes if probe.unexcused in BAD}


def _without(
    failures: NewFailures, tests: tuple[str, ...], reason: str, *, left: bool = False
) -> NewBisection:
    return NewBisection(names=str(failures.cell.names), tests=tests, reason=reason, left=left)
