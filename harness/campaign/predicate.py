# SPDX-License-Identifier: GPL-2.0-only
"""When a bisection calls a kernel bad, and what a run's record says about that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from harness.campaign import state
from harness.probes.catalog import matches, plain_name
from harness.records.base import Record
from harness.records.campaign import Term
from harness.records.probe import ProbeResult, Status
from harness.records.run import RunRecord
from harness.run.request import RunRequest
from harness.run.subject import Subject

#: With these statuses a probe makes its kernel bad unless others are asked for.
BAD: tuple[Status, ...] = ("FAIL", "CRASH", "HANG")

# Statuses of a probe that ended, and found no other fault than known issues.
_PASSED: tuple[Status, ...] = ("PASS", "KNOWN")

#: What a kernel that only has to boot runs.
_SMALLEST = ("baseline/memfd-map/2M",)


class Predicate(Record, frozen=True, kw_only=True):
    """When a kernel is bad.

    Attributes:
        about: ``probe`` (its status), ``splat`` (the kernel reports one), ``build``, or ``boot``.
        probes: globs over probe names, run in each kernel; empty for all, unused for ``build`` and
            ``boot``.
        statuses: for ``probe``: the statuses that make the kernel bad.
        signature: for ``probe`` and ``splat``: a regular expression that the reason, or a line of
            the splat, must match as well; empty for any.
    """

    about: Literal["probe", "splat", "build", "boot"] = "probe"
    probes: tuple[str, ...] = ()
    statuses: tuple[Status, ...] = BAD
    signature: str = ""

    def request(self, subject: Subject) -> RunRequest:
        """Return the smallest run of a kernel that decides the predicate."""
        if self.about == "build":
            return RunRequest(subject=subject, build_only=True)
        probes = _SMALLEST if self.about == "boot" else self.probes
        return RunRequest(subject=subject, probes=probes)

    def text(self) -> str:
        """Return the predicate in a few words."""
        match self.about:
            case "build" | "boot":
                return f"bad if it does not {self.about}"
            case "splat":
                what = "the kernel reports a splat"
            case "probe":
                what = f"{' or '.join(self.probes)} ends in {'/'.join(self.statuses)}"
        return f"bad if {what}" + (f" that matches {self.signature!r}" if self.signature else "")

    def selects(self, probe: ProbeResult) -> bool:
        """Return whether the predicate is about a probe."""
        name = plain_name(probe.name)
        return not self.probes or any(matches(name, glob) for glob in self.probes)


class Answer(Record, frozen=True, kw_only=True):
    """What one run says about its kernel.

    Attributes:
        term: see `Term`.
        reason: one line, the first evidence.
    """

    term: Term
    reason: str


def evaluate(predicate: Predicate, record: RunRecord) -> Answer:
    """Return what a finished run says. A kernel that could not be tested is never called good."""
    if not state.applied(record):
        return Answer(term="untestable", reason=f"its series does not apply: {record.reason}")
    for stage, passed in (("build", state.built(record)), ("boot", state.booted(record))):
        if not passed:
            term: Term = "bad" if predicate.about == stage else "untestable"
            return Answer(term=term, reason=f"does not {stage}: {record.reason}")
        if predicate.about == stage:
            return Answer(term="good", reason=f"it {stage}s")
    for found in _evidence(predicate, record):
        return Answer(term="bad", reason=found)
    return _no_evidence(predicate, record)


def _evidence(predicate: Predicate, record: RunRecord) -> Iterator[str]:
    """Yield what makes the kernel bad, a line each."""
    if predicate.about == "splat":
        for splat in (*(s for probe in record.probes for s in probe.splats), *record.splats):
            if _like(predicate.signature, *splat.block, splat.title):
                yield splat.title
        return
    for probe in filter(predicate.selects, record.probes):
        lines = [line for splat in probe.splats for line in splat.block]
        if probe.unexcused in predicate.statuses and _like(
            predicate.signature, probe.reason, *lines
        ):
            yield _line(probe)


def _like(signature: str, *lines: str) -> bool:
    return not signature or any(re.search(signature, line) for line in lines)


def _line(probe: ProbeResult) -> str:
    return f"{probe.name}: {probe.status}: {probe.reason}"


def _no_evidence(predicate: Predicate, record: RunRecord) -> Answer:
    """Return what a run without evidence of the fault says: it is good only if a probe passed.

    One with a known issue counts as passed: all else that it tests was tested.
    """
    probes = tuple(filter(predicate.selects, record.probes))
    for probe in probes:
        if probe.status == "LOST":
            return Answer(term="untestable", reason=_line(probe))
    for probe in probes:
        if probe.status not in (*_PASSED, "SKIP") and predicate.about == "probe":
            return Answer(term="untestable", reason=f"another fault: {_line(probe)}")
    passed = [probe for probe in probes if probe.status in _PASSED]
    if passed or (predicate.about == "splat" and not probes):
        names = ", ".join(dict.fromkeys(plain_name(probe.name) for probe in passed[:3]))
        how = " and ".join(dict.fromkeys(probe.status for probe in passed[:3])) or "PASS"
        return Answer(term="good", reason=f"{names or 'it boots'}: {how}")
    reason = _line(probes[0]) if probes else "no such probe was run"
    return Answer(term="absent", reason=reason)
