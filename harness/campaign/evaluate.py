# SPDX-License-Identifier: GPL-2.0-only
"""Looking at one point of a bisection: often enough, once for all, and counted."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from harness.campaign import state, strategy
from harness.campaign.predicate import Answer, Opinion, Question, ask
from harness.campaign.state import CampaignState
from harness.context import Context
from harness.pipeline import RunRequest
from harness.records.base import Record
from harness.records.run import RunRecord

#: Repetitions in one run: a lost guest loses no more than these.
_BATCH = 20


class Candidate(Record, frozen=True, kw_only=True):
    """One patch or commit.

    Attributes:
        point: its directory in the campaign, and its number or commit ID for people.
        name: the patch's name, or the commit's subject.
    """

    point: str
    name: str


class Look(Record, frozen=True, kw_only=True):
    """What was seen at one point.

    Attributes:
        candidate: the last patch or commit that is in.
        answer: see `harness.campaign.predicate.Answer`.
        reason: one line, the first evidence.
        runs: how many runs it rests on.
        asked: how often the question was asked in them.
        bad: how often the answer was bad.
        seconds: wall time of the runs.
        built: whether a kernel was built for it, and not found in the cache.
        make_seconds: those of them in which make built a kernel, or failed to.
        guest_seconds: those of them from QEMU's start to its end.
        run_dir: absolute path of the run with the evidence.
    """

    candidate: Candidate
    answer: Answer
    reason: str
    runs: int
    asked: int
    bad: int
    seconds: float
    built: bool
    make_seconds: float = 0.0
    guest_seconds: float = 0.0
    run_dir: str


class Looker:
    """Looks at points, and remembers what it saw.

    Args:
        question: what is asked.
        memory: the campaign's.
        context: cache, deadline, progress.
    """

    def __init__(self, question: Question, memory: CampaignState, context: Context) -> None:
        self.question = question
        self.looks: list[Look] = []
        self._memory = memory
        self._context = context

    def look(self, candidate: Candidate, request: RunRequest, times: int) -> Look:
        """Return what a point says, asked until it is bad once or has answered so often."""
        self._context.progress.stage("bisect", f"{candidate.point}: {candidate.name}")
        seen = self._look(candidate, request, times, stop_at_bad=True)
        self._context.progress.note(f"{candidate.point}: {seen.answer}: {seen.reason}")
        self.looks.append(seen)
        return seen

    def measure(self, candidate: Candidate, request: RunRequest) -> Look:
        """Return what a bad point says when it is asked until the fault's rate is known."""
        seen = self._look(candidate, request, 1, stop_at_bad=False)
        while seen.answer in ("good", "bad") and not strategy.rate_is_known(seen.bad, seen.asked):
            seen = self._look(candidate, request, seen.asked + _BATCH, stop_at_bad=False)
        self.looks.append(seen)
        return seen

    def _look(
        self, candidate: Candidate, request: RunRequest, times: int, *, stop_at_bad: bool
    ) -> Look:
        records = list(self._memory.runs(candidate.point))
        seen = self._seen(candidate, records)
        while seen.answer in ("good", "bad") or not records:
            left = times - seen.asked
            if left <= 0 or (seen.bad and stop_at_bad):
                break
            batch = state.repeated(request, min(left, _BATCH))
            records.append(self._memory.run(candidate.point, batch))
            seen = self._seen(candidate, records)
        return seen

    def _seen(self, candidate: Candidate, records: Sequence[RunRecord]) -> Look:
        """Return what runs of one point say together: bad if one of them does."""
        opinions = [ask(self.question, record) for record in records]
        worst = _worst(opinions)
        chosen = opinions.index(worst) if opinions else 0
        counts = [self._counts(record) for record in records]
        built = [r.kernel for r in records if r.kernel is not None and not r.kernel.cached]
        return Look(
            candidate=candidate,
            answer=worst.answer,
            reason=worst.reason,
            runs=len(records),
            asked=sum(asked for asked, _ in counts),
            bad=sum(bad for _, bad in counts),
            seconds=sum(record.seconds for record in records),
            built=bool(built),
            make_seconds=sum(kernel.make_seconds for kernel in built)
            + sum(record.error_seconds for record in records),
            guest_seconds=sum(_guest_seconds(record) for record in records),
            run_dir=records[chosen].run_dir if records else "",
        )

    def _counts(self, record: RunRecord) -> tuple[int, int]:
        """Return how often a run asked the question, and how often the answer was bad."""
        rounds: dict[str, list[RunRecord]] = {}
        for probe in record.probes:
            only = msgspec.structs.replace(record, probes=(probe,), splats=())
            rounds.setdefault(probe.name.partition("#")[2], []).append(only)
        asked = bad = 0
        for each in rounds.values():
            answers = [ask(self.question, only).answer for only in each]
            bad += "bad" in answers
            asked += "bad" in answers or "good" in answers
        if asked == 0:
            whole = ask(self.question, record).answer
            return int(whole in ("good", "bad")), int(whole == "bad")
        return asked, bad


def _guest_seconds(record: RunRecord) -> float:
    return sum(stage.seconds for stage in record.stages if stage.name == "guest")


_NOTHING = Opinion(answer="untestable", reason="it was not run")


def _worst(opinions: Sequence[Opinion]) -> Opinion:
    """Return the opinion that decides: one bad one is enough; one that cannot tell is no good."""
    order: tuple[Answer, ...] = ("bad", "untestable", "absent", "good")
    return min(opinions, key=lambda each: order.index(each.answer), default=_NOTHING)
