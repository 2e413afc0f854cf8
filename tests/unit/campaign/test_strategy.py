# SPDX-License-Identifier: GPL-2.0-only
"""The arithmetic of a bisection."""

import random

import pytest

from harness.campaign import strategy
from harness.records.campaign import Term


def _find(
    total: int, culprit: int, untestable: frozenset[int], absent_below: int = 0
) -> tuple[tuple[int, ...], int]:
    """Return the suspects that are left and how many candidates were tested between the ends."""

    def term(number: int) -> Term:
        if number in untestable:
            return "untestable"
        if number >= culprit:
            return "bad"
        return "absent" if number < absent_below else "good"

    terms: dict[int, Term] = {0: term(0), total: "bad"}
    while (number := strategy.bracket(terms).following) is not None:
        terms[number] = term(number)
    return strategy.bracket(terms).suspects, len(terms) - 2


@pytest.mark.parametrize("total", [1, 2, 3, 7, 12, 30, 31, 32, 33, 46])
def test_every_culprit_is_found_in_logarithmic_tests(total: int) -> None:
    for culprit in range(1, total + 1):
        suspects, tested = _find(total, culprit, frozenset())
        assert suspects == (culprit,)
        assert tested <= strategy.most_tests(total)


def test_a_series_that_adds_the_feature_needs_no_more_tests() -> None:
    for culprit in range(12, 31):
        suspects, tested = _find(30, culprit, frozenset(), absent_below=11)
        assert suspects == (culprit,)
        assert tested <= strategy.most_tests(30)


def test_untestable_candidates_stay_suspects() -> None:
    assert _find(10, 5, frozenset({4}))[0] == (4, 5)
    assert _find(10, 5, frozenset({7}))[0] == (5,)
    assert _find(3, 2, frozenset({1, 2}))[0] == (1, 2, 3)


def test_the_culprit_is_always_among_the_suspects() -> None:
    chance = random.Random(1)  # noqa: S311 - the same cases every time
    for _ in range(300):
        total = chance.randint(2, 40)
        culprit = chance.randint(1, total)
        broken = frozenset(p for p in range(1, total) if chance.random() < 0.3)
        suspects, _ = _find(total, culprit, broken)
        assert culprit in suspects
        assert all(number in broken for number in suspects[:-1])


def test_the_lower_bound_of_the_rate_approaches_the_measured_rate() -> None:
    few, many = strategy.least_rate(3, 9, 0.025), strategy.least_rate(300, 900, 0.025)
    assert 0 < few < many < 1 / 3
    # From tables of Clopper and Pearson's 95 % interval: 3 of 9 has the lower end 7.5 %.
    assert few == pytest.approx(0.0749, abs=0.0005)
    assert strategy.least_rate(5, 5, 0.025) == pytest.approx(0.025 ** (1 / 5), abs=1e-6)
    assert strategy.least_rate(0, 50, 0.025) == 0.0


def test_repeats_are_the_fewest_that_bring_the_doubt_below_the_limit() -> None:
    for rate in (0.05, 0.2, 1 / 3, 0.9):
        for doubt in (0.05, 0.001):
            count = strategy.repeats(rate, doubt)
            assert strategy.hidden(rate, count) <= doubt
            assert count == 1 or strategy.hidden(rate, count - 1) > doubt
    assert strategy.repeats(1.0, 0.001) == 1


@pytest.mark.parametrize("total", [5, 12, 40, 46])
def test_suspects_by_trace_are_tried_first_and_mislead_by_three_tests_at_most(total: int) -> None:
    chance = random.Random(total)  # noqa: S311 - the same cases every time
    for culprit in range(1, total + 1):
        traced = frozenset(chance.sample(range(1, total + 1), min(4, total)))
        terms: dict[int, Term] = {0: "good", total: "bad"}
        while (number := strategy.bracket(terms, traced=traced).following) is not None:
            terms[number] = "bad" if number >= culprit else "good"
        assert strategy.bracket(terms).suspects == (culprit,)
        tested = len(terms) - 2
        assert tested <= strategy.most_tests(total) + strategy.MISLED
        if culprit in traced:
            assert tested <= max(strategy.most_tests(total), strategy.most_tests(4) + 2)


def test_a_bound_is_no_evidence_about_what_is_below_it() -> None:
    terms: dict[int, Term] = {0: "untestable", 4: "untestable", 5: "bad"}
    left = strategy.bracket(terms, bounds=frozenset({0, 4}))
    assert (left.before, left.bad, left.following) == (4, 5, None)


def test_the_trace_is_left_alone_where_it_saves_nothing() -> None:
    assert strategy.by_trace(range(1, 5), {3}) is None
    assert strategy.by_trace(range(1, 41), set(range(1, 21))) is None
    assert strategy.by_trace(range(1, 41), {3}) == 3
    assert strategy.by_trace(range(1, 41), {50}) is None
