# SPDX-License-Identifier: GPL-2.0-only
"""Evaluates a bisection's predicate for one kernel, as often as needed, over all its runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from harness.campaign import predicate, state, strategy
from harness.campaign.predicate import Answer, Predicate
from harness.campaign.state import CampaignState
from harness.context import Context
from harness.records.campaign import Candidate, Evaluation, Term
from harness.records.run import RunRecord
from harness.run.request import RunRequest

#: Repetitions in one run: a lost guest loses no more than these.
_BATCH = 20

#: The answer that decides comes first: one bad run is enough, one untestable run is not good.
_ORDER: tuple[Term, ...] = ("bad", "untestable", "absent", "good")


class Point(NamedTuple):
    """A kernel that a bisection evaluates.

    Attributes:
        candidate: the last patch or commit that is in it.
        on_top: later ones that are put on top, because they switch the feature on.
    """

    candidate: Candidate
    on_top: tuple[Candidate, ...] = ()

    @property
    def step(self) -> str:
        """Return its directory in the campaign."""
        return "+".join(each.id for each in (self.candidate, *self.on_top))


class Evaluator:
    """Evaluates points and keeps the evaluations.

    Args:
        predicate: when a kernel is bad.
        campaign: the runs that were made.
        context: cache, deadline, progress.
    """

    def __init__(self, predicate: Predicate, campaign: CampaignState, context: Context) -> None:
        self.predicate = predicate
        self.evaluations: list[Evaluation] = []
        self._campaign = campaign
        self._context = context

    def evaluate(self, point: Point, request: RunRequest, times: int) -> Evaluation:
        """Evaluate a point until it is bad once, or has been sampled so often."""
        self._context.progress.stage("bisect", f"{point.step}: {point.candidate.name}")
        found = self._sample(point, request, times, stop_at_bad=True)
        self._context.progress.note(f"{point.step}: {found.term}: {found.reason}")
        self.evaluations.append(found)
        return found

    def measure_rate(self, point: Point, request: RunRequest) -> Evaluation:
        """Evaluate a bad point until the fault's rate is known."""
        found = self._sample(point, request, 1, stop_at_bad=False)
        while found.term in ("good", "bad") and not strategy.rate_is_known(
            found.bad, found.samples
        ):
            found = self._sample(point, request, found.samples + _BATCH, stop_at_bad=False)
        self.evaluations.append(found)
        return found

    def record(self, point: Point) -> RunRecord | None:
        """Return the first run of a point that is bad; None where there is none."""
        bad = (
            record
            for record in self._campaign.runs(point.step)
            if predicate.evaluate(self.predicate, record).term == "bad"
        )
        return next(bad, None)

    def _sample(
        self, point: Point, request: RunRequest, times: int, *, stop_at_bad: bool
    ) -> Evaluation:
        records = list(self._campaign.runs(point.step))
        found = self._evaluation(point, records)
        while found.term in ("good", "bad") or not records:
            left = times - found.samples
            if left <= 0 or (found.bad and stop_at_bad):
                break
            batch = state.repeated(request, min(left, _BATCH))
            records.append(self._campaign.run(point.step, batch))
            found = self._evaluation(point, records)
        return found

    def _evaluation(self, point: Point, records: Sequence[RunRecord]) -> Evaluation:
        """Return what the runs of one point say together: bad if one of them does."""
        answers = [predicate.evaluate(self.predicate, record) for record in records]
        answers = answers or [Answer(term="untestable", reason="it was not run")]
        decisive = min(answers, key=lambda answer: _ORDER.index(answer.term))
        samples = [sample for record in records for sample in self._samples(record)]
        built = [r.kernel for r in records if r.kernel is not None and not r.kernel.cached]
        return Evaluation(
            candidate=point.candidate,
            on_top=point.on_top,
            term=decisive.term,
            reason=decisive.reason,
            runs=len(records),
            samples=len(samples),
            bad=samples.count("bad"),
            seconds=sum(record.seconds for record in records),
            built=bool(built),
            make_seconds=sum(kernel.make_seconds for kernel in built)
            + sum(record.error_seconds for record in records),
            guest_seconds=sum(record.guest_seconds for record in records),
            run_dir=records[answers.index(decisive)].run_dir if records else "",
        )

    def _samples(self, record: RunRecord) -> list[Term]:
        """Return the term of each repetition of a run that was good or bad."""
        rounds: dict[str, list[Term]] = {}
        for probe in record.probes:
            alone = msgspec.structs.replace(record, probes=(probe,), splats=())
            term = predicate.evaluate(self.predicate, alone).term
            rounds.setdefault(probe.name.partition("#")[2], []).append(term)
        decisive = [min(terms, key=_decisive) for terms in rounds.values()]
        whole = predicate.evaluate(self.predicate, record).term
        return [term for term in decisive if term in ("good", "bad")] or [
            term for term in (whole,) if term in ("good", "bad")
        ]


def _decisive(term: Term) -> int:
    """Order terms within a repetition, where one probe may be testable and another not."""
    return ("bad", "good", "untestable", "absent").index(term)
