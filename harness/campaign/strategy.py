# SPDX-License-Identifier: GPL-2.0-only
"""Which candidate a bisection evaluates next, and how often: the arithmetic and nothing else."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

from harness.campaign import order
from harness.campaign.order import Distances
from harness.records.campaign import Term

#: Rates are estimated until so many failures were seen ...
_FAILURES = 5
#: ... or so many samples were taken.
_MOST_SAMPLES = 60


#: More tests than `most_tests` where suspects by trace are tried first.
MISLED = 3


class Bracket(NamedTuple):
    """What is known about where a fault came in; numbers are those of candidates.

    Attributes:
        before: the last one that bounds the bisection from below.
        bad: the first one known to have the fault.
        suspects: those after `before` up to `bad`; one when the bisection is over and every
            candidate between could be tested.
        following: the one to evaluate next; None when none is left.
    """

    before: int
    bad: int
    suspects: tuple[int, ...]
    following: int | None


class Compiled(NamedTuple):
    """What compiling costs in a bisection.

    Attributes:
        distances: between two candidates.
        held: the candidate that was compiled last.
    """

    distances: Distances
    held: int


def bracket(
    terms: Mapping[int, Term],
    bounds: frozenset[int] = frozenset(),
    traced: Collection[int] = (),
    compiled: Compiled | None = None,
) -> Bracket:
    """Return what the terms found so far leave open.

    The search goes on above a candidate without the feature, where the fault cannot show. One that
    cannot be tested bounds nothing; the nearest to the middle among the others takes its place.

    Args:
        terms: by candidate; at least one ``bad`` and, below it, one that bounds.
        bounds: those that bound the search whatever their term is.
        traced: those that are suspects for another reason: they are tried first.
        compiled: what compiling costs; None to halve the suspects only.
    """
    bad = min(number for number, term in terms.items() if term == "bad")
    before = max(
        number
        for number, term in terms.items()
        if number < bad and (term in ("good", "absent") or number in bounds)
    )
    suspects = tuple(range(before + 1, bad + 1))
    unknown = [number for number in suspects[:-1] if number not in terms]
    middle: float = (before + bad) / 2
    if (tried := by_trace(suspects, traced)) is not None:
        middle = tried - 1 if tried - 1 in unknown else tried
    elif compiled is not None:
        left = _tests_left(terms, traced)
        next_ = order.cheapest(suspects, unknown, compiled.held, left, compiled.distances)
        middle = middle if next_ is None else next_
    following = min(unknown, key=lambda number: (abs(number - middle), number), default=None)
    return Bracket(before, bad, suspects, following)


def _tests_left(terms: Mapping[int, Term], traced: Collection[int]) -> int:
    """Return how many more candidates may be tested; those that could not be do not count."""
    ends = min(terms), max(terms)
    made = [number for number, term in terms.items() if term != "untestable"]
    most = most_tests(ends[1] - ends[0]) + (0 if traced else order.EXTRA_TESTS)
    return most - sum(number not in ends for number in made)


_Candidate = TypeVar("_Candidate")


def by_trace(suspects: Sequence[_Candidate], traced: Collection[_Candidate]) -> _Candidate | None:
    """Return the traced suspect to divide the others at; None where that saves no test.

    To find a culprit among the traced takes two tests more, of both of its sides.

    Args:
        suspects: those that are left, oldest first.
        traced: those that are likelier than the others.
    """
    likely = [suspect for suspect in suspects if suspect in traced]
    if not likely or most_tests(len(likely)) + 2 >= most_tests(len(suspects)):
        return None
    return likely[len(likely) // 2]


def most_tests(suspects: int) -> int:
    """Return how many candidates a bisection of so many suspects, none traced, tests at most."""
    return max(0, suspects - 1).bit_length()


def rate_is_known(failures: int, samples: int) -> bool:
    """Return whether a fault's rate need not be measured any longer."""
    return failures >= _FAILURES or samples >= _MOST_SAMPLES


def least_rate(failures: int, samples: int, doubt: float) -> float:
    """Return a lower bound of a fault's rate that is wrong with a probability of ``doubt``.

    It is the lower end of Clopper and Pearson's interval.
    """
    from scipy.stats import binomtest

    test = binomtest(failures, samples, alternative="greater")
    return float(test.proportion_ci(confidence_level=1 - doubt, method="exact").low)


def repeats(rate: float, doubt: float) -> int:
    """Return how many passes bring the probability that a fault of this rate hid to ``doubt``."""
    return 1 if rate >= 1.0 else max(1, math.ceil(math.log(doubt) / math.log1p(-rate)))


def hidden(rate: float, passes: int) -> float:
    """Return the probability that a fault of this rate does not show in so many samples."""
    return float((1 - rate) ** passes)
