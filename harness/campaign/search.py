# SPDX-License-Identifier: GPL-2.0-only
"""Where a fault came in, by as few kernels as possible: what is common to patches and commits.

A kernel without the feature says nothing about the fault: it bounds the search, but the first
kernel that has the feature is not the culprit for that alone. Its patch may only switch on what is
broken already. So that patch is put on top of what is before it, and the search goes on there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from harness import host, reproducer
from harness.campaign import state, strategy, trace
from harness.campaign.evaluate import Evaluator, Point
from harness.errors import SpecError
from harness.records.campaign import (
    Bisection,
    BisectResult,
    Candidate,
    Confidence,
    Evaluation,
    Term,
    TracedSuspect,
)
from harness.run.request import RunRequest

#: How many patches are put on top at most: a series switches a feature on in few places.
_MOST_ON_TOP = 4

_EXCHANGED: Mapping[Term, Term] = {"good": "bad", "bad": "good"}


class Narrowed(NamedTuple):
    """What is left when every kernel between two was evaluated that can be.

    Attributes:
        before: the last one that bounds the search from below; None where it was not evaluated.
        bad: the first bad one.
        suspects: those in which the fault may have come in, oldest first.
    """

    before: Evaluation | None
    bad: Evaluation
    suspects: tuple[Candidate, ...]


class Candidates(Protocol):
    """The patches of a series, or the commits between two."""

    first: Candidate
    last: Candidate

    def most_tests(self) -> int:
        """Return how many are tested at most, if all can be and none is traced."""

    def texts(self) -> Iterable[tuple[Candidate, str]]:
        """Return each with its patch, oldest first."""

    def narrow(
        self, bounds: tuple[Evaluation, Evaluation], search: Search, on_top: tuple[Candidate, ...]
    ) -> Narrowed:
        """Evaluate those between the first one and a bad one until none is left."""

    def before(self, candidate: Candidate) -> Candidate:
        """Return the one before another."""

    def up_to(self, candidate: Candidate) -> Sequence[Candidate]:
        """Return the first one and all after it up to another."""


@dataclass
class Search:
    """A bisection under way.

    Attributes:
        evaluator: evaluates points.
        run: returns the run of a point.
        text: the predicate in a few words.
        wanted: the confidence asked for; None to evaluate each point once.
        first_good: whether the first good one is wanted. The terms are then exchanged: what is
            called bad here is good, and the other way round.
        skipped: IDs of those that must not be evaluated.
        times: how often a point must pass to be called good.
        confidence: what that rests on.
        traced: suspects by trace, the likeliest first.
    """

    evaluator: Evaluator
    run: Callable[[Point], RunRequest]
    text: str
    wanted: float | None = None
    first_good: bool = False
    skipped: frozenset[str] = frozenset()
    times: int = 1
    confidence: Confidence | None = None
    traced: tuple[TracedSuspect, ...] = ()

    def evaluate(self, candidate: Candidate, on_top: tuple[Candidate, ...] = ()) -> Evaluation:
        """Evaluate a kernel, unless it is to be skipped."""
        point = Point(candidate, on_top)
        if candidate.id in self.skipped:
            return _skipped(point)
        return self.evaluator.evaluate(point, self.run(point), self.times)

    def term(self, evaluation: Evaluation) -> Term:
        """Return an evaluation's term, exchanged where the first good one is wanted."""
        term = evaluation.term
        return _EXCHANGED.get(term, term) if self.first_good else term

    def likely(self, seen: Iterable[Evaluation]) -> frozenset[str]:
        """Return the IDs of the suspects by trace, once something good was seen.

        Until then the search is for the feature, where the fault's trace says nothing.
        """
        if not any(self.term(each) == "good" for each in seen):
            return frozenset()
        return frozenset(each.candidate.id for each in self.traced)

    def go(self, candidates: Candidates) -> Bisection:
        """Evaluate the ends, then between them, and return the result.

        Raises:
            SpecError: if an end cannot be tested.
        """
        bounds = self._ends(candidates)
        if isinstance(bounds, Bisection):
            return bounds
        on_top: tuple[Candidate, ...] = ()
        while True:
            left = candidates.narrow(bounds, self, on_top)
            if left.before is not None and self.term(left.before) == "good":
                result: BisectResult = "found" if len(left.suspects) == 1 else "several"
                why = "those between cannot be tested" if result == "several" else ""
                return self._result(result, left.suspects, left, on_top, why)
            on_top = (*on_top, left.bad.candidate)
            rest = (*candidates.up_to(left.bad.candidate), *on_top[:-1])
            if left.before is None or left.before.term != "absent" or len(on_top) > _MOST_ON_TOP:
                word = "bad" if self.first_good else "good"
                why = f"no kernel before them that has the feature was seen to be {word}"
                return self._result("several", rest, left, on_top[:-1], why)
            below = candidates.before(left.bad.candidate)
            alone = (candidates.first, *on_top)
            if below == candidates.first:
                return self._result("several", alone, left, on_top, _AT_ONCE)
            lower = self.evaluate(candidates.first, on_top)
            if self.term(lower) == "bad":
                left = Narrowed(left.before, lower, ())
                return self._result("several", alone, left, on_top, _AT_ONCE)
            # With that patch on top, the kernel before it has the same patches.
            bounds = lower, msgspec.structs.replace(left.bad, candidate=below, on_top=on_top)

    def _ends(self, candidates: Candidates) -> tuple[Evaluation, Evaluation] | Bisection:
        """Evaluate the last one and the first; return the result if that decides it.

        Where a confidence is wanted, the fault's rate is measured at the bad end.
        """
        first, last = candidates.first, candidates.last
        faulty = self._faulty(first if self.first_good else last, candidates)
        if not self.first_good:
            if faulty.term != "bad":
                return self._result("never", [last], Narrowed(None, faulty, ()))
            lower, upper = _tested(self.evaluate(first)), faulty
        else:
            upper = _tested(self.evaluate(last))
            if upper.term != "good":
                return self._result("never", [last], Narrowed(None, upper, ()))
            lower = faulty
        if self.term(lower) == "bad":
            return self._result("always", [first], Narrowed(None, lower, ()))
        return lower, upper

    def _faulty(self, end: Candidate, candidates: Candidates) -> Evaluation:
        """Evaluate the end that should have the fault, and find the suspects by trace."""
        point, tests = Point(end), candidates.most_tests()
        if self.wanted is None or end.id in self.skipped:
            found = _tested(self.evaluate(end))
        else:
            found = _tested(self.evaluator.measure_rate(point, self.run(point)))
        record = self.evaluator.record(point)
        if record is not None:
            functions = trace.functions(record, self.evaluator.predicate)
            self.traced = trace.rank(functions, candidates.texts() if functions else ())
        if self.wanted is not None:
            tests += 1 + (strategy.MISLED if self.traced else 0)
            self.confidence = _confidence(self.wanted, found, tests)
            self.times = self.confidence.repeats if self.confidence else 1
        return found

    def _result(
        self,
        result: BisectResult,
        suspects: Sequence[Candidate],
        left: Narrowed,
        on_top: tuple[Candidate, ...] = (),
        why: str = "",
    ) -> Bisection:
        """Return the result with its evidence and its cost."""
        made = tuple(self.evaluator.evaluations)
        show = [each for each in (left.bad, left.before) if each is not None]
        rank = {each.candidate.id: number for number, each in enumerate(self.traced)}
        ordered = sorted(dict.fromkeys(suspects), key=lambda each: rank.get(each.id, len(rank)))
        return Bisection(
            predicate=self.text,
            result=result,
            first_good=self.first_good,
            suspects=tuple(ordered),
            why=why,
            enabling=on_top,
            traced=self.traced,
            evaluations=made,
            evidence=left.bad.reason,
            before=left.before.reason if left.before else "",
            commands=tuple(self._command(Point(each.candidate, each.on_top)) for each in show),
            confidence=self.confidence,
            builds=sum(each.built for each in made),
            runs=sum(each.runs for each in made),
            seconds=round(sum(each.seconds for each in made), 1),
            make_seconds=round(sum(each.make_seconds for each in made), 1),
            guest_seconds=round(sum(each.guest_seconds for each in made), 1),
        )

    def _command(self, point: Point) -> tuple[str, ...]:
        request = state.repeated(self.run(point), self.times)
        return host.command_line(reproducer.words(request))


_AT_ONCE = "it shows as soon as the feature is switched on"


def bounding(evaluations: Iterable[Evaluation], search: Search) -> frozenset[str]:
    """Return the IDs of those untestable ones that bound a search with patches on top.

    Where such a patch cannot be put on a kernel, nor can it be on an older one, most likely. That
    only tells where to search: those below stay suspects.
    """
    made = list(evaluations)
    if not any(each.on_top for each in made) or any(search.term(e) == "good" for e in made):
        return frozenset()
    return frozenset(each.candidate.id for each in made if each.term == "untestable" and each.runs)


def _skipped(point: Point) -> Evaluation:
    return Evaluation(
        candidate=point.candidate,
        on_top=point.on_top,
        term="untestable",
        reason="skipped (--skip)",
        runs=0,
        samples=0,
        bad=0,
        seconds=0.0,
        built=False,
        run_dir="",
    )


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
