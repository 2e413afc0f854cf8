# SPDX-License-Identifier: GPL-2.0-only
"""Was a disturbed run's end right? A pure function over what was seen of it from outside.

The rules, for every kind of fault:

- the harness ended in time, by itself, with the exit code that its record has, and no traceback;
- a result that was in the record before the fault is in it afterwards;
- a PASS has evidence of a probe that ran, and that evidence judged again is a PASS;
- exit code 0 only where every probe passed or was skipped; else the probes that were not run, or
  not to their end, are LOST and the exit code is 3: a fault of this side is no FAIL, CRASH or HANG;
- no process is left, no mount, no file outside of the run directory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from harness.errors import INTERNAL
from harness.records.base import Record
from harness.records.probe import Status
from harness.records.run import RunRecord, Verdict

Stage = Literal["start", "boot", "probe"]

_KILLED = 137
_GAP = "console-gap"


class Seen(Record, frozen=True, kw_only=True):
    """What was seen of a disturbed run once it had ended.

    Attributes:
        exit_code: the harness's, as the shell counts; None if it had to be ended from outside.
        seconds: wall time from the fault to the end.
        record: the run's; None if it cannot be read.
        damaged: why it, or a piece of evidence, cannot be read; empty where all can.
        before: statuses that were in the record when the fault came, by probe; LOST left out.
        again: statuses that the evidence gives when it is judged again, by probe.
        evidence: the probes that have evidence of having ended by themselves with exit code 0.
        processes: what still ran afterwards, by name and process ID.
        mounts: mounts that were left.
        files: files that were left outside of the run directory.
        traceback: whether standard error held one.
        last_line: the last line of standard error and output.
        jump: seconds by which the harness saw its clock jump; 0 where it saw nothing.
    """

    exit_code: int | None
    seconds: float
    record: RunRecord | None
    damaged: str = ""
    before: Mapping[str, Status] = msgspec.field(default_factory=dict)
    again: Mapping[str, Status] = msgspec.field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    traceback: bool = False
    last_line: str = ""
    jump: float = 0.0


@dataclass(frozen=True)
class Ends:
    """How a run may end after one kind of fault.

    Attributes:
        codes: exit codes.
        verdicts: of the record.
        gap: whether a probe may FAIL because its console has a gap: the capture itself was hurt.
        jump: whether the harness must have seen its clock jump.
    """

    codes: tuple[int, ...]
    verdicts: tuple[Verdict, ...]
    gap: bool = False
    jump: bool = False


#: The run must not care.
UNMOVED = Ends((0,), ("PASS",))
#: The clock jumped, and the run must not care.
TIMELESS = Ends((0,), ("PASS",), jump=True)
#: The run cannot end well.
FAILED = Ends((3,), ("ERROR",))
#: It depends on what was still to be done; the general rules tell right from wrong.
EITHER = Ends((0, 3), ("PASS", "ERROR"))
#: The capture itself was hurt: a probe whose console has a gap fails for that reason.
HOLED = Ends((0, 1, 3), ("PASS", "FAIL", "ERROR"), gap=True)
#: Nothing could be written any more, so the record may say that the run did not end.
UNWRITABLE = Ends((3,), ("ERROR", "CUT"))
#: The run was asked to end.
INTERRUPTED = Ends((130,), ("INTERRUPTED",))
#: The run had no chance to do anything.
CUT = Ends((_KILLED,), ("CUT",))


def wrongs(ends: Ends, seen: Seen) -> tuple[str, ...]:
    """Return what was wrong with the end of a disturbed run, a line each; empty if nothing was."""
    rules: tuple[Callable[[Ends, Seen], Iterator[str]], ...] = (
        _wrong_ends,
        _wrong_records,
        _wrong_results,
        _wrong_statuses,
        _leftovers,
    )
    return tuple(line for rule in rules for line in rule(ends, seen))


def _wrong_ends(ends: Ends, seen: Seen) -> Iterator[str]:
    if seen.exit_code is None:
        yield f"it did not end within {seen.seconds:.0f} s"
    elif seen.exit_code not in ends.codes:
        yield f"exit code {seen.exit_code}, not {' or '.join(map(str, ends.codes))}"
    if seen.traceback:
        yield "it ended in a traceback"
    if INTERNAL in seen.last_line:
        yield seen.last_line.removeprefix("hgm: ")
    if not seen.last_line and seen.exit_code != _KILLED:
        yield "it said nothing"
    if ends.jump and not seen.jump:
        yield "its clock did not jump, so nothing was shown"


def _wrong_records(ends: Ends, seen: Seen) -> Iterator[str]:
    if seen.damaged:
        yield f"damaged: {seen.damaged}"
    if seen.record is None:
        return
    if seen.record.verdict not in ends.verdicts:
        yield f"verdict {seen.record.verdict}, not {' or '.join(ends.verdicts)}"
    if seen.exit_code not in (None, _KILLED) and seen.record.exit_code != seen.exit_code:
        yield f"exit code {seen.exit_code}, and {seen.record.exit_code} in the record"
    if not seen.record.reason:
        yield "the record gives no reason"


def _wrong_results(ends: Ends, seen: Seen) -> Iterator[str]:
    if seen.record is None:
        if seen.before:
            yield f"{len(seen.before)} results were lost with the record"
        return
    statuses = {probe.name: probe.status for probe in seen.record.probes}
    for name, status in seen.before.items():
        if statuses.get(name) != status:
            yield f"{name} was {status} before, and is {statuses.get(name, 'gone')}"
    for name, status in statuses.items():
        if status == "PASS" and name not in seen.evidence:
            yield f"{name} is PASS, without evidence that it ran"
        elif status == "PASS" and seen.again.get(name) != "PASS" and not ends.gap:
            yield f"{name} is PASS, and its evidence says {seen.again.get(name, 'nothing')}"


def _wrong_statuses(ends: Ends, seen: Seen) -> Iterator[str]:
    if seen.record is None:
        return
    probes = seen.record.probes
    if seen.exit_code == 0 and (
        not probes or any(probe.status not in ("PASS", "SKIP") for probe in probes)
    ):
        yield "exit code 0, and not every probe passed"
    for probe in probes:
        if probe.status not in ("FAIL", "CRASH", "HANG"):
            continue
        holed = any(splat.kind == _GAP for splat in probe.splats)
        if not (ends.gap and probe.status == "FAIL" and holed):
            yield f"{probe.name} is {probe.status}, through no fault of its own: {probe.reason}"


def _leftovers(ends: Ends, seen: Seen) -> Iterator[str]:
    yield from (f"left running: {each}" for each in seen.processes)
    yield from (f"left mounted: {each}" for each in seen.mounts)
    yield from (f"left behind: {each}" for each in seen.files)
