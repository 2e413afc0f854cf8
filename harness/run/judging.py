# SPDX-License-Identifier: GPL-2.0-only
"""Judges the evidence in a run directory: of each probe as it ends, or of an old run again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from harness.errors import RecordError
from harness.judge import checkpoint, dmesg, lines, machine
from harness.judge.known_issues import of_release
from harness.judge.machine import BootSplats
from harness.judge.pagetable import Run
from harness.judge.probe_verdict import ConsoleSlice, judge_probe
from harness.judge.run_verdict import judge_run
from harness.probes import known_issues
from harness.probes.catalog import matches
from harness.records.kernel import KernelSummary
from harness.records.known_issue import KnownIssue
from harness.records.outcome import Outcome
from harness.records.probe import (
    Capture,
    CheckpointResult,
    ProbeEvidence,
    ProbeResult,
    Splat,
    Stalled,
)
from harness.records.run import RunRecord
from harness.store import rundir


def issues_of(kernel: KernelSummary | None) -> tuple[KnownIssue, ...]:
    """Return the known issues that a kernel has by its version; none before it is known."""
    return of_release(known_issues.load(), kernel.release) if kernel else ()


def judge(run_dir: Path, evidence: ProbeEvidence, issues: Sequence[KnownIssue] = ()) -> ProbeResult:
    """Return the result of a probe, judged by the evidence in its directory.

    Args:
        run_dir: the run directory.
        evidence: how the probe ended.
        issues: the known issues of the kernel.

    Raises:
        RecordError: if a file is absent or damaged.
    """
    return _judge(run_dir, evidence, rundir.read_console(run_dir, evidence.console), issues)


def outside_splats(run_dir: Path, stalled: Sequence[Stalled] = ()) -> BootSplats:
    """Return what the kernel reported outside of any probe: its own faults, and the machine's.

    Args:
        run_dir: the run directory.
        stalled: where it reported a lack of progress, as the record has it.

    Raises:
        RecordError: if a file is damaged.
    """
    spans: dict[str, list[tuple[int, int]]] = {name: [] for name in rundir.consoles(run_dir)}
    for item in rundir.all_evidence(run_dir):
        known = spans.setdefault(item.console, [])
        known.append((item.console_from, item.console_to))
        capture = rundir.read_capture(run_dir / rundir.directory_for(item.name))
        if capture is not None:
            known.append((capture.console_from, capture.console_to))
    other = rundir.read_console(run_dir, rundir.OTHER_SERIAL)
    parts = []
    for name, known in spans.items():
        console = rundir.read_console(run_dir, name)
        found = dmesg.outside(_on(name, dmesg.scan(lines.decode(console))), known)
        here = [span for span in stalled if span.console == name]
        parts.append(machine.divide(found, console, other, here))
    return BootSplats(
        tuple(splat for part in parts for splat in part.kernel),
        tuple(splat for part in parts for splat in part.machine),
    )


def any_before_init(run_dir: Path, splats: Sequence[Splat]) -> bool:
    """Return whether one of some splats was printed before its guest's init."""
    return any(
        machine.before_init(
            [splat for splat in splats if splat.console == name],
            rundir.read_console(run_dir, name),
        )
        for name in rundir.consoles(run_dir)
    )


def _on(console: str, splats: Iterable[Splat]) -> tuple[Splat, ...]:
    return tuple(msgspec.structs.replace(splat, console=console) for splat in splats)


class Judged(NamedTuple):
    """The results in a run directory, judged again.

    Attributes:
        probes: in the order of the record, then those that it does not name.
        splats: what the kernel reported outside of any probe.
        machine_splats: those of the machine, see `RunRecord`.
    """

    probes: tuple[ProbeResult, ...]
    splats: tuple[Splat, ...]
    machine_splats: tuple[Splat, ...]


def rejudge(run_dir: Path) -> Judged:
    """Judge the evidence of a run again, by the current rules.

    A probe of the record that never ran has no directory and keeps its result; one that ran just
    before the run was cut may have evidence and no place in the record yet.

    Raises:
        RecordError: if the record or a piece of evidence is absent or damaged.
    """
    record = rundir.load(run_dir)
    consoles: dict[str, bytes] = {}

    def result(item: ProbeEvidence) -> ProbeResult:
        if item.console not in consoles:
            consoles[item.console] = rundir.read_console(run_dir, item.console)
        return _judge(run_dir, item, consoles[item.console], issues)

    issues = issues_of(record.kernel)
    evidence = {item.name: item for item in rundir.all_evidence(run_dir)}
    results: list[ProbeResult] = []
    for probe in record.probes:
        item = evidence.pop(probe.name, None)
        if item is not None:
            results.append(result(item))
        elif not probe.directory:
            results.append(probe)
        else:
            missing = run_dir / rundir.directory_for(probe.name) / rundir.EVIDENCE
            raise RecordError(
                f"{missing} is missing, yet the record says {probe.status}",
                hint="copy the whole run directory; without its evidence a run cannot be judged",
            )
    late = sorted(evidence.values(), key=lambda item: item.console_from)
    results += [result(item) for item in late]
    return Judged(tuple(results), *outside_splats(run_dir, record.stalled))


def judged_again(run_dir: Path) -> RunRecord:
    """Return the record of a run with its evidence judged again, by the current rules.

    A run that did not reach its verdict stays without one: what was not run cannot be judged.

    Raises:
        RecordError: if the record or a piece of evidence is absent or damaged.
    """
    record = rundir.load(run_dir)
    judged = rejudge(run_dir)
    record = msgspec.structs.replace(record, **judged._asdict())
    if record.outcome is not Outcome.PROBES_RAN:
        return record
    issues = issues_of(record.kernel)
    return msgspec.structs.replace(record, **judge_run(record, issues)._asdict())


class Walked(NamedTuple):
    """One checkpoint of a run that can be drawn.

    Attributes:
        probe: name of its probe.
        result: what it showed, judged again.
        runs: the leaf entries that the walk found.
    """

    probe: str
    result: CheckpointResult
    runs: tuple[Run, ...]


def walks(run_dir: Path, glob: str, number: int | None) -> tuple[Walked, ...]:
    """Return the checkpoints of the probes of a run that a glob matches.

    A glob is matched against the whole name of a probe, and against the name without its size.

    Args:
        run_dir: the run directory.
        glob: over names of probes.
        number: only the Nth checkpoint of each; None for all.

    Raises:
        RecordError: if there is none, or the run cannot be read.
    """
    names = [probe.name for probe in rundir.load(run_dir).probes]
    found = tuple(
        Walked(name, result, checkpoint.walk(seen, pages.__getitem__).runs)
        for name in names
        if matches(name, glob)
        for seen, pages in rundir.read_checkpoints(run_dir / rundir.directory_for(name))
        for result in (checkpoint.judge(seen, pages.__getitem__),)
        if number in (None, seen.number) and result.length
    )
    if found:
        return found
    which = "" if number is None else f" {number}"
    raise RecordError(
        f"no probe of {run_dir} that matches {glob!r} has a checkpoint{which} to draw",
        hint="probes with `checkpoints = true` in the catalogue have them",
    )


def walked(run_dir: Path, probe: ProbeResult) -> Iterator[Walked]:
    """Yield the checkpoints of a probe that can be drawn, with the results that its record has.

    To judge them again costs several times as much as to walk the tables.

    Raises:
        RecordError: if a file is damaged.
    """
    results = {each.number: each for each in probe.checkpoints if each.length}
    for seen, pages in rundir.read_checkpoints(run_dir / rundir.directory_for(probe.name)):
        result = results.get(seen.number)
        try:
            asked = checkpoint.parse(seen.line)
            if result is None or (asked.start, asked.length) != (result.start, result.length):
                continue
            runs = checkpoint.walk(seen, pages.__getitem__).runs
        except (ValueError, KeyError):  # the files are not what was judged
            continue
        yield Walked(probe.name, result, runs)


def _judge(
    run_dir: Path, evidence: ProbeEvidence, console: bytes, issues: Sequence[KnownIssue]
) -> ProbeResult:
    directory = rundir.directory_for(evidence.name)
    output, stderr = rundir.read_output(run_dir, evidence.name)
    checkpoints = tuple(
        checkpoint.judge(seen, pages.__getitem__)
        for seen, pages in rundir.read_checkpoints(run_dir / directory)
    )
    capture = rundir.read_capture(run_dir / directory)
    result = judge_probe(
        evidence,
        lines.decode(output),
        lines.decode(stderr),
        _console_slice(evidence, capture, console)._replace(
            post_mortem=lines.decode(rundir.read_post_mortem(run_dir / directory))
        ),
        checkpoints=checkpoints,
        issues=issues,
    )
    files = tuple(step.file for step in capture.steps if step.file) if capture else ()
    splats = _on(evidence.console, result.splats)
    return msgspec.structs.replace(result, directory=directory, evidence=files, splats=splats)


def _console_slice(
    evidence: ProbeEvidence, capture: Capture | None, console: bytes
) -> ConsoleSlice:
    """Return a probe's part of the console: a splat that a capture provoked is not the probe's."""
    hung = capture is not None and capture.why == "hang"
    end = evidence.console_to if hung else _guest_end(console, evidence.console_to)
    captured = console[capture.console_from : capture.console_to] if capture and hung else b""
    return ConsoleSlice(
        text=lines.decode(console[evidence.console_from : end]),
        length=evidence.console_to - evidence.console_from,
        capture=capture,
        captured=lines.decode(captured),
        missing=max(0, evidence.console_to - max(evidence.console_from, len(console))),
    )


def _guest_end(console: bytes, start: int) -> int:
    """Return where the guest that wrote at ``start`` ends: at the next one's banner."""
    banner = machine.BANNER.search(console, start)
    return banner.start() if banner else len(console)
