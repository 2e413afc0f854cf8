# SPDX-License-Identifier: GPL-2.0-only
"""Which point to look at next, and how often: the arithmetic of a bisection, nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping

from harness.campaign.predicate import Answer
from harness.records.base import Record

#: Rates are estimated until so many failures were seen ...
_FAILURES = 5
#: ... or so many runs were made.
_MOST_RUNS = 60


class Bracket(Record, frozen=True, kw_only=True):
    """What is known about where a fault came in.

    Attributes:
        before: the last point known to be without it: good, or without what it is a fault of.
        bad: the first point known to have it.
        suspects: points in which it may have come in: one when the search is over and nothing
            between could not be tested.
        following: the point to look at next; None when nothing is left to look at.
    """

    before: int
    bad: int
    suspects: tuple[int, ...]
    following: int | None


def bracket(answers: Mapping[int, Answer]) -> Bracket:
    """Return what answers so far leave open.

    A point without the feature lies before every point at which the fault can be, so it bounds the
    search as a good one does. A point that cannot be tested bounds nothing, and the one nearest to
    the middle that is not known takes its place.

    Args:
        answers: by point; at least one ``bad`` and, below it, one ``good`` or ``absent``.
    """
    bad = min(point for point, answer in answers.items() if answer == "bad")
    before = max(
        point for point, answer in answers.items() if answer in ("good", "absent") and point < bad
    )
    between = range(before + 1, bad)
    open_points = [point for point in between if point not in answers]
    middle = (before + bad) / 2
    following = min(open_points, key=lambda point: (abs(point - middle), point), default=None)
    return Bracket(
        before=before, bad=bad, suspects=tuple(range(before + 1, bad + 1)), following=following
    )


def most_tests(points: int) -> int:
    """Return how many points a search among ``points`` suspects looks at if all can be tested."""
    return math.ceil(math.log2(points)) if points > 1 else 0


def rate_is_known(failures: int, runs: int) -> bool:
    """Return whether a fault's rate need not be measured any longer."""
    return failures >= _FAILURES or runs >= _MOST_RUNS


def least_rate(failures: int, runs: int, doubt: float) -> float:
    """Return a rate that the true one is below with a probability of at most ``doubt``.

    This is the lower end of Clopper and Pearson's interval (Biometrika 26, 1934): the rate at which
    so many failures or more would be seen with the probability ``doubt``.
    """
    if failures == 0:
        return 0.0
    low, high = 0.0, failures / runs
    for _ in range(60):
        middle = (low + high) / 2
        if _at_least(failures, runs, middle) < doubt:
            low = middle
        else:
            high = middle
    return low


def _at_least(failures: int, runs: int, rate: float) -> float:
    """Return the probability of at least so many failures in so many runs."""
    fewer = (math.comb(runs, k) * rate**k * (1 - rate) ** (runs - k) for k in range(failures))
    return 1.0 - sum(fewer)


def repeats(rate: float, doubt: float) -> int:
    """Return how many passes make the doubt that a fault of this rate hid at most ``doubt``."""
    if rate >= 1.0:
        return 1
    return max(1, math.ceil(math.log(doubt) / math.log1p(-rate)))


def hidden(rate: float, passes: int) -> float:
    """Return the probability that a fault of this rate hides in so many runs."""
    return (1 - rate) ** passes
