# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck detect`: do the probes catch seeded kernel faults, and pass without one?

A fault counts as caught only by the probe and with the status that ``faults.toml`` names. A probe
that fails for another reason is shown and does not count.

Faults that do not touch each other share a kernel. Its run can say that a fault is caught, by a
catch with a pattern and by a probe that no other of them names, and nothing else. A fault that it
does not show is run alone. If a probe fails in a way that no fault names, or is LOST, the run says
nothing: the faults are divided among two kernels, and so on.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from harness import pipeline
from harness.campaign import state, strategy
from harness.campaign.state import CampaignState, PlannedRun
from harness.context import Context
from harness.errors import SpecError
from harness.kernel.faults import Catch, Fault
from harness.probes import catalog
from harness.records.base import Record
from harness.records.machine import MachineSpec
from harness.records.probe import ProbeResult, Status
from harness.records.run import RunRecord
from harness.run.request import RunRequest
from harness.run.subject import Subject
from harness.selfcheck import grouping
from harness.vm import spec
from harness.workspace import atomic_write, digest

#: How it ended with a fault. ``not offered``: nothing showed it, and the kernel does not offer a
#: promise that it rests on. ``not known``: a probe that might have caught it was LOST.
FaultResult = Literal[
    "caught", "missed", "not offered", "not known", "does not apply", "no build", "no boot"
]

#: The results that are right for a fault on top of another series than its own.
_RIGHT_ELSEWHERE = frozenset({"caught", "not offered", "does not apply"})

#: Probability of missing a fault that does not show in each boot.
_MISSED = 0.01

#: The series of the kernels without a fault, on which nothing may fail, and their features.
_UNFAULTED = ("none", "hgm-6.12")
_UNFAULTED_FEATURES: tuple[tuple[str, ...], ...] = ((), ("debug",))


class FaultRow(Record, frozen=True, kw_only=True):
    """The result of one fault.

    Attributes:
        fault: its name.
        seeds: what is wrong in the kernel, in a line.
        kind: its class.
        on: the series that it is made for.
        config: features of the kernel.
        release: ``uname -r`` of the kernel; empty where none was built.
        result: see `FaultResult`.
        by: the first probe that caught it; empty unless it was caught.
        noticed: all probes that caught it, that one first.
        reason: that probe's, or the run's.
        statuses: each probe's status by name; in a shared kernel of the probes that it names.
        seconds: wall time of its run, the build included.
        run_dir: absolute path of the run directory, the same for faults that shared a kernel.
    """

    fault: str
    seeds: str
    kind: str
    on: str = ""
    config: tuple[str, ...]
    release: str = ""
    result: FaultResult
    by: str
    noticed: tuple[str, ...]
    reason: str
    statuses: dict[str, Status]
    seconds: float
    run_dir: str


class Alarm(Record, frozen=True, kw_only=True):
    """A failure that no fault of its kernel names.

    Attributes:
        kernel: series and features, or the faults that shared it.
        what: one line.
        run_dir: absolute path of the run directory.
    """

    kernel: str
    what: str
    run_dir: str


class Detection(Record, frozen=True, kw_only=True):
    """The result: ``detect.json``.

    Attributes:
        source: the kernel source, as it was given.
        series: what the faults were put on top of; empty where each had the series it is made for.
        release: ``uname -r`` of the kernels; empty where none was built.
        rows: one a fault.
        unfaulted: how many runs without a fault, by kernel.
        alarms: what failed in them.
        unexplained: what failed in shared kernels and none of their faults names; the faults were
            then divided among two kernels.
        directory: absolute path of the campaign's directory.
    """

    source: str
    series: str = ""
    release: str
    rows: tuple[FaultRow, ...]
    unfaulted: dict[str, int]
    alarms: tuple[Alarm, ...]
    unexplained: tuple[Alarm, ...] = ()
    directory: str

    @property
    def exit_code(self) -> int:
        """Return 0 if every fault that can show was caught and there was no false alarm, else 1.

        It is 3 if nothing else is wrong than that this host lost a probe.

        That a fault does not apply, or rests on what is not offered, is right only on top of
        another series than its own.
        """
        right = _RIGHT_ELSEWHERE if self.series else {"caught"}
        results = {row.result for row in self.rows} - right
        if self.alarms or results - {"not known"}:
            return 1
        return 3 if results else 0


def select(faults: Sequence[Fault], globs: Sequence[str]) -> tuple[Fault, ...]:
    """Return the faults whose name or class a glob matches, or all.

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
    *,
    alone: bool = False,
) -> Detection:
    """Build, boot and probe kernels with faults, and kernels without one.

    Finished runs with the same patches and the same probes are not repeated.

    Args:
        subject: source, machine, and the series that every fault is put on top of; ``none`` for
            the one that each is made for.
        faults: which ones.
        probes: globs over probe names, which run on each fault alone; if empty, each fault's own.
        stock: how many runs without a fault, on that series, or stock and HGM, each with and
            without debug, in turn.
        runs: where the campaign's directory is made.
        context: cache, deadline, progress.
        alone: whether each fault has a kernel of its own.

    Raises:
        UserError: if a fault names an unknown probe, or there is no such series.
        CampaignStopped: if this host could not do a run.
    """
    for fault in faults:
        pipeline.check(faulted(subject, (fault,), tuple(probes) or fault.probes), context)
    groups = kernels(faults, alone=alone or bool(probes))
    rows: list[FaultRow] = []
    unexplained: list[Alarm] = []
    identity = (subject, tuple(probes))
    with state.campaign("detect", "faults", identity, runs, context) as campaign:
        firsts = [first_run(group, subject, probes) for group in groups]

        def planned() -> Iterator[PlannedRun]:
            for number, (group, first) in enumerate(zip(groups, firsts, strict=True), 1):
                names = ", ".join(fault.name for fault in group)
                context.progress.stage("detect", f"{number} of {len(groups)}: {names}")
                yield first

        found_in = {}
        for run, _ in campaign.each_once(planned()):
            group = groups[firsts.index(run)]
            found_in[run.step] = rows_of(group, campaign, subject, probes)
            for each in found_in[run.step][0]:
                context.progress.note(f"{each.result}: {each.fault}: {each.reason}")
        for first in firsts:
            rows += found_in[first.step][0]
            unexplained += found_in[first.step][1]
        unfaulted, alarms = _false_alarms(subject, stock, campaign, context)
        found = Detection(
            source=subject.kernel.source,
            series=_elsewhere(subject),
            release=next(filter(None, (row.release for row in rows)), ""),
            rows=tuple(rows),
            unfaulted=unfaulted,
            alarms=alarms,
            unexplained=tuple(unexplained),
            directory=str(campaign.directory),
        )
        atomic_write(campaign.directory / "detect.json", msgspec.json.encode(found))
    return found


def kernels(faults: Sequence[Fault], *, alone: bool) -> tuple[tuple[Fault, ...], ...]:
    """Return the faults of each kernel, so that each differs little from the one built before."""
    ordered = in_order(faults)
    return tuple((f,) for f in ordered) if alone else grouping.plan(ordered, catalog.load())


def first_run(group: Sequence[Fault], subject: Subject, probes: Sequence[str]) -> PlannedRun:
    """Return the first run of a kernel with faults.

    Where a fault hangs the kernel, each probe that catches it takes its whole budget and more: only
    the first one that should is run.
    """
    if len(group) == 1:
        hangs = any("HANG" in catch.status for catch in group[0].caught)
        first = (group[0].caught[0].probe,) if hangs else group[0].probes
        return _run_of(group, group[0].name, subject, tuple(probes) or first)
    globs = tuple(catch.probe for fault in group for catch in grouping.exact(fault))
    return _run_of(group, "shared", subject, globs)


def _run_of(
    group: Sequence[Fault], label: str, subject: Subject, globs: tuple[str, ...]
) -> PlannedRun:
    return PlannedRun(_step(label, group, globs), faulted(subject, group, globs))


def rows_of(
    group: Sequence[Fault], campaign: CampaignState, subject: Subject, probes: Sequence[str]
) -> tuple[list[FaultRow], list[Alarm]]:
    """Return a row for each of the faults of a kernel, and what failed that none of them names."""
    first = first_run(group, subject, probes)
    if len(group) == 1:
        (fault,) = group
        record = run_until_caught(fault, campaign, first.step, first.request)
        whole = _run_of(group, fault.name, subject, tuple(probes) or fault.probes)
        if whole.step != first.step and not (state.lack(record) or catchers(fault.caught, record)):
            record = run_until_caught(fault, campaign, whole.step, whole.request)
        return [row(fault, record)], []
    record = campaign.once(first.step, first.request)
    caught, strange = shared_rows(group, record)
    if strange:
        half = len(group) // 2
        parts = [group[:half], group[half:]]
    else:
        parts = [(fault,) for fault in group if fault.name not in caught]
    rows = [] if strange else list(caught.values())
    for part in parts:
        more, also_strange = rows_of(part, campaign, subject, probes)
        rows += more
        strange += also_strange
    return rows, strange


def shared_rows(
    group: Sequence[Fault], record: RunRecord
) -> tuple[dict[str, FaultRow], list[Alarm]]:
    """Return the rows of the faults that a run of their shared kernel shows, by name.

    And what failed there that no fault names.
    """
    rows = {}
    for fault in group:
        alone = msgspec.structs.replace(fault, caught=grouping.exact(fault))
        probes = tuple(p for p in record.probes if any(_is_named(p, c) for c in alone.caught))
        found = row(alone, msgspec.structs.replace(record, probes=probes))
        if found.result == "caught":
            rows[fault.name] = found
    named = {name for found in rows.values() for name in found.noticed}
    rest = tuple(probe for probe in record.probes if probe.name not in named)
    names = " + ".join(fault.name for fault in group)
    record = msgspec.structs.replace(record, probes=rest)
    return rows, alarms(names, record, has_series=group[0].on != "none")


def in_order(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """Return faults so that each kernel differs little from the one built before it."""
    return tuple(sorted(faults, key=lambda fault: (fault.kernel, fault.config, fault.on)))


def run_until_caught(
    fault: Fault, campaign: CampaignState, step: str, request: RunRequest
) -> RunRecord:
    """Return the first run that caught a fault, or the last of as many as it should take.

    A fault that shows in one of N boots gets so many boots that it is missed with 1 % probability.
    A run with a LOST probe says nothing, unless another caught the fault: it is repeated the next
    time.
    """
    boots = strategy.repeats(1 / fault.one_in, _MISSED)
    runs = campaign.runs(step)
    done = [run for run in runs if catchers(fault.caught, run) or not _lost(run)]
    while True:
        for record in done:
            if catchers(fault.caught, record):
                return record
        if done and (len(done) >= boots or _lost(done[-1])):
            return done[-1]
        done.append(campaign.run(step, request))


def _lost(record: RunRecord) -> bool:
    """Return whether a probe of a run was LOST."""
    return any(probe.status == "LOST" for probe in record.probes)


def _step(label: str, faults: Sequence[Fault], globs: tuple[str, ...]) -> str:
    """Return the name of a kernel's directory, which depends on its patches and its probes."""
    patches = (Path(fault.patch).read_bytes() for fault in faults)
    return f"{label}-{digest(*patches, *faults[0].config, *globs)[:8]}"


def _elsewhere(subject: Subject) -> str:
    """Return the series that every fault is put on top of; empty for each one's own."""
    return "" if subject.kernel.series == "none" else subject.kernel.series


def faulted(subject: Subject, faults: Sequence[Fault], globs: tuple[str, ...]) -> RunRequest:
    """Return the run of a kernel with faults that are made for the same one."""
    first = faults[0]
    series, source = subject.kernel.series, ""
    if not _elsewhere(subject):
        if len(faults) == 1:
            return _request(subject, f"fault:{first.name}", first.config, globs, first.kernel)
        series, source = first.on, first.kernel
    extra = (*subject.kernel.extra, *(fault.patch for fault in faults))
    kernel = msgspec.structs.replace(subject.kernel, extra=extra)
    subject = msgspec.structs.replace(subject, kernel=kernel)
    return _request(subject, series, first.config, globs, source)


def _request(
    subject: Subject,
    series: str,
    features: tuple[str, ...],
    globs: tuple[str, ...],
    source: str = "",
) -> RunRequest:
    kernel = msgspec.structs.replace(
        subject.kernel,
        source=source or subject.kernel.source,
        series=series,
        features=(*subject.kernel.features, *features),
    )
    machine = _with_nodes(subject.machine, globs) if globs else subject.machine
    return RunRequest(
        subject=msgspec.structs.replace(subject, kernel=kernel, machine=machine), probes=globs
    )


def _with_nodes(machine: MachineSpec, globs: tuple[str, ...]) -> MachineSpec:
    """Return a machine with as many NUMA nodes as probes need, and the memory for them."""
    nodes = max(each.nodes for each in catalog.select(catalog.load(), globs))
    if nodes <= machine.nodes:
        return machine
    larger = spec.machine(machine.hugepages, cpus=machine.cpus, nodes=nodes, arch_name=machine.arch)
    return msgspec.structs.replace(machine, nodes=nodes, memory=max(machine.memory, larger.memory))


def row(fault: Fault, record: RunRecord) -> FaultRow:
    """Return what a run says about a fault of its kernel."""
    noticed = catchers(fault.caught, record)
    by = noticed[0] if noticed else None
    result, reason = _result(fault, record, by)
    return FaultRow(
        fault=fault.name,
        seeds=fault.seeds,
        kind=fault.kind,
        on=fault.on,
        config=fault.config,
        release=record.kernel.release if record.kernel else "",
        result=result,
        by=f"{by.name}: {by.status}" if by else "",
        noticed=tuple(probe.name for probe in noticed),
        reason=reason,
        statuses={probe.name: probe.status for probe in record.probes},
        seconds=record.seconds,
        run_dir=record.run_dir,
    )


def _result(fault: Fault, record: RunRecord, by: ProbeResult | None) -> tuple[FaultResult, str]:
    """Return how it ended with a fault, and why in a line."""
    if not state.applied(record):
        return "does not apply", record.reason
    if lack := state.lack(record):
        return lack, record.reason
    if by is not None:
        return "caught", by.reason
    for promise in record.promises:
        if promise.name in fault.rests_on and promise.state == "not offered":
            return "not offered", f"it rests on {promise.name}: {promise.word}"
    return "not known" if _lost(record) else "missed", record.reason


def catchers(caught: Sequence[Catch], record: RunRecord) -> tuple[ProbeResult, ...]:
    """Return the probes that caught a fault, in the order of its list."""
    found = {
        probe.name: probe for catch in caught for probe in record.probes if _caught(catch, probe)
    }
    return tuple(found.values())


def _is_named(probe: ProbeResult, catch: Catch) -> bool:
    return catalog.matches(catalog.plain_name(probe.name), catch.probe)


def _caught(catch: Catch, probe: ProbeResult) -> bool:
    if probe.unexcused not in catch.status or not _is_named(probe, catch):
        return False
    lines = [probe.reason, *(line for splat in probe.splats for line in splat.block)]
    lines += [f"{each.name}: {each.reason}" for each in probe.subtests if each.status == "FAIL"]
    lines += [problem for each in probe.checkpoints for problem in each.problems]
    return not catch.pattern or any(re.search(catch.pattern, line) for line in lines)


def _false_alarms(
    subject: Subject, stock: int, campaign: CampaignState, context: Context
) -> tuple[dict[str, int], tuple[Alarm, ...]]:
    """Run all probes on kernels without a fault, ``stock`` times in total; return what failed."""
    counts: dict[str, int] = {}
    found: list[Alarm] = []
    bases = (subject.kernel.series,) if _elsewhere(subject) else _UNFAULTED
    kernels = tuple(itertools.product(_UNFAULTED_FEATURES, bases))
    for index in range(stock):
        features, series = kernels[index % len(kernels)]
        name = "+".join((series, *features))
        step = f"unfaulted-{name}"
        counts[name] = counts.get(name, 0) + 1
        done = campaign.runs(step)
        context.progress.stage("detect", f"without a fault, {index + 1} of {stock}: {name}")
        if len(done) < counts[name]:
            record = campaign.run(step, _request(subject, series, features, ()))
        else:
            record = done[counts[name] - 1]
        found += alarms(name, record, has_series=series != "none")
    return counts, tuple(found)


def alarms(kernel: str, record: RunRecord, *, has_series: bool) -> list[Alarm]:
    """Return what failed in a run of a kernel without a seeded fault.

    Without the series a probe may also end as the catalogue declares: the source has faults of its
    own. With it, a kernel without HGM is an alarm too, because its probes were skipped.
    """
    wrong = [
        f"{probe.name}: {probe.status}: {probe.reason}"
        for probe in record.probes
        if probe.status not in ("PASS", "SKIP", "KNOWN")
        and (has_series or probe.status not in probe.without_series)
    ]
    wrong += [f"splat: {splat.title}" for splat in record.splats]
    if record.verdict == "ERROR":
        wrong.append(record.reason)
    elif has_series and not record.hgm.present:
        wrong.append(f"it has no HGM: {record.hgm.evidence}")
    return [Alarm(kernel=kernel, what=what, run_dir=record.run_dir) for what in wrong]
