# SPDX-License-Identifier: GPL-2.0-only
"""The verdict on a run, from the results of its probes. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from harness.judge import known_issues, promises
from harness.records.known_issue import IssueState, KnownIssue
from harness.records.probe import BAD, ProbeResult, Status
from harness.records.run import PromiseState, RunRecord, Verdict


class RunVerdict(NamedTuple):
    """How a run ends; named as in `RunRecord`.

    Attributes:
        verdict: PASS, FAIL or ERROR.
        exit_code: 0, 1, 2 or 3.
        reason: one line.
        promises: what became of those that probes asked about.
        known_issues: what was seen of those that the kernel has.
    """

    verdict: Verdict
    exit_code: int
    reason: str
    promises: tuple[PromiseState, ...] = ()
    known_issues: tuple[IssueState, ...] = ()


def judge_run(record: RunRecord, issues: Sequence[KnownIssue] = ()) -> RunVerdict:
    """Return the verdict on a run, once every selected probe has a result.

    A run whose only fault is that probes were LOST says nothing about the kernel: it ends with
    ERROR and exit code 3. Nor does one in which the machine could run no probe: that is the
    caller's mistake, exit code 2. A run without probes never passes. A kernel that does not offer
    what the profile says, or offers what it must not, fails the run; a skipped test does not, and
    a known issue only if the run is strict.

    Args:
        record: what is known of the run.
        issues: the known issues of its kernel.
    """
    probes = record.probes
    if not probes:
        return RunVerdict("FAIL", 1, "no probe ran, so nothing was tested")
    if not any(probe.directory or probe.status != "SKIP" for probe in probes):
        first = probes[0]
        return RunVerdict("ERROR", 2, f"no probe could be run: {first.name}: {first.reason}")
    found = promises.states(probes)
    states = known_issues.states(issues, probes)
    blaming: tuple[Status, ...] = (*BAD, "KNOWN") if record.strict else BAD
    faults = [
        *_bad_probes(probes, (*blaming, "LOST")),
        *itertools.islice(promises.unmet(record.expect, record.hgm, found), 1),
        *(f"splat outside of any probe: {splat.title}" for splat in record.splats[:1]),
    ]
    summary = f"{promises.describe_hgm(record.hgm)}; {tally(probes)}"
    if not faults:
        return RunVerdict("PASS", 0, summary, found, states)
    lost_only = {probe.status for probe in probes}.isdisjoint(blaming)
    if lost_only and len(faults) == 1 and any(probe.status == "LOST" for probe in probes):
        return RunVerdict("ERROR", 3, f"{faults[0]}; {summary}", found, states)
    return RunVerdict("FAIL", 1, f"{'; '.join(faults)}; {summary}", found, states)


def tally(probes: Sequence[ProbeResult]) -> str:
    """Return the probes with each status, such as ``9 passed, 12 skipped, 1 known issue``."""
    words: dict[Status, str] = {
        "PASS": "passed",
        "FAIL": "failed",
        "CRASH": "crashed the kernel",
        "HANG": "hung",
        "LOST": "lost",
        "SKIP": "skipped",
    }
    counts = {status: sum(probe.status == status for probe in probes) for status in words}
    parts = [f"{count} {words[status]}" for status, count in counts.items() if count]
    return ", ".join([*parts, *_known(probes)]) or "no probes"


def _known(probes: Sequence[ProbeResult]) -> Iterator[str]:
    """Yield how many known issues probes ended with; nothing where none did."""
    known = [probe for probe in probes if probe.status == "KNOWN"]
    count = len({name for probe in known for name in probe.known_issues})
    where = f" in {len(known)} probe{'s' if len(known) > 1 else ''}" if len(known) != count else ""
    if known:
        yield f"{count} known issue{'s' if count > 1 else ''}{where}"


def _bad_probes(probes: Sequence[ProbeResult], statuses: Sequence[Status]) -> list[str]:
    """Return one line about the worst probe; empty where none has one of these statuses.

    Args:
        probes: the results.
        statuses: the worst first.
    """
    bad = [probe for probe in probes if probe.status in statuses]
    if not bad:
        return []
    worst = min(bad, key=lambda probe: statuses.index(probe.status))
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    return [f"{worst.name} {worst.status}{more}: {worst.reason}"]
