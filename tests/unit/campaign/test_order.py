# SPDX-License-Identifier: GPL-2.0-only
"""What a bisection compiles, and that it still needs few tests."""

import functools
import itertools
import random
from collections.abc import Callable

import pytest

from harness.campaign import order, strategy
from harness.campaign.order import Distances
from harness.campaign.strategy import Compiled
from harness.records.campaign import Term

_HEADER, _CODE = "include/linux/mm.h", "mm/hugetlb.c"


def _series(total: int, wide: int, seed: int) -> list[frozenset[str]]:
    """Return the files of each patch; so many of them change one of six wide headers."""
    chance = random.Random(seed)  # noqa: S311 - the same cases every time
    headers = set(chance.sample(range(total), wide))
    return [
        frozenset(
            {f"include/linux/h{chance.randrange(6)}.h" if n in headers else f"mm/f{n % 12}.c"}
        )
        for n in range(total)
    ]


def _bisected(
    total: int,
    culprit: int,
    distances: Distances,
    compiled: Callable[[int, int], int],
    *,
    ordered: bool,
) -> tuple[int, int]:
    """Return how many candidates were tested between the ends, and the objects compiled."""
    terms: dict[int, Term] = {total: "bad", 0: "good"}
    held, objects = total, 0
    while True:
        left = strategy.bracket(terms, compiled=Compiled(distances, held) if ordered else None)
        if left.following is None:
            break
        objects += compiled(held, left.following)
        held = left.following
        terms[held] = "bad" if held >= culprit else "good"
    assert left.suspects == (culprit,)
    return len(terms) - 2, objects


def _counted(patches: list[frozenset[str]], seed: int) -> Callable[[int, int], int]:
    """Return how many of 1,305 objects differ, where each header has a share of its own."""
    chance = random.Random(seed)  # noqa: S311 - the same cases every time
    part_of = {
        path: {n for n in range(1305) if chance.random() < share} if path.endswith(".h") else {path}
        for path in sorted(frozenset().union(*patches))
        for share in [chance.uniform(0.55, 0.9)]
    }

    @functools.cache
    def compiled(one: int, other: int) -> int:
        first, last = sorted((one, other))
        changed = frozenset().union(*patches[first:last])
        return len(set().union(*(part_of[path] for path in changed)))

    return compiled


@pytest.mark.parametrize("total", [1, 2, 3, 7, 16, 33, 46, 100])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_order_needs_more_than_two_tests_more(total: int, seed: int) -> None:
    distances = Distances(_series(total, total // 3, seed))
    for culprit in range(1, total + 1, 1 if total < 40 else 9):
        tested, _ = _bisected(total, culprit, distances, distances, ordered=True)
        assert tested <= strategy.most_tests(total) + 2


def test_a_third_of_wide_headers_costs_a_quarter_less() -> None:
    by_halves, ordered = (
        sum(
            _bisected(46, culprit, Distances(patches), _counted(patches, seed), ordered=way)[1]
            for seed in range(4)
            for patches in [_series(46, 15, seed)]
            for culprit in range(1, 47, 6)
        )
        for way in (False, True)
    )
    assert ordered <= 0.75 * by_halves


def test_a_second_wide_header_costs_little_more() -> None:
    patches = [frozenset({f"include/linux/{name}.h"}) for name in ("mm", "fs", "hugetlb")]
    distances = Distances(patches)
    assert distances(0, 1) < distances(0, 2) < 1.5 * distances(0, 1)
    assert distances(2, 3) < 0.1 * distances(0, 1)


def test_the_search_stays_on_its_side_of_a_wide_header() -> None:
    patches = [frozenset({_CODE})] * 5 + [frozenset({_HEADER})] + [frozenset({_CODE})] * 10
    suspects, distances = range(1, 17), Distances(patches)
    assert order.cheapest(suspects, suspects[:-1], 0, 6, distances) == 5
    assert order.cheapest(suspects, suspects[:-1], 16, 6, distances) == 6


def test_too_few_tests_leave_no_order() -> None:
    suspects, distances = range(1, 10), Distances([frozenset({_CODE})] * 9)
    assert order.cheapest(suspects, suspects[:-1], 0, 3, distances) is None
    assert order.cheapest(suspects, suspects[:-1], 0, 4, distances) is not None


def test_the_culprit_is_a_suspect_where_kernels_cannot_be_tested() -> None:
    chance = random.Random(4)  # noqa: S311 - the same cases every time
    for _ in range(40):
        total = chance.randint(2, 40)
        culprit = chance.randint(1, total)
        distances = Distances(_series(total, total // 3, total))
        terms: dict[int, Term] = {0: "good", total: "bad"}
        held, broken = 0, {n for n in range(1, total) if chance.random() < 0.3}
        left = strategy.bracket(terms, compiled=Compiled(distances, held))
        while left.following is not None:
            held = left.following
            found: Term = "bad" if held >= culprit else "good"
            terms[held] = "untestable" if held in broken else found
            left = strategy.bracket(terms, compiled=Compiled(distances, held))
        assert culprit in left.suspects
        assert all(number in broken for number in left.suspects[:-1])


def test_files_and_what_depends_on_them() -> None:
    patch = f"--- a/{_HEADER}\n+++ b/{_HEADER}\n--- /dev/null\n+++ b/mm/new.c\t2026-11-28\n"
    assert order.files(patch) == {_HEADER, "mm/new.c"}
    page, tool, manual = "arch/x86/include/asm/page.h", "tools/include/x.h", "Documentation/x.rst"
    narrow, local = "include/linux/hugetlb.h", "mm/internal.h"
    paths = (_HEADER, page, narrow, local, _CODE, tool, manual)
    one = {path: Distances([{path}])(0, 1) for path in paths}
    assert one[_HEADER] == one[page] > one[narrow] > one[local] > one[_CODE] > 0
    assert one[tool] == one[manual] == 0


def test_the_order_of_the_series_compiles_least_where_every_kernel_is_wanted() -> None:
    """`hgm series try` builds every kernel from the source alone on."""
    for seed in range(5):
        distances = Distances(_series(5, 2, seed))
        costs = {
            path: sum(distances(*pair) for pair in itertools.pairwise((0, *path)))
            for path in itertools.permutations(range(1, 6))
        }
        assert costs[1, 2, 3, 4, 5] == min(costs.values())
