# SPDX-License-Identifier: GPL-2.0-only
"""Finds the patch of a series, or the commit, that made a kernel bad.

Both ends are evaluated first, so that no result rests on an end that was only assumed. Kernels come
from the cache and finished runs from the campaign's state, so a bisection that was killed continues
where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from harness import host, pipeline, reproducer
from harness.campaign import commits, state, strategy
from harness.campaign.commits import History
from harness.campaign.evaluate import Evaluator
from harness.campaign.predicate import Predicate
from harness.context import Context
from harness.errors import SpecError
from harness.kernel.obtain import KernelRequest, patch_stat, resolve_request
from harness.records.base import Record
from harness.records.campaign import (
    Bisection,
    BisectResult,
    Candidate,
    Confidence,
    Evaluation,
    Term,
)
from harness.run.request import RunRequest
from harness.run.subject import Subject
from harness.workspace import atomic_write


class BisectRequest(Record, frozen=True, kw_only=True):
    """What to bisect.

    Attributes:
        subject: source, series and machine.
        predicate: when a kernel is bad.
        confidence: least probability of a right result, such as 0.95; None to evaluate each
            candidate once.
    """

    subject: Subject
    predicate: Predicate
    confidence: float | None = None

    def of_kernel(self, kernel: KernelRequest) -> RunRequest:
        """Return the run that evaluates a kernel."""
        return self.predicate.request(msgspec.structs.replace(self.subject, kernel=kernel))


@dataclass
class _Bisector:
    """A bisection under way.

    Attributes:
        request: what to bisect.
        evaluator: evaluates candidates.
        run: returns the run of a candidate.
        times: how often a candidate must pass to be called good.
        confidence: what that rests on.
    """

    request: BisectRequest
    evaluator: Evaluator
    run: Callable[[Candidate], RunRequest]
    times: int = 1
    confidence: Confidence | None = None

    def evaluate(self, candidate: Candidate) -> Evaluation:
        return self.evaluator.evaluate(candidate, self.run(candidate), self.times)

    def ends(
        self, first: Candidate, last: Candidate, tests: int
    ) -> tuple[Evaluation, Evaluation] | Bisection:
        """Evaluate the last candidate and the first; return the result if that decides it.

        Where a confidence is wanted, the fault's rate is measured at the last one.

        Args:
            first: known, or believed, to be good.
            last: known, or believed, to be bad.
            tests: how many candidates between are tested at most.

        Raises:
            SpecError: if one of them cannot be tested.
        """
        wanted = self.request.confidence
        if wanted is None:
            bad = self.evaluate(last)
        else:
            bad = self.evaluator.measure_rate(last, self.run(last))
            self.confidence = _confidence(wanted, bad, tests + 1)
            self.times = self.confidence.repeats if self.confidence else 1
        if _tested(bad).term != "bad":
            return self.result("never", [last], bad, None)
        good = _tested(self.evaluate(first))
        if good.term == "bad":
            return self.result("always", [first], good, None)
        return good, bad

    def result(
        self,
        result: BisectResult,
        suspects: Sequence[Candidate],
        first_bad: Evaluation,
        before: Evaluation | None,
    ) -> Bisection:
        """Return the result with its evidence and its cost."""
        made = tuple(self.evaluator.evaluations)
        show = [each.candidate for each in (first_bad, before) if each is not None]
        return Bisection(
            predicate=self.request.predicate.text(),
            result=result,
            suspects=tuple(suspects),
            evaluations=made,
            evidence=first_bad.reason,
            before=before.reason if before else "",
            commands=tuple(self._command(each) for each in show),
            confidence=self.confidence,
            builds=sum(each.built for each in made),
            runs=sum(each.runs for each in made),
            seconds=round(sum(each.seconds for each in made), 1),
            make_seconds=round(sum(each.make_seconds for each in made), 1),
            guest_seconds=round(sum(each.guest_seconds for each in made), 1),
        )

    def _command(self, candidate: Candidate) -> tuple[str, ...]:
        request = state.repeated(self.run(candidate), self.times)
        return host.command_line(reproducer.words(request))


def bisect_series(request: BisectRequest, runs: Path, context: Context) -> Bisection:
    """Find the patch of a series that made the kernel bad.

    Args:
        request: what to bisect; its series must have at least one patch.
        runs: where the campaign's directory is made.
        context: cache, deadline, progress.

    Raises:
        UserError: if the series cannot be read, does not apply as a whole, or is empty.
        CampaignStopped: if this host could not do a run.
    """
    kernel = request.subject.kernel
    pipeline.check(request.of_kernel(kernel), context)
    parts = resolve_request(kernel, context)
    patches = parts.patches[: kernel.first]
    if not patches:
        raise SpecError(
            "there is no series to bisect", hint="give --series, or --good and --bad for commits"
        )
    names = ["the source alone", *(patch.name for patch in patches)]
    candidates = [Candidate(id=f"{n:04}", name=name) for n, name in enumerate(names)]

    def run(candidate: Candidate) -> RunRequest:
        return request.of_kernel(msgspec.structs.replace(kernel, first=int(candidate.id)))

    identity = (request.subject, parts, request.predicate)
    with state.campaign("bisect", kernel.series, identity, runs, context) as campaign:
        evaluator = Evaluator(request.predicate, campaign, context)
        found = _bisect_patches(candidates, _Bisector(request, evaluator, run))
        if found.result == "found":
            stat = patch_stat(kernel, int(found.suspects[0].id), context)
            found = msgspec.structs.replace(found, diffstat=stat)
        return _write(found, campaign.directory)


def _bisect_patches(candidates: Sequence[Candidate], bisector: _Bisector) -> Bisection:
    """Evaluate the ends, then between them, until no candidate that can be tested is left."""
    last = len(candidates) - 1
    ends = bisector.ends(candidates[0], candidates[last], strategy.most_tests(last))
    if isinstance(ends, Bisection):
        return ends
    seen = {0: ends[0], last: ends[1]}
    left = _bracket(seen)
    while left.following is not None:
        seen[left.following] = bisector.evaluate(candidates[left.following])
        left = _bracket(seen)
    suspects = [candidates[number] for number in left.suspects]
    return bisector.result(_one_or_several(suspects), suspects, seen[left.bad], seen[left.before])


def _bracket(seen: dict[int, Evaluation]) -> strategy.Bracket:
    return strategy.bracket({number: each.term for number, each in seen.items()})


def _one_or_several(suspects: Sequence[Candidate]) -> BisectResult:
    return "found" if len(suspects) == 1 else "several"


def _write(found: Bisection, directory: Path) -> Bisection:
    found = msgspec.structs.replace(found, directory=str(directory))
    atomic_write(directory / "bisect.json", msgspec.json.encode(found))
    return found


def _tested(end: Evaluation) -> Evaluation:
    """Return an end of what is bisected.

    Raises:
        SpecError: if it cannot be tested, so that it is not known whether the fault is there.
    """
    if end.term == "untestable":
        raise SpecError(
            f"{end.candidate.name} cannot be tested: {end.reason}",
            hint="give two ends that can be tested",
        )
    return end


def bisect_commits(
    request: BisectRequest, history: History, runs: Path, context: Context
) -> Bisection:
    """Find the commit that made the kernel bad, by git's own bisection.

    Args:
        request: what to bisect; the source of its subject is ignored.
        history: the repository and the ends.
        runs: where the campaign's directory is made.
        context: cache, deadline, progress.

    Raises:
        UserError: if the repository or a revision does not exist, or good is not before bad.
        CampaignStopped: if this host could not do a run.
    """

    def run(candidate: Candidate) -> RunRequest:
        source = f"git:{history.path}@{candidate.id}"
        return request.of_kernel(msgspec.structs.replace(request.subject.kernel, source=source))

    identity = (request.subject, (history.good, history.bad), request.predicate)
    label = f"{history.path.name}-{history.bad[:12]}"
    pipeline.check(run(Candidate(id=history.bad, name="")), context)
    with state.campaign("bisect", label, identity, runs, context) as campaign:
        evaluator = Evaluator(request.predicate, campaign, context)
        clone = campaign.directory / "git"
        with commits.bisection(history, clone, context.deadline) as git_bisect:
            found = _bisect_history(git_bisect, _Bisector(request, evaluator, run))
            if found.result == "found":
                stat = git_bisect.diffstat(found.suspects[0].id)
                found = msgspec.structs.replace(found, diffstat=stat)
        return _write(found, campaign.directory)


def _bisect_history(git_bisect: commits.GitBisect, bisector: _Bisector) -> Bisection:
    """Evaluate the ends, then the commits that git chooses, until it names the culprit."""
    first, last = (
        git_bisect.candidate(commit) for commit in (git_bisect.history.good, git_bisect.history.bad)
    )
    ends = bisector.ends(first, last, git_bisect.most_tests())
    if isinstance(ends, Bisection):
        return ends
    seen = {each.candidate.id: each for each in ends}
    while (commit := git_bisect.following()) is not None:
        seen[commit] = bisector.evaluate(git_bisect.candidate(commit))
        git_bisect.tell(commit, _GIT_TERMS[seen[commit].term])
    suspects = [git_bisect.candidate(commit) for commit in git_bisect.suspects]
    first_bad = seen.get(suspects[-1].id, ends[1])
    before = seen.get(git_bisect.parent(suspects[0].id))
    return bisector.result(_one_or_several(suspects), suspects, first_bad, before)


#: A commit without the feature does not have the fault either, and nor do those before it.
_GIT_TERMS: dict[Term, Literal["good", "bad", "skip"]] = {
    "good": "good",
    "absent": "good",
    "bad": "bad",
    "untestable": "skip",
}


def _confidence(wanted: float, bad: Evaluation, tests: int) -> Confidence | None:
    """Return how often a candidate must pass; None if the fault was not seen at all.

    Half of the doubt goes to the rate; half is shared by the candidates that may be called good.
    """
    if not bad.bad:
        return None
    doubt = (1 - wanted) / 2
    rate = strategy.least_rate(bad.bad, bad.samples, doubt)
    times = strategy.repeats(rate, doubt / tests)
    reached = 1 - doubt - tests * strategy.hidden(rate, times)
    return Confidence(wanted=wanted, rate=rate, repeats=times, reached=reached)
