# SPDX-License-Identifier: GPL-2.0-only
"""Runs the cells of a matrix, one after the other or on the hosts of a cluster: a night.

A matrix has rounds. A round is finished when each of its cells has had its turn and what is new is
bisected, if that is asked for; the same command continues one that was interrupted or ran out of
time, and begins the next one otherwise. The matrix's directory has

::

    round.json               which round, since when, and whether it is finished
    matrix.json              the result
    CELL/STAMP-.../          a run of that cell
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from harness import pipeline
from harness.campaign import state
from harness.campaign.matrix_file import PlannedCell
from harness.campaign.state import CampaignState, PlannedRun
from harness.context import Context
from harness.errors import CampaignStopped, SpecError, UserError
from harness.records.base import Record, read_json, to_json
from harness.records.campaign import MatrixCell, MatrixResult
from harness.records.run import RunRecord
from harness.workspace import atomic_write

_ROUND = "round.json"


class Round(Record, frozen=True, kw_only=True):
    """One pass over all cells.

    Attributes:
        number: from 1.
        started: UTC, as in `RunRecord.started`.
        finished: as in `MatrixResult`.
    """

    number: int
    started: str
    finished: bool = False


def check(planned: Sequence[PlannedCell], context: Context) -> None:
    """Find the mistakes in cells that can be known before anything is built.

    Raises:
        SpecError: for the first one: a source, series, fragment or glob that does not exist.
    """
    for cell in planned:
        try:
            pipeline.check(cell.request, context)
        except UserError as error:
            raise SpecError(f"{cell.names}: {error.message}", hint=error.hint) from error


def run_matrix(
    planned: Sequence[PlannedCell],
    path: Path,
    cell_budget: float,
    runs: Path,
    context: Context,
    *,
    restart: bool = False,
    bisect: Callable[[MatrixResult], MatrixResult] | None = None,
) -> MatrixResult:
    """Run the cells of a matrix that have not been run in this round.

    A cell that fails, or that this host cannot run, does not end the round. One whose kernel did
    not build in another cell of the round is not run.

    Args:
        planned: the cells, in order.
        path: of the matrix's file; the same path is the same matrix.
        cell_budget: seconds that one cell may take.
        runs: where the campaign's directory is made.
        context: cache, deadline, progress.
        restart: begin a round although the last one is not finished.
        bisect: bisects what is new once all cells have had their turn; None for nothing.

    Raises:
        UserError: if a cell has a mistake that can be known before anything is built.
    """
    check(planned, context)
    identity = (str(path.absolute()),)
    with state.campaign("matrix", path.stem, identity, runs, context) as campaign:
        current = _round(campaign.directory, restart=restart)
        atomic_write(campaign.directory / _ROUND, to_json(current))
        cells = _cells(planned, campaign, current, cell_budget, context)
        all_run = not any(each.left for each in cells)
        result = MatrixResult(
            round=current.number,
            finished=all_run and bisect is None,
            cells=cells,
            directory=str(campaign.directory),
        )
        atomic_write(campaign.directory / "matrix.json", to_json(result))
        if all_run and bisect is not None:
            result = bisect(result)
            finished = not any(each.left for each in result.bisections)
            result = msgspec.structs.replace(result, finished=finished)
            atomic_write(campaign.directory / "matrix.json", to_json(result))
        ended = Round(number=current.number, started=current.started, finished=result.finished)
        atomic_write(campaign.directory / _ROUND, to_json(ended))
    return result


def _round(directory: Path, *, restart: bool) -> Round:
    """Return the round to continue, or a new one."""
    last = read_json(directory / _ROUND, Round)
    if last is not None and not last.finished and not restart:
        return last
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Round(number=1 if last is None else last.number + 1, started=now)


def _cells(
    planned: Sequence[PlannedCell],
    campaign: CampaignState,
    current: Round,
    budget: float,
    context: Context,
) -> tuple[MatrixCell, ...]:
    """Return the results of all cells: of their runs in this round, which are made if need be."""
    cells = {cell.step: cell for cell in planned}
    found: dict[str, MatrixCell] = {}
    seconds: Mapping[str, float] = {}
    ordered = planned
    if context.cluster is not None:  # one after the other, no order is sooner done
        seconds = _earlier_seconds(planned, campaign)
        ordered = longest_first(planned, seconds)

    def left() -> Iterator[PlannedRun]:
        for number, cell in enumerate(ordered, 1):
            known = _known(cell, campaign, current, found, context)
            if known is not None:
                found[cell.step] = known
                continue
            context.progress.stage("matrix", f"{number} of {len(planned)}: {cell.names}")
            limit = f"the cell {cell.names} (cell_budget)"
            expected = seconds.get(cell.step, budget)
            yield PlannedRun(cell.step, cell.request, budget, limit, expected)

    for run, result in campaign.run_each(left()):
        cell = cells[run.step]
        if isinstance(result, RunRecord):
            found[run.step] = _of(cell, result)
        else:
            # The hint of a campaign that has stopped is not for one that goes on.
            reason = result.message if isinstance(result, CampaignStopped) else result.line()
            context.progress.note(reason)
            found[run.step] = _without_run(cell, reason, 3, left=context.deadline.expired())
    return tuple(found[cell.step] for cell in planned)


def _earlier_seconds(
    planned: Sequence[PlannedCell], campaign: CampaignState
) -> Mapping[str, float]:
    """Return how long the guests of each cell took when it last ran, by its step, if it did."""
    last = {cell.step: campaign.runs(cell.step)[-1:] for cell in planned}
    return {step: run.guest_seconds for step, runs in last.items() for run in runs}


def longest_first(
    planned: Sequence[PlannedCell], seconds: Mapping[str, float]
) -> tuple[PlannedCell, ...]:
    """Return cells in the order in which several hosts are done soonest, kernels as they were.

    Args:
        planned: the cells, those of a kernel together.
        seconds: what they will take, by step. One that is not known may take its whole budget.
    """
    kernels = list(dict.fromkeys(cell.build for cell in planned))
    ranks = {build: number for number, build in enumerate(kernels)}
    unknown = float("inf")
    return tuple(sorted(planned, key=lambda c: (ranks[c.build], -seconds.get(c.step, unknown))))


def _known(
    cell: PlannedCell,
    campaign: CampaignState,
    current: Round,
    found: Mapping[str, MatrixCell],
    context: Context,
) -> MatrixCell | None:
    """Return the result of a cell that need not or cannot be run; None for one that is to be."""
    done = [run for run in campaign.runs(cell.step) if run.started >= current.started]
    if done:
        return _of(cell, done[0])
    same = (each for each in found.values() if each.build == cell.build)
    unbuilt = next((each for each in same if not each.built), None)
    if unbuilt is not None:
        reason = f"its kernel was not built: {unbuilt.reason}"
        return _without_run(cell, reason, 1, built=False)
    if context.deadline.expired():
        return _without_run(cell, context.deadline.error().message, 3, left=True)
    return None


def _of(cell: PlannedCell, record: RunRecord) -> MatrixCell:
    return MatrixCell(
        names=str(cell.names),
        build=cell.build,
        built=state.built(record) and state.applied(record),
        verdict=record.verdict if state.lack(record) == "" else "FAIL",
        reason=record.reason,
        exit_code=1 if state.lack(record) else record.exit_code,
        seconds=record.seconds,
        run_dir=record.run_dir,
    )


def _without_run(
    cell: PlannedCell, reason: str, code: int, *, built: bool = True, left: bool = False
) -> MatrixCell:
    return MatrixCell(
        names=str(cell.names),
        build=cell.build,
        built=built,
        left=left,
        verdict="NOT RUN",
        reason=reason,
        exit_code=code,
    )
