# SPDX-License-Identifier: GPL-2.0-only
"""Whether a run with an injected fault ended right. A pure function over what was observed of it.

The rules, for every kind of fault:

- the harness ended in time, by itself, with the exit code of its record and without a traceback;
- a result that was in the record before the fault is in it afterwards;
- a PASS has evidence of a probe that ran, and that evidence judged again is a PASS;
- exit code 0 only if every probe passed or was skipped; otherwise the probes that did not end are
  LOST and the exit code is 3: a fault of the host is never a FAIL, CRASH or HANG;
- no process, no mount and no file outside of the run directory is left.

Each run of a matrix is judged like that, and so is its command. The same command without the lost
cluster must then run each cell that lacks a result, and no other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from harness.errors import INTERNAL
from harness.records.base import Record
from harness.records.probe import BAD, Status
from harness.records.run import RunRecord, Verdict

Stage = Literal["launch", "start", "boot", "restore", "probe", "cell"]

_KILLED = 137
_GAP = "console-gap"


class Observation(Record, frozen=True, kw_only=True):
    """What was observed of a run with an injected fault after its end.

    Attributes:
        exit_code: the harness's, as a shell reports it; None if it had to be killed.
        seconds: from the fault to the end.
        record: the run's; None if it cannot be read, and for a matrix.
        damaged: why the record or a piece of evidence cannot be read; empty where all can.
        before: statuses in the record just before the fault, by probe, without LOST.
        rejudged: statuses from judging the evidence again, by probe.
        exited: the probes whose evidence says that they exited with 0.
        processes: that still ran afterwards, by name and process ID.
        mounts: that were left.
        files: that were left outside of the run directory.
        traceback: whether the output has one.
        last_line: of the output.
        jump: seconds by which the dates in its logs jump; 0 where they do not.
        runs: a matrix's, each by itself.
    """

    exit_code: int | None
    seconds: float
    record: RunRecord | None
    damaged: str = ""
    before: Mapping[str, Status] = msgspec.field(default_factory=dict)
    rejudged: Mapping[str, Status] = msgspec.field(default_factory=dict)
    exited: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    traceback: bool = False
    last_line: str = ""
    jump: float = 0.0
    runs: tuple[Observation, ...] = ()

    @property
    def results(self) -> tuple[Path, ...]:
        """Return the directories of a matrix's runs that have a result."""
        records = (run.record for run in self.runs if run.record is not None)
        return tuple(Path(each.run_dir) for each in records if each.outcome.about_the_kernel)


@dataclass(frozen=True)
class AllowedEnd:
    """How a run may end after one kind of fault.

    Attributes:
        codes: exit codes.
        verdicts: of the record.
        gap: whether a probe may FAIL because its console log has a gap.
        jump: whether the dates in its logs must jump.
        origin: what the record must say about how one of its guests came to be, if any did: a
            regular expression for ``how: reason``, see `harness.records.machine.GuestOrigin`.
        says: what the last line of its output must say, a regular expression.
    """

    codes: tuple[int, ...]
    verdicts: tuple[Verdict, ...]
    gap: bool = False
    jump: bool = False
    origin: str = ""
    says: str = ""


#: The fault must have no effect.
PASSES = AllowedEnd((0,), ("PASS",))
#: The clock jumps, without an effect on the verdict.
PASSES_WITH_JUMP = AllowedEnd((0,), ("PASS",), jump=True)
#: The run cannot continue.
ERROR = AllowedEnd((3,), ("ERROR",))
#: Either, depending on what was still to be done; the general rules decide.
PASSES_OR_ERROR = AllowedEnd((0, 3), ("PASS", "ERROR"))
#: The console log itself is damaged: a probe whose part of it has a gap fails.
CONSOLE_GAP = AllowedEnd((0, 1, 3), ("PASS", "FAIL", "ERROR"), gap=True)
#: Nothing can be written any more, so the record may say that the run did not end.
DISK_FULL = AllowedEnd((3,), ("ERROR", "CUT"))
#: The run was asked to end.
INTERRUPTED = AllowedEnd((130,), ("INTERRUPTED",))
#: The snapshot is made again.
SAVED_AGAIN = AllowedEnd(
    (0,), ("PASS",), origin="^restored: .*is not what was saved; it was made again$"
)
#: The guests are booted.
NOT_SAVED = AllowedEnd((0,), ("PASS",), origin="^booted: could not be saved: no space left")
#: The clock jumps, and guests are restored nevertheless.
RESTORED_WITH_JUMP = AllowedEnd((0,), ("PASS",), jump=True, origin="^restored: ")
#: The guests are booted, or the run ends without one.
NOT_RESTORED = AllowedEnd((0, 3), ("PASS", "ERROR"), origin="^booted: could not be restored: ")
#: The matrix cannot continue without its scheduler.
SCHEDULER_GONE = AllowedEnd(
    (3,), ("ERROR",), says="the scheduler at .* is gone, and [1-9].* with it; start it and repeat"
)
#: The run had no chance to clean up.
KILLED = AllowedEnd((_KILLED,), ("CUT",))


def violations(allowed: AllowedEnd, seen: Observation) -> tuple[str, ...]:
    """Return what was wrong with the end of a run, a line each; empty if it was right."""
    rules = (_ending, _record, _results, _statuses, _runs, _leftovers)
    return tuple(line for rule in rules for line in rule(allowed, seen))


def continued(first: Observation, again: Observation, cells: int) -> tuple[str, ...]:
    """Return what was wrong with a matrix that was continued after a fault, a line each.

    Args:
        first: the matrix at its end with the fault.
        again: the same matrix after it was continued.
        cells: how many it has.
    """
    return tuple(_continued(first, again, cells))


def _continued(first: Observation, again: Observation, cells: int) -> Iterator[str]:
    yield from (f"continued: {line}" for line in violations(PASSES, again))
    for lost in sorted({*first.results} - {*again.results}):
        yield f"the result in {lost} was lost"
    counted = Counter(run.parent.name for run in again.results)
    for cell, count in counted.items():
        if count > 1:
            yield f"the cell {cell} was run again although it had a result"
    if len(counted) != cells:
        yield f"{len(counted)} of {cells} cells have a result after the matrix was continued"


def _ending(allowed: AllowedEnd, seen: Observation) -> Iterator[str]:
    if seen.exit_code is None:
        yield f"it did not end within {seen.seconds:.0f} s"
    elif seen.exit_code not in allowed.codes:
        yield f"exit code {seen.exit_code}, not {' or '.join(map(str, allowed.codes))}"
    if seen.traceback:
        yield "it ended in a traceback"
    if INTERNAL in seen.last_line:
        yield seen.last_line.removeprefix("hgm: ")
    if not seen.last_line and seen.exit_code != _KILLED:
        yield "it printed nothing"
    elif allowed.says and not re.search(allowed.says, seen.last_line):
        yield f"it does not say what happened: {seen.last_line}"
    if allowed.jump and not seen.jump:
        yield "its clock did not jump, so nothing was tested"


def _record(allowed: AllowedEnd, seen: Observation) -> Iterator[str]:
    if seen.damaged:
        yield f"damaged: {seen.damaged}"
    if seen.record is None:
        return
    if seen.record.verdict not in allowed.verdicts:
        yield f"verdict {seen.record.verdict}, not {' or '.join(allowed.verdicts)}"
    if seen.exit_code not in (None, _KILLED) and seen.record.exit_code != seen.exit_code:
        yield f"exit code {seen.exit_code}, but {seen.record.exit_code} in the record"
    if not seen.record.reason:
        yield "the record gives no reason"
    origins = [f"{guest.how}: {guest.reason}" for guest in seen.record.guests]
    needed = allowed.origin and (origins or seen.record.verdict == "PASS")
    if needed and not any(re.search(allowed.origin, each) for each in origins):
        yield untested(allowed)


def untested(allowed: AllowedEnd) -> str:
    """Return the line of a run of which no guest came to be as the fault makes it."""
    return f"no guest has the origin {allowed.origin!r}, so nothing was tested"


def _results(allowed: AllowedEnd, seen: Observation) -> Iterator[str]:
    if seen.record is None:
        if seen.before:
            yield f"{len(seen.before)} results were lost with the record"
        return
    statuses = {probe.name: probe.status for probe in seen.record.probes}
    for name, status in seen.before.items():
        now = statuses.get(name, "gone")
        if now != status:
            yield f"{name} was {status} before the fault and is {now} after it"
    for name, status in statuses.items():
        if status not in ("PASS", "KNOWN"):
            continue
        if name not in seen.exited:
            yield f"{name} is {status} without evidence that it ran"
        elif seen.rejudged.get(name) != status and not allowed.gap:
            yield f"{name} is {status}, but its evidence says {seen.rejudged.get(name, 'nothing')}"


def _statuses(allowed: AllowedEnd, seen: Observation) -> Iterator[str]:
    if seen.record is None:
        return
    probes = seen.record.probes
    if seen.exit_code == 0 and (
        not probes or any(probe.status not in ("PASS", "SKIP", "KNOWN") for probe in probes)
    ):
        yield "exit code 0, but not every probe passed"
    for probe in probes:
        if probe.status not in BAD:
            continue
        gap = any(splat.kind == _GAP for splat in probe.splats)
        if not (allowed.gap and probe.status == "FAIL" and gap):
            yield f"{probe.name} is {probe.status}, which blames the kernel: {probe.reason}"


def _runs(allowed: AllowedEnd, seen: Observation) -> Iterator[str]:
    for number, run in enumerate(seen.runs, 1):
        yield from (f"run {number}: {line}" for line in violations(PASSES_OR_ERROR, run))


def _leftovers(allowed: AllowedEnd, seen: Observation) -> Iterator[str]:
    yield from (f"left running: {each}" for each in seen.processes)
    yield from (f"left mounted: {each}" for each in seen.mounts)
    yield from (f"left over: {each}" for each in seen.files)
