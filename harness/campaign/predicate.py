# SPDX-License-Identifier: GPL-2.0-only
"""What a bisection asks of each kernel, and what a run's record answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from harness.campaign import state
from harness.pipeline import RunRequest
from harness.probes.catalog import matches, plain_name
from harness.records.base import Record
from harness.records.probe import ProbeResult, Status
from harness.records.run import RunRecord
from harness.run.subject import Subject

#: ``absent``: the kernel has not yet what the question is about; ``untestable``: it cannot tell.
Answer = Literal["good", "bad", "absent", "untestable"]

#: What makes a kernel bad where nothing else is said.
BAD: tuple[Status, ...] = ("FAIL", "CRASH", "HANG")

#: A kernel that is only to be booted runs this.
_SMALLEST = ("baseline/memfd-map/2M",)


class Question(Record, frozen=True, kw_only=True):
    """When a kernel is bad.

    Attributes:
        about: ``probe`` (its status), ``splat`` (the kernel complains), ``build``, or ``boot``.
        probes: globs over probe names, run in each kernel; empty for all, unused for ``build`` and
            ``boot``.
        statuses: for ``probe``: with which of them a probe makes the kernel bad.
        signature: for ``probe`` and ``splat``: a regular expression that the reason, or a line of
            what the kernel said, must match as well; empty for any.
    """

    about: Literal["probe", "splat", "build", "boot"] = "probe"
    probes: tuple[str, ...] = ()
    statuses: tuple[Status, ...] = BAD
    signature: str = ""

    def request(self, subject: Subject) -> RunRequest:
        """Return the run that answers for a kernel: no more than it takes."""
        if self.about == "build":
            return state.request(subject, (), build_only=True)
        return state.request(subject, _SMALLEST if self.about == "boot" else self.probes)

    def text(self) -> str:
        """Return the question in a few words."""
        match self.about:
            case "build":
                return "does it not build?"
            case "boot":
                return "does it not boot?"
            case "splat":
                return f"does the kernel complain{self._like()}?"
        return f"is {' or '.join(self.probes)} {'/'.join(self.statuses)}{self._like()}?"

    def _like(self) -> str:
        return f" like {self.signature!r}" if self.signature else ""


class Opinion(Record, frozen=True, kw_only=True):
    """What one run says.

    Attributes:
        answer: see `Answer`.
        reason: one line, the first evidence.
    """

    answer: Answer
    reason: str


def ask(question: Question, record: RunRecord) -> Opinion:
    """Return what a finished run answers. What could not be asked is never called good."""
    if not state.applied(record):
        return Opinion(answer="untestable", reason=f"its series does not apply: {record.reason}")
    if not state.built(record):
        answer: Answer = "bad" if question.about == "build" else "untestable"
        return Opinion(answer=answer, reason=f"does not build: {record.reason}")
    if question.about == "build":
        return Opinion(answer="good", reason="it builds")
    if not state.booted(record):
        answer = "bad" if question.about == "boot" else "untestable"
        return Opinion(answer=answer, reason=f"does not boot: {record.reason}")
    if question.about == "boot":
        return Opinion(answer="good", reason="it boots")
    for found in _evidence(question, record):
        return Opinion(answer="bad", reason=found)
    return _no_evidence(question, record)


def _evidence(question: Question, record: RunRecord) -> Iterator[str]:
    """Yield what makes the kernel bad, a line each."""
    if question.about == "splat":
        for splat in (*(s for probe in record.probes for s in probe.splats), *record.splats):
            if _like(question.signature, *splat.block, splat.title):
                yield splat.title
        return
    for probe in _asked(question, record):
        said = [line for splat in probe.splats for line in splat.block]
        if probe.status in question.statuses and _like(question.signature, probe.reason, *said):
            yield f"{probe.name}: {probe.status}: {probe.reason}"


def _like(signature: str, *lines: str) -> bool:
    return not signature or any(re.search(signature, line) for line in lines)


def _no_evidence(question: Question, record: RunRecord) -> Opinion:
    """Return what a run without evidence of the fault says; that it went well is not a given."""
    asked = _asked(question, record)
    lost = [probe for probe in asked if probe.status == "LOST"]
    if lost:
        return Opinion(answer="untestable", reason=f"{lost[0].name}: LOST: {lost[0].reason}")
    other = [probe for probe in asked if probe.status not in ("PASS", "SKIP")]
    if other and question.about == "probe":
        # Wrong in another way than the one that is looked for.
        reason = f"{other[0].name}: {other[0].status}: {other[0].reason}"
        return Opinion(answer="untestable", reason=f"another fault: {reason}")
    passed = [probe for probe in asked if probe.status == "PASS"]
    if passed or (question.about == "splat" and not asked):
        names = ", ".join(dict.fromkeys(plain_name(probe.name) for probe in passed[:3]))
        return Opinion(answer="good", reason=f"{names or 'it boots'}: PASS")
    skipped = next(iter(asked), None)
    reason = f"{skipped.name}: SKIP: {skipped.reason}" if skipped else "no such probe was run"
    return Opinion(answer="absent", reason=reason)


def _asked(question: Question, record: RunRecord) -> tuple[ProbeResult, ...]:
    """Return the results that the question is about."""
    return tuple(
        probe
        for probe in record.probes
        if not question.probes
        or any(matches(plain_name(probe.name), glob) for glob in question.probes)
    )
