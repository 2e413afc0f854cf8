# SPDX-License-Identifier: GPL-2.0-only
"""Do the probes catch what they claim to? Kernels with one seeded fault each, and kernels without.

A fault counts as caught only where its own list says so: by that probe, with that status. A probe
that goes wrong for another reason is shown in the table and catches nothing.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from harness.campaign import state
from harness.campaign.state import CampaignState
from harness.context import Context
from harness.errors import SpecError
from harness.kernel.faults import Catch, Fault
from harness.pipeline import RunRequest
from harness.probes import catalog
from harness.probes.catalog import matches, plain_name
from harness.records.base import Record
from harness.records.probe import ProbeResult, Status
from harness.records.run import RunRecord
from harness.run.subject import Subject
from harness.workspace import atomic_write, digest

Outcome = Literal["caught", "missed", "no build", "no boot"]

#: The kernels without a fault that false alarms are looked for on: series and features.
UNFAULTED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("none", ()),
    ("hgm-6.12", ()),
    ("none", ("debug",)),
    ("hgm-6.12", ("debug",)),
)


class Row(Record, frozen=True, kw_only=True):
    """What became of one fault.

    Attributes:
        fault: its name.
        seeds: one line: what is wrong in the kernel.
        kind: its class.
        config: features of the kernel.
        outcome: see `Outcome`.
        by: the first probe that caught it; empty unless it was caught.
        noticed: all probes that noticed it as its list says, that one first.
        reason: that probe's, or why there is none.
        statuses: each probe's status by name.
        seconds: wall time, the build included.
        run_dir: absolute path of the run directory.
    """

    fault: str
    seeds: str
    kind: str
    config: tuple[str, ...]
    outcome: Outcome
    by: str
    noticed: tuple[str, ...]
    reason: str
    statuses: dict[str, Status]
    seconds: float
    run_dir: str


class Alarm(Record, frozen=True, kw_only=True):
    """Something that went wrong on a kernel without a fault.

    Attributes:
        kernel: series and features.
        what: one line.
        run_dir: absolute path of the run directory.
    """

    kernel: str
    what: str
    run_dir: str


class Detection(Record, frozen=True, kw_only=True):
    """The whole answer.

    Attributes:
        source: the kernel source, as it was written.
        release: ``uname -r`` of the kernels; empty where none was built.
        rows: a fault each.
        unfaulted: runs without a fault, by kernel.
        alarms: what went wrong in them.
        directory: absolute path of the campaign's directory.
    """

    source: str
    release: str
    rows: tuple[Row, ...]
    unfaulted: dict[str, int]
    alarms: tuple[Alarm, ...]
    directory: str

    @property
    def exit_code(self) -> int:
        """Return 0 if every fault was caught and nothing else complained, else 1."""
        return 0 if not self.alarms and all(row.outcome == "caught" for row in self.rows) else 1


def select(faults: Sequence[Fault], globs: Sequence[str]) -> tuple[Fault, ...]:
    """Return the faults whose name or class a glob matches; all without any glob.

    Raises:
        SpecError: if a glob matches nothing.
    """
    for glob in globs:
        if not any(_matches(fault, glob) for fault in faults):
            raise SpecError(f"{glob!r} matches no fault", hint="see `hgm selfcheck detect --list`")
    return tuple(f for f in faults if not globs or any(_matches(f, glob) for glob in globs))


def _matches(fault: Fault, glob: str) -> bool:
    return fnmatch.fnmatchcase(fault.name, glob) or fnmatch.fnmatchcase(fault.kind, glob)


def detect(
    subject: Subject,
    faults: Sequence[Fault],
    probes: Sequence[str],
    stock: int,
    runs: Path,
    context: Context,
) -> Detection:
    """Build, boot and probe a kernel for each fault, and kernels without one so many times.

    What was done before, with the same patch and the same probes, is taken from its run directory.

    Args:
        subject: source and machine; its series is ignored.
        faults: which.
        probes: globs over probe names; for each fault those that it names when empty.
        stock: how many runs without a fault, dealt out over `UNFAULTED`.
        runs: where the campaign's directory is made.
        context: cache, deadline, progress.

    Raises:
        UserError: if a fault names no probe that there is, or its patch does not apply.
        CampaignStopped: if this host could not run a point.
    """
    chosen = {fault.name: tuple(probes) or fault.probes for fault in faults}
    for globs in chosen.values():
        catalog.select(catalog.load(), globs)  # what names no probe is said before a build
    rows, release = [], ""
    identity = (subject, tuple(probes))
    with state.campaign("detect", "faults", identity, runs, context) as memory:
        for number, fault in enumerate(in_order(faults), 1):
            context.progress.stage("detect", f"{number} of {len(faults)}: {fault.name}")
            globs = chosen[fault.name]
            record = _look(fault, memory, _point(fault, globs), _request(subject, fault, globs))
            rows.append(row(fault, record))
            release = release or (record.kernel.release if record.kernel else "")
            context.progress.note(f"{rows[-1].outcome}: {fault.name}: {rows[-1].reason}")
        unfaulted, alarms = _false_alarms(subject, stock, memory, context)
        found = Detection(
            source=subject.kernel.source,
            release=release,
            rows=tuple(rows),
            unfaulted=unfaulted,
            alarms=alarms,
            directory=str(memory.directory),
        )
        atomic_write(memory.directory / "detect.json", msgspec.json.encode(found))
    return found


def in_order(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """Return faults so that each kernel differs little from the one built before it."""
    return tuple(sorted(faults, key=lambda fault: (fault.config, fault.on)))


def looks(one_in: int) -> int:
    """Return how many boots leave a chance of 1 % to miss what shows in one of so many."""
    return 1 if one_in == 1 else math.ceil(math.log(0.01) / math.log(1 - 1 / one_in))


def _look(fault: Fault, memory: CampaignState, point: str, request: RunRequest) -> RunRecord:
    """Return the first run that caught a fault, or the last of as many as it should take."""
    done = list(memory.runs(point))
    while True:
        for record in done:
            if catchers(fault.caught, record):
                return record
        if len(done) >= looks(fault.one_in):
            return done[-1]
        done.append(memory.run(point, request))


def _point(fault: Fault, globs: tuple[str, ...]) -> str:
    """Return a fault's directory: another one when its patch or its probes change."""
    return f"{fault.name}-{digest(Path(fault.patch).read_bytes(), *fault.config, *globs)[:8]}"


def _request(subject: Subject, fault: Fault, globs: tuple[str, ...]) -> RunRequest:
    return _run(subject, f"fault:{fault.name}", fault.config, globs)


def _run(
    subject: Subject, series: str, features: tuple[str, ...], globs: tuple[str, ...]
) -> RunRequest:
    kernel = msgspec.structs.replace(
        subject.kernel, series=series, features=(*subject.kernel.features, *features)
    )
    return state.request(msgspec.structs.replace(subject, kernel=kernel), globs)


def row(fault: Fault, record: RunRecord) -> Row:
    """Return what a run says about its kernel's fault."""
    noticed = catchers(fault.caught, record)
    by = noticed[0] if noticed else None
    outcome: Outcome = state.lack(record) or ("caught" if by else "missed")
    return Row(
        fault=fault.name,
        seeds=fault.seeds,
        kind=fault.kind,
        config=fault.config,
        outcome=outcome,
        by=f"{by.name}: {by.status}" if by else "",
        noticed=tuple(probe.name for probe in noticed),
        reason=by.reason if by else record.reason,
        statuses={probe.name: probe.status for probe in record.probes},
        seconds=record.seconds,
        run_dir=record.run_dir,
    )


def catchers(caught: Sequence[Catch], record: RunRecord) -> tuple[ProbeResult, ...]:
    """Return the probes that noticed a fault as its list says, in the list's order."""
    found = {
        probe.name: probe for catch in caught for probe in record.probes if _caught(catch, probe)
    }
    return tuple(found.values())


def _caught(catch: Catch, probe: ProbeResult) -> bool:
    if probe.status not in catch.status or not matches(plain_name(probe.name), catch.probe):
        return False
    said = [probe.reason, *(line for splat in probe.splats for line in splat.block)]
    said += [problem for look in probe.checkpoints for problem in look.problems]
    return not catch.pattern or any(re.search(catch.pattern, line) for line in said)


def _false_alarms(
    subject: Subject, stock: int, memory: CampaignState, context: Context
) -> tuple[dict[str, int], tuple[Alarm, ...]]:
    """Run every probe so many times on kernels without a fault, and return what went wrong."""
    counts: dict[str, int] = {}
    found: list[Alarm] = []
    for index in range(stock):
        series, features = UNFAULTED[index % len(UNFAULTED)]
        name = "+".join((series, *features))
        point = f"unfaulted-{name}"
        counts[name] = counts.get(name, 0) + 1
        done = memory.runs(point)
        context.progress.stage("detect", f"without a fault, {index + 1} of {stock}: {name}")
        if len(done) < counts[name]:
            record = memory.run(point, _run(subject, series, features, ()))
        else:
            record = done[counts[name] - 1]
        found += alarms(name, record, expect_hgm=series != "none")
    return counts, tuple(found)


def alarms(kernel: str, record: RunRecord, *, expect_hgm: bool) -> list[Alarm]:
    """Return what went wrong in a run of a kernel that has no fault.

    With HGM in the kernel, a probe that is skipped because it was not found is one as well.
    """
    wrong = [
        f"{probe.name}: {probe.status}: {probe.reason}"
        for probe in record.probes
        if probe.status not in ("PASS", "SKIP")
    ]
    wrong += [f"the kernel complained: {splat.title}" for splat in record.splats]
    if record.verdict == "ERROR":
        wrong.append(record.reason)
    elif expect_hgm and not record.hgm.present:
        wrong.append(f"it has no HGM: {record.hgm.evidence}")
    return [Alarm(kernel=kernel, what=what, run_dir=record.run_dir) for what in wrong]
