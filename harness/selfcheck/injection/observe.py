# SPDX-License-Identifier: GPL-2.0-only
"""Gathers what can be observed of a run with an injected fault: its record, evidence and output."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Mapping
from pathlib import Path

import msgspec

from harness.errors import HarnessError
from harness.records.probe import Status
from harness.records.run import RunRecord
from harness.run import judging
from harness.selfcheck.injection.catalogue import Target
from harness.selfcheck.injection.oracle import Observation
from harness.store import rundir

#: A step between two dates of a log that is larger than this is a jump of the clock.
_JUMP_SECONDS = 1800.0


def observe(
    target: Target,
    code: int | None,
    seconds: float,
    before: Mapping[Path, Mapping[str, Status]],
) -> Observation:
    """Return what can be observed of a run or a matrix while its file systems still exist.

    Args:
        target: the run.
        code: its exit code; None if it had to be killed.
        seconds: from the fault to its end.
        before: the statuses in the record of each run just before the fault, by its directory.
    """
    runs = tuple(_of_run(each, before.get(each, {})) for each in target.run_dirs)
    output = (target.private.parent / "output").read_text(errors="replace")
    lines = [line for line in output.splitlines() if line.strip()]
    none = Observation(exit_code=code, seconds=0.0, record=None)
    whole = msgspec.structs.replace(none, runs=runs) if target.again else next(iter(runs), none)
    return msgspec.structs.replace(
        whole,
        exit_code=code,
        seconds=round(seconds, 2),
        traceback="Traceback (most recent call last)" in output,
        last_line=lines[-1] if lines else "",
    )


def _of_run(run_dir: Path, before: Mapping[str, Status]) -> Observation:
    """Return what a run's directory says, as if its command had ended as its record says."""
    record, damaged = None, ""
    rejudged: dict[str, Status] = {}
    exited: tuple[str, ...] = ()
    try:
        record = rundir.load(run_dir)
        rejudged = {probe.name: probe.status for probe in judging.rejudge(run_dir).probes}
        exited = _exited(run_dir)
    except HarnessError as error:
        damaged = error.line()
    return Observation(
        exit_code=record.exit_code if record is not None else None,
        seconds=record.seconds if record is not None else 0.0,
        record=record,
        damaged=damaged,
        before=dict(before),
        rejudged=rejudged,
        exited=exited,
        last_line=record.reason if record is not None else "",
        jump=_clock_jump(run_dir, record),
    )


def _exited(run_dir: Path) -> tuple[str, ...]:
    """Return the probes whose evidence says that they ended by themselves, with exit code 0."""
    found = rundir.all_evidence(run_dir)
    return tuple(item.name for item in found if item.ended == "exit" and item.exit_code == 0)


def _clock_jump(run_dir: Path, record: RunRecord | None) -> float:
    """Return by how many seconds the dates in a run's logs jump."""
    path = run_dir / "qmp.log"
    if record is None or not path.exists():
        return 0.0
    times = [datetime.datetime.fromisoformat(record.started).timestamp()]
    times += dates(path.read_bytes())
    steps = [after - earlier for earlier, after in itertools.pairwise(times)]
    return max((step for step in steps if abs(step) > _JUMP_SECONDS), key=abs, default=0.0)


def dates(log: bytes) -> list[float]:
    """Return the times of a log of JSON lines, of which the last may be incomplete."""
    whole, _, _ = log.rpartition(b"\n")
    return [msgspec.json.decode(line)["time"] for line in whole.splitlines()]
