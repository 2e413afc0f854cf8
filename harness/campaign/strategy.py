# SPDX-License-Identifier: GPL-2.0-only
"""Which candidate a bisection evaluates next, and how often: the arithmetic and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from harness.records.campaign import Term

#: Rates are estimated until so many failures were seen ...
_FAILURES = 5
#: ... or so many samples were taken.
_MOST_SAMPLES = 60


class Bracket(NamedTuple):
    """What is known about where a fault came in; numbers are those of candidates.

    Attributes:
        before: the last one known to be without it: good, or without what it is a fault of.
        bad: the first one known to have it.
        suspects: those in which it may have come in; one when the bisection is over and every
            candidate between could be tested.
        following: the one to evaluate next; None when none is left.
    """

    before: int
    bad: int
    suspects: tuple[int, ...]
    following: int | None


def bracket(terms: Mapping[int, Term]) -> Bracket:
    """Return what the terms found so far leave open.

    A candidate without the feature comes before every candidate that can have the fault, so it
    bounds the bisection as a good one does. One that cannot be tested bounds nothing; the nearest
    to the middle among the others is evaluated in its place.

    Args:
        terms: by candidate; at least one ``bad`` and, below it, one ``good`` or ``absent``.
    """
    bad = min(number for number, term in terms.items() if term == "bad")
    before = max(
        number for number, term in terms.items() if term in ("good", "absent") and number < bad
    )
    unknown = [number for number in range(before + 1, bad) if number not in terms]
    middle = (before + bad) / 2
    following = min(unknown, key=lambda number: (abs(number - middle), number), default=None)
    return Bracket(before, bad, tuple(range(before + 1, bad + 1)), following)


def most_tests(suspects: int) -> int:
    """Return how many candidates a bisection of so many suspects tests at most."""
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
