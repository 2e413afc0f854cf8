# SPDX-License-Identifier: GPL-2.0-only
"""Finds the patch of a series, or the commit, that made a kernel bad.

Both ends are evaluated first, so that no result rests on an end that was only assumed. Kernels come
from the cache and finished runs from the campaign's state, so a bisection that was killed continues
where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from harness import pipeline
from harness.campaign import commits, order, state, strategy
from harness.campaign.commits import History
from harness.campaign.evaluate import Evaluator, Point
from harness.campaign.predicate import Predicate
from harness.campaign.search import Narrowed, Search, bounding
from harness.campaign.state import CampaignState
from harness.context import Context
from harness.errors import SpecError
from harness.kernel.obtain import KernelRequest, patch_stat, patch_texts, resolve_request
from harness.records.base import Record
from harness.records.campaign import Bisection, Candidate, Evaluation
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
        first_good: find the first one that is good again, not the first bad one.
        skip: those that must not be evaluated: numbers of patches, or revisions.
    """

    subject: Subject
    predicate: Predicate
    confidence: float | None = None
    first_good: bool = False
    skip: tuple[str, ...] = ()

    def of_kernel(self, kernel: KernelRequest) -> RunRequest:
        """Return the run that evaluates a kernel."""
        return self.predicate.request(msgspec.structs.replace(self.subject, kernel=kernel))


class _Patches:
    """The candidates of a series: the source alone, and the kernel after each patch."""

    def __init__(self, names: Sequence[str], texts: Callable[[], Iterable[str]]) -> None:
        named = enumerate(["the source alone", *names])
        self.all = [Candidate(id=f"{number:04}", name=name) for number, name in named]
        self.first, self.last = self.all[0], self.all[-1]
        self._texts = texts

    def most_tests(self) -> int:
        return strategy.most_tests(len(self.all) - 1) + order.EXTRA_TESTS

    def texts(self) -> Iterable[tuple[Candidate, str]]:
        return zip(self.all[1:], self._texts(), strict=False)

    def narrow(
        self, bounds: tuple[Evaluation, Evaluation], search: Search, on_top: tuple[Candidate, ...]
    ) -> Narrowed:
        distances = order.Distances(order.files(text) for text in self._texts())
        seen = {int(each.candidate.id): each for each in bounds}
        left = _bracket(seen, search, distances)
        while left.following is not None:
            seen[left.following] = search.evaluate(self.all[left.following], on_top)
            left = _bracket(seen, search, distances)
        suspects = tuple(self.all[number] for number in left.suspects)
        return Narrowed(seen[left.before], seen[left.bad], suspects)

    def before(self, candidate: Candidate) -> Candidate:
        return self.all[int(candidate.id) - 1]

    def up_to(self, candidate: Candidate) -> Sequence[Candidate]:
        return self.all[: int(candidate.id) + 1]


def _bracket(
    seen: dict[int, Evaluation], search: Search, distances: order.Distances
) -> strategy.Bracket:
    made = search.evaluator.evaluations
    built = [each for each in made if each.built] or made
    return strategy.bracket(
        {number: search.term(each) for number, each in seen.items()},
        frozenset(map(int, bounding(seen.values(), search))),
        frozenset(map(int, search.likely(seen.values()))),
        strategy.Compiled(distances, int(built[-1].candidate.id)),
    )


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
    skipped = frozenset(_number(word, len(patches)) for word in request.skip)

    def run(point: Point) -> RunRequest:
        extra = (*kernel.extra, *(str(int(each.id)) for each in point.on_top))
        first = int(point.candidate.id)
        return request.of_kernel(msgspec.structs.replace(kernel, first=first, extra=extra))

    identity = (request.subject, parts, request.predicate)
    with state.campaign("bisect", kernel.series, identity, runs, context) as campaign:
        names = [patch.name for patch in patches]
        candidates = _Patches(names, lambda: patch_texts(kernel, context))
        found = _search(request, campaign, context, run, skipped).go(candidates)
        if found.result == "found":
            stat = patch_stat(kernel, int(found.suspects[0].id), context)
            found = msgspec.structs.replace(found, diffstat=stat)
        return _write(found, campaign.directory)


def _number(word: str, last: int) -> str:
    if not word.isdecimal() or not 1 <= int(word) <= last:
        raise SpecError(
            f"--skip {word} is not a patch of the series", hint=f"a number from 1 to {last}"
        )
    return f"{int(word):04}"


def _search(
    request: BisectRequest,
    campaign: CampaignState,
    context: Context,
    run: Callable[[Point], RunRequest],
    skipped: frozenset[str],
) -> Search:
    return Search(
        evaluator=Evaluator(request.predicate, campaign, context),
        run=run,
        text=request.predicate.text(),
        wanted=request.confidence,
        first_good=request.first_good,
        skipped=skipped,
    )


def _write(found: Bisection, directory: Path) -> Bisection:
    found = msgspec.structs.replace(found, directory=str(directory))
    atomic_write(directory / "bisect.json", msgspec.json.encode(found))
    return found


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
        UserError: if the repository or a revision does not exist, or the ends are not in order.
        CampaignStopped: if this host could not do a run.
    """
    kernel = request.subject.kernel
    skipped = frozenset(commits.revision(history, word, context) for word in request.skip)

    def run(point: Point) -> RunRequest:
        return request.of_kernel(
            msgspec.structs.replace(
                kernel,
                source=f"git:{history.path}@{point.candidate.id}",
                extra=(*kernel.extra, *(str(git.patch_file(each)) for each in point.on_top)),
            )
        )

    pipeline.check(run(Point(Candidate(id=history.new, name=""))), context)
    extra = [word if word.isdecimal() else _digest(word) for word in kernel.extra]
    identity = (request.subject, (history.old, history.new), request.predicate, extra)
    label = f"{history.path.name}-{history.new[:12]}"
    with state.campaign("bisect", label, identity, runs, context) as campaign:
        with commits.bisection(history, campaign.directory / "git", context) as git:
            candidates = commits.Commits(git)
            found = _search(request, campaign, context, run, skipped).go(candidates)
            if found.result == "found":
                found = msgspec.structs.replace(found, diffstat=git.diffstat(found.suspects[0].id))
        return _write(found, campaign.directory)


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
