# SPDX-License-Identifier: GPL-2.0-only
"""The verdict on a run, from the results of its probes. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from harness.judge import promises
from harness.records.probe import ProbeResult, Status
from harness.records.run import HgmSupport, PromiseState, RunRecord, Verdict

# Statuses that fail a run, the worst first.
_BAD: tuple[Status, ...] = ("CRASH", "HANG", "FAIL", "LOST")


class RunVerdict(NamedTuple):
    """How a run ends; named as in `RunRecord`.

    Attributes:
        verdict: PASS, FAIL or ERROR.
        exit_code: 0, 1, 2 or 3.
        reason: one line.
        promises: what became of those that probes asked about.
    """

    verdict: Verdict
    exit_code: int
    reason: str
    promises: tuple[PromiseState, ...] = ()


def judge_run(record: RunRecord) -> RunVerdict:
    """Return the verdict on a run, once every selected probe has a result.

    A run whose only fault is that probes were LOST says nothing about the kernel: it ends with
    ERROR and exit code 3. Nor does one in which the machine could run no probe: that is the
    caller's mistake, exit code 2. A run without probes never passes. A kernel that does not offer
    what the profile says, or offers what it must not, fails the run; a skipped test does not.
    """
    probes = record.probes
    if not probes:
        return RunVerdict("FAIL", 1, "no probe ran, so nothing was tested")
    if not any(probe.directory or probe.status != "SKIP" for probe in probes):
        first = probes[0]
        return RunVerdict("ERROR", 2, f"no probe could be run: {first.name}: {first.reason}")
    found = promises.states(probes)
    faults = [
        *_bad_probes(probes),
        *itertools.islice(promises.unmet(record.expect, record.hgm, found), 1),
        *(f"splat outside of any probe: {splat.title}" for splat in record.splats[:1]),
    ]
    summary = f"{describe_hgm(record.hgm)}; {tally(probes)}"
    if not faults:
        return RunVerdict("PASS", 0, summary, found)
    lost_only = {probe.status for probe in probes}.isdisjoint(("FAIL", "CRASH", "HANG"))
    if lost_only and len(faults) == 1 and any(probe.status == "LOST" for probe in probes):
        return RunVerdict("ERROR", 3, f"{faults[0]}; {summary}", found)
    return RunVerdict("FAIL", 1, f"{'; '.join(faults)}; {summary}", found)


def describe_hgm(hgm: HgmSupport) -> str:
    """Return whether the kernel has HGM, as part of a sentence."""
    if hgm.present is None:
        return "HGM support not known"
    evidence = f" ({hgm.evidence})" if hgm.evidence else ""
    return f"kernel has {'' if hgm.present else 'no '}HGM{evidence}"


def tally(probes: Sequence[ProbeResult]) -> str:
    """Return the number of probes with each status, such as ``9 passed, 12 skipped``."""
    words = {
        "PASS": "passed",
        "FAIL": "failed",
        "CRASH": "crashed the kernel",
        "HANG": "hung",
        "LOST": "lost",
        "SKIP": "skipped",
    }
    counts = {status: sum(probe.status == status for probe in probes) for status in words}
    parts = [f"{counts[status]} {word}" for status, word in words.items() if counts[status]]
    return ", ".join(parts) or "no probes"


def _bad_probes(probes: Sequence[ProbeResult]) -> list[str]:
    """Return one line about the worst probe; empty where none is bad."""
    bad = [probe for probe in probes if probe.status in _BAD]
    if not bad:
        return []
    worst = min(bad, key=lambda probe: _BAD.index(probe.status))
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    return [f"{worst.name} {worst.status}{more}: {worst.reason}"]
