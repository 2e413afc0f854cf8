# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck detect`: do the probes catch seeded kernel faults, and pass without one?

A fault counts as caught only by the probe and with the status that ``faults.toml`` names. A probe
that fails for another reason is shown and does not count.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from harness import pipeline
from harness.campaign import state, strategy
from harness.campaign.state import CampaignState
from harness.context import Context
from harness.errors import SpecError
from harness.kernel.faults import Catch, Fault
from harness.probes.catalog import matches, plain_name
from harness.records.base import Record
from harness.records.probe import ProbeResult, Status
from harness.records.run import RunRecord
from harness.run.request import RunRequest
from harness.run.subject import Subject
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
        config: features of the kernel.
        result: see `FaultResult`.
        by: the first probe that caught it; empty unless it was caught.
        noticed: all probes that caught it, that one first.
        reason: that probe's, or the run's.
        statuses: each probe's status by name.
        seconds: wall time, the build included.
        run_dir: absolute path of the run directory.
    """

    fault: str
    seeds: str
    kind: str
    config: tuple[str, ...]
    result: FaultResult
    by: str
    noticed: tuple[str, ...]
    reason: str
    statuses: dict[str, Status]
    seconds: float
    run_dir: str


class Alarm(Record, frozen=True, kw_only=True):
    """A failure on a kernel without a fault.

    Attributes:
        kernel: series and features.
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
        directory: absolute path of the campaign's directory.
    """

    source: str
    series: str = ""
    release: str
    rows: tuple[FaultRow, ...]
    unfaulted: dict[str, int]
    alarms: tuple[Alarm, ...]
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
) -> Detection:
    """Build, boot and probe a kernel for each fault, and kernels without one.

    Finished runs with the same patch and the same probes are not repeated.

    Args:
        subject: source, machine, and the series that every fault is put on top of; ``none`` for
            the one that each is made for.
        faults: which ones.
        probes: globs over probe names; if empty, each fault's own.
        stock: how many runs without a fault, on that series, or stock and HGM, each with and
            without debug, in turn.
        runs: where the campaign's directory is made.
        context: cache, deadline, progress.

    Raises:
        UserError: if a fault names an unknown probe, or there is no such series.
        CampaignStopped: if this host could not do a run.
    """
    chosen = {fault.name: tuple(probes) or fault.probes for fault in faults}
    requests = {fault.name: faulted(subject, fault, chosen[fault.name]) for fault in faults}
    for request in requests.values():
        pipeline.check(request, context)
    rows, release = [], ""
    identity = (subject, tuple(probes))
    with state.campaign("detect", "faults", identity, runs, context) as campaign:
        for number, fault in enumerate(in_order(faults), 1):
            context.progress.stage("detect", f"{number} of {len(faults)}: {fault.name}")
            step = _step(fault, chosen[fault.name])
            record = run_until_caught(fault, campaign, step, requests[fault.name])
            rows.append(row(fault, record))
            release = release or (record.kernel.release if record.kernel else "")
            context.progress.note(f"{rows[-1].result}: {fault.name}: {rows[-1].reason}")
        unfaulted, alarms = _false_alarms(subject, stock, campaign, context)
        found = Detection(
            source=subject.kernel.source,
            series=_elsewhere(subject),
            release=release,
            rows=tuple(rows),
            unfaulted=unfaulted,
            alarms=alarms,
            directory=str(campaign.directory),
        )
        atomic_write(campaign.directory / "detect.json", msgspec.json.encode(found))
    return found


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


def _step(fault: Fault, globs: tuple[str, ...]) -> str:
    """Return the name of a fault's directory, which depends on its patch and its probes."""
    return f"{fault.name}-{digest(Path(fault.patch).read_bytes(), *fault.config, *globs)[:8]}"


def _elsewhere(subject: Subject) -> str:
    """Return the series that every fault is put on top of; empty for each one's own."""
    return "" if subject.kernel.series == "none" else subject.kernel.series


def faulted(subject: Subject, fault: Fault, globs: tuple[str, ...]) -> RunRequest:
    """Return the run of a kernel with a fault."""
    if not _elsewhere(subject):
        return _request(subject, f"fault:{fault.name}", fault.config, globs, fault.kernel)
    extra = (*subject.kernel.extra, fault.patch)
    kernel = msgspec.structs.replace(subject.kernel, extra=extra)
    subject = msgspec.structs.replace(subject, kernel=kernel)
    return _request(subject, kernel.series, fault.config, globs)


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
    return RunRequest(subject=msgspec.structs.replace(subject, kernel=kernel), probes=globs)


def row(fault: Fault, record: RunRecord) -> FaultRow:
    """Return what a run says about its kernel's fault."""
    noticed = catchers(fault.caught, record)
    by = noticed[0] if noticed else None
    result, reason = _result(fault, record, by)
    return FaultRow(
        fault=fault.name,
        seeds=fault.seeds,
        kind=fault.kind,
        config=fault.config,
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


def _caught(catch: Catch, probe: ProbeResult) -> bool:
    if probe.status not in catch.status or not matches(plain_name(probe.name), catch.probe):
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
        if probe.status not in ("PASS", "SKIP")
        and (has_series or probe.status not in probe.without_series)
    ]
    wrong += [f"splat: {splat.title}" for splat in record.splats]
    if record.verdict == "ERROR":
        wrong.append(record.reason)
    elif has_series and not record.hgm.present:
        wrong.append(f"it has no HGM: {record.hgm.evidence}")
    return [Alarm(kernel=kernel, what=what, run_dir=record.run_dir) for what in wrong]
