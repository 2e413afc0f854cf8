# SPDX-License-Identifier: GPL-2.0-only
"""Which patch of a series, or which commit, made a kernel bad.

Both ends are looked at first: an answer that rests on an end that was only believed is no answer.
Every kernel that was ever built is taken from the cache, and every point that was ever run from
the campaign's memory, so a bisection that was killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from harness.campaign import commits, state, strategy
from harness.campaign.commits import History
from harness.campaign.evaluate import Candidate, Look, Looker
from harness.campaign.predicate import Answer, Question
from harness.context import Context
from harness.errors import SpecError
from harness.kernel.obtain import KernelRequest, patch_stat, resolve_request
from harness.pipeline import RunRequest
from harness.records.base import Record
from harness.run.subject import Subject
from harness.workspace import atomic_write

Outcome = Literal["found", "several", "never", "always"]


class Confidence(Record, frozen=True, kw_only=True):
    """How sure an answer about a fault that does not always show is.

    Attributes:
        wanted: the least probability of a right answer that was asked for.
        rate: how often the fault shows at least, with half of the doubt that `wanted` leaves.
        repeats: how often a point had to pass to be called good.
        reached: probability of a right answer, at least.
    """

    wanted: float
    rate: float
    repeats: int
    reached: float


class Plan(Record, frozen=True, kw_only=True):
    """What a bisection is asked.

    Attributes:
        subject: source, series and machine.
        question: when a kernel is bad.
        confidence: least probability of a right answer, such as 0.95; None to ask each point once.
    """

    subject: Subject
    question: Question
    confidence: float | None = None


class Bisection(Record, frozen=True, kw_only=True):
    """The answer.

    Attributes:
        question: in a few words.
        outcome: ``found``; ``several`` if the ones between could not be tested; ``never`` if the
            last point is not bad; ``always`` if the first one is bad.
        suspects: the culprit, or all that it may be; the point that decided where it is neither.
        looks: in the order they were taken.
        evidence: one line: what was seen first at the first bad point.
        before: one line: what was seen at the point before it.
        diffstat: of the culprit, as git prints it.
        again: commands that show the culprit, and the point before it, again.
        confidence: None where every point was asked once.
        builds: kernels that were built, and not found in the cache.
        runs: runs that were made, each in a guest of its own.
        seconds: wall time of all of them.
        make_seconds: those of them in which make built kernels.
        guest_seconds: those of them from QEMU's start to its end.
        directory: absolute path of the campaign's directory.
    """

    question: str
    outcome: Outcome
    suspects: tuple[Candidate, ...]
    looks: tuple[Look, ...]
    evidence: str = ""
    before: str = ""
    diffstat: str = ""
    again: tuple[tuple[str, ...], ...] = ()
    confidence: Confidence | None = None
    builds: int = 0
    runs: int = 0
    seconds: float = 0.0
    make_seconds: float = 0.0
    guest_seconds: float = 0.0
    directory: str = ""

    @property
    def ratio(self) -> float | None:
        """Return wall time by that of makes and guests; None where neither was needed."""
        needed = self.make_seconds + self.guest_seconds
        return self.seconds / needed if needed else None

    @property
    def exit_code(self) -> int:
        """Return 0 if one culprit was found, else 1."""
        return 0 if self.outcome == "found" else 1


@dataclass(frozen=True)
class Hunt:
    """A bisection under way.

    Attributes:
        plan: what is asked.
        looker: looks at points.
        request: what a point runs.
        times: how often a point must pass to be called good.
        confidence: what that rests on.
    """

    plan: Plan
    looker: Looker
    request: Callable[[Candidate], RunRequest]
    times: int = 1
    confidence: Confidence | None = None

    def look(self, candidate: Candidate) -> Look:
        """Look at a point."""
        return self.looker.look(candidate, self.request(candidate), self.times)

    def bad_end(self, candidate: Candidate, tests: int) -> tuple[Look, Hunt]:
        """Look at the last point; where a confidence is wanted, measure how often it is bad."""
        wanted = self.plan.confidence
        if wanted is None:
            return self.look(candidate), self
        seen = self.looker.measure(candidate, self.request(candidate))
        confidence = _confidence(wanted, seen, tests)
        times = confidence.repeats if confidence else 1
        return seen, Hunt(self.plan, self.looker, self.request, times, confidence)

    def answer(
        self, outcome: Outcome, suspects: Sequence[Candidate], first: Look, before: Look | None
    ) -> Bisection:
        """Return the answer with all that was counted."""
        looks = tuple(self.looker.looks)
        show = [each.candidate for each in (first, before) if each is not None]
        return Bisection(
            question=self.plan.question.text(),
            outcome=outcome,
            suspects=tuple(suspects),
            looks=looks,
            evidence=first.reason,
            before=before.reason if before else "",
            again=tuple(state.repeated(self.request(each), self.times).command for each in show),
            confidence=self.confidence,
            builds=sum(look.built for look in looks),
            runs=sum(look.runs for look in looks),
            seconds=round(sum(look.seconds for look in looks), 1),
            make_seconds=round(sum(look.make_seconds for look in looks), 1),
            guest_seconds=round(sum(look.guest_seconds for look in looks), 1),
        )


def bisect_series(plan: Plan, runs: Path, context: Context) -> Bisection:
    """Find the patch of a series that made the kernel bad.

    Args:
        plan: what is asked; its series must have at least one patch.
        runs: where the campaign's directory is made.
        context: cache, deadline, progress.

    Raises:
        UserError: if the series cannot be read, does not apply as a whole, or is empty.
        CampaignStopped: if this host could not run a point.
    """
    kernel = plan.subject.kernel
    parts = resolve_request(kernel, context)
    patches = parts.patches[: kernel.first]
    if not patches:
        raise SpecError(
            "there is no series to bisect", hint="give --series, or --good and --bad for commits"
        )
    names = ["the source alone", *(patch.name for patch in patches)]
    candidates = [Candidate(point=f"{n:04}", name=name) for n, name in enumerate(names)]
    identity = (plan.subject, parts, plan.question)
    with state.campaign("bisect", kernel.series, identity, runs, context) as memory:
        looker = Looker(plan.question, memory, context)
        found = _search(candidates, Hunt(plan, looker, lambda each: _of_series(plan, each)))
        if found.outcome == "found":
            number = int(found.suspects[0].point)
            stat = patch_stat(kernel, number, context)
            found = msgspec.structs.replace(found, diffstat=stat)
        return _kept(found, memory.directory)


def _of_series(plan: Plan, candidate: Candidate) -> RunRequest:
    number = int(candidate.point)
    kernel = msgspec.structs.replace(plan.subject.kernel, first=number)
    return _request(plan, kernel)


def _request(plan: Plan, kernel: KernelRequest) -> RunRequest:
    return plan.question.request(msgspec.structs.replace(plan.subject, kernel=kernel))


def _kept(found: Bisection, directory: Path) -> Bisection:
    found = msgspec.structs.replace(found, directory=str(directory))
    atomic_write(directory / "bisect.json", msgspec.json.encode(found))
    return found


def _search(candidates: Sequence[Candidate], hunt: Hunt) -> Bisection:
    """Look at the ends, then between them, until no point that can be tested is left."""
    last = len(candidates) - 1
    end, hunt = hunt.bad_end(candidates[last], strategy.most_tests(last) + 1)
    if _tested(end).answer != "bad":
        return hunt.answer("never", candidates[last:], end, None)
    begin = _tested(hunt.look(candidates[0]))
    if begin.answer == "bad":
        return hunt.answer("always", candidates[:1], begin, None)
    seen = {0: begin, last: end}
    while (point := _following(seen)) is not None:
        seen[point] = hunt.look(candidates[point])
    left = strategy.bracket({point: look.answer for point, look in seen.items()})
    outcome: Outcome = "found" if len(left.suspects) == 1 else "several"
    suspects = [candidates[point] for point in left.suspects]
    return hunt.answer(outcome, suspects, seen[left.bad], seen[left.before])


def _following(seen: dict[int, Look]) -> int | None:
    return strategy.bracket({point: look.answer for point, look in seen.items()}).following


def _tested(end: Look) -> Look:
    """Return an end of what is bisected.

    Raises:
        SpecError: if it cannot be tested: then nobody knows whether the fault is there.
    """
    if end.answer == "untestable":
        raise SpecError(
            f"{end.candidate.name} cannot be tested: {end.reason}",
            hint="give two ends that can be",
        )
    return end


def bisect_commits(plan: Plan, history: History, runs: Path, context: Context) -> Bisection:
    """Find the commit that made the kernel bad, by git's own bisection.

    Args:
        plan: what is asked; the source of its subject is ignored.
        history: the repository and the ends.
        runs: where the campaign's directory is made.
        context: cache, deadline, progress.

    Raises:
        UserError: if the repository or a revision is not there, or good is not before bad.
        CampaignStopped: if this host could not run a point.
    """
    identity = (plan.subject, (history.good, history.bad), plan.question)
    label = f"{history.path.name}-{history.bad[:12]}"
    with state.campaign("bisect", label, identity, runs, context) as memory:
        looker = Looker(plan.question, memory, context)
        hunt = Hunt(plan, looker, lambda each: _of_commit(plan, history, each))
        with commits.bisection(history, memory.directory / "git", context.deadline) as walk:
            found = _walk(walk, hunt)
            if found.outcome == "found":
                stat = walk.diffstat(found.suspects[0].point)
                found = msgspec.structs.replace(found, diffstat=stat)
        return _kept(found, memory.directory)


def _of_commit(plan: Plan, history: History, candidate: Candidate) -> RunRequest:
    source = f"git:{history.path}@{candidate.point}"
    kernel = msgspec.structs.replace(plan.subject.kernel, source=source)
    return _request(plan, kernel)


def _walk(walk: commits.Walk, hunt: Hunt) -> Bisection:
    """Look at the ends, then where git says, until git names the culprit."""
    end, hunt = hunt.bad_end(walk.candidate(walk.history.bad), walk.most_tests() + 1)
    if _tested(end).answer != "bad":
        return hunt.answer("never", [end.candidate], end, None)
    begin = _tested(hunt.look(walk.candidate(walk.history.good)))
    if begin.answer == "bad":
        return hunt.answer("always", [begin.candidate], begin, None)
    seen = {end.candidate.point: end, begin.candidate.point: begin}
    while (commit := walk.following()) is not None:
        seen[commit] = hunt.look(walk.candidate(commit))
        walk.tell(commit, _GIT_WORDS[seen[commit].answer])
    suspects = [walk.candidate(commit) for commit in walk.suspects]
    outcome: Outcome = "found" if len(suspects) == 1 else "several"
    first = seen.get(suspects[-1].point, end)
    return hunt.answer(outcome, suspects, first, seen.get(walk.parent(suspects[0].point)))


#: A commit without the feature has not the fault either, and nor have those before it.
_GIT_WORDS: dict[Answer, Literal["good", "bad", "skip"]] = {
    "good": "good",
    "absent": "good",
    "bad": "bad",
    "untestable": "skip",
}


def _confidence(wanted: float, seen: Look, tests: int) -> Confidence | None:
    """Return how often a point must pass; None if the fault was not seen at all.

    Half of the doubt goes to the rate, half is shared out among the points that may be called good.
    """
    if not seen.bad:
        return None
    doubt = (1 - wanted) / 2
    rate = strategy.least_rate(seen.bad, seen.asked, doubt)
    times = strategy.repeats(rate, doubt / tests)
    reached = 1 - doubt - tests * strategy.hidden(rate, times)
    return Confidence(wanted=wanted, rate=rate, repeats=times, reached=reached)
