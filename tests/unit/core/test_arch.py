# SPDX-License-Identifier: GPL-2.0-only
"""What the rows of an architecture say, which must agree."""

import itertools

import pytest

from harness.arch import Arch, arches
from harness.judge.pagetable import LEAF_LEVELS
from harness.sizes import parse_size


@pytest.fixture(params=arches())
def guest(request: pytest.FixtureRequest) -> Arch:
    return arches()[request.param]


def test_gigantic_pages_are_some_of_all_the_largest_first(guest: Arch) -> None:
    known = [size for size in guest.hugepage_sizes if size in guest.gigantic_sizes]
    assert list(guest.gigantic_sizes) == known
    sizes = [parse_size(size, "a size") for size in guest.hugepage_sizes]
    assert sizes == sorted(sizes, reverse=True)


def test_every_number_of_levels_has_names_and_what_drgn_needs(guest: Arch) -> None:
    tables = guest.page_tables
    assert set(tables.levels_by_value.values()) == tables.names.keys()
    assert guest.drgn.numbers_by_levels.keys() == tables.names.keys()
    for count, names in tables.names.items():
        assert len(names) == count
        assert names[max(names)] == "pgd"
        assert names[min(names)] == LEAF_LEVELS[-1]


def test_a_table_fills_a_base_page(guest: Arch) -> None:
    for names in guest.page_tables.names.values():
        shifts = sorted(names)
        steps = {upper - lower for lower, upper in itertools.pairwise(shifts)}
        assert steps == {shifts[0] - 3}


def test_entries_that_may_be_one_are_counted_for_each_base_page(guest: Arch) -> None:
    tables = guest.page_tables
    pages = {min(names) for names in tables.names.values()} if tables.contiguous >= 0 else set()
    assert tables.contiguous_entries.keys() == pages
    assert bool(tables.contiguous_differ) == bool(pages)
