# SPDX-License-Identifier: GPL-2.0-only
"""The decoder of page tables, against tables made by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.judge import pagetable
from harness.records.probe import LevelCount
from tests.unit.judge.tables import (
    LEAF,
    NO_EXECUTE,
    PROTNONE,
    TABLE,
    UFFD_WP,
    X86,
    Tables,
    x86_run,
)

VA = 0x7F12_4000_0000  # a multiple of 1 GiB
PA = 0x1_4000_0000
GIB, MIB2, KIB4 = 1 << 30, 1 << 21, 1 << 12

# As Linux 6.12 writes them: type in bits 59 to 63, offset inverted from bit 9 on.
MARKER_WP = 31 << 59 | (~1 & (1 << 50) - 1) << 9
MARKER_POISON = 31 << 59 | (~2 & (1 << 50) - 1) << 9
HWPOISON = 27 << 59 | (~0x1234 & (1 << 50) - 1) << 9


def walked(tables: Tables, start: int = VA, length: int = GIB) -> pagetable.Walk:
    return pagetable.walk(tables.read, tables.top, start, start + length)


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize(("shift", "tables"), [(30, 0), (21, 1), (12, 2)])
def test_one_entry_of_each_level_is_found(levels: int, shift: int, tables: int) -> None:
    made = Tables(levels)
    made.map(VA, PA, shift)
    found = walked(made)
    large = 1 << 7 if shift > 12 else 0
    assert found.runs == (x86_run(VA, shift, 1, PA | LEAF | large),)
    assert found.runs[0].frame == PA
    assert sum(found.tables.values()) == levels - 2 + tables
    assert found.odd == ()


def test_five_levels_use_the_upper_bits_of_an_address() -> None:
    high = 0x00AB_0000_0000_0000 | VA
    made = Tables(5)
    made.map(high, PA)
    made.map(VA, PA + GIB)
    assert pagetable.translate(made.read, made.top, high + 0x123) == PA + 0x123
    assert pagetable.translate(made.read, made.top, VA + 0x123) == PA + GIB + 0x123
    assert set(walked(made).tables) == {"pgd", "p4d", "pud", "pmd", "pte"}


def test_a_full_gib_of_4_kib_entries_is_one_run() -> None:
    made = Tables()
    for address in range(0, GIB, KIB4):
        made.map(VA + address, PA + address)
    found = walked(made)
    assert found.runs == (x86_run(VA, 12, 1 << 18, PA | LEAF),)
    assert found.tables == {"pgd": 1, "pud": 1, "pmd": 1, "pte": 512}
    assert found.runs[0].end == VA + GIB


def test_runs_end_at_holes_at_jumps_of_frames_and_at_other_flags() -> None:
    made = Tables()
    for page in (0, 1, 3, 5, 6, 7):
        made.map(VA + page * KIB4, PA + page * KIB4)
    made.map(VA + 6 * KIB4, PA + 9 * KIB4)
    made.map(VA + 7 * KIB4, PA + 10 * KIB4, flags=LEAF | UFFD_WP)
    assert [(run.address - VA >> 12, run.entries) for run in walked(made).runs] == [
        (0, 2),
        (3, 1),
        (5, 1),
        (6, 1),
        (7, 1),
    ]


def test_a_range_begins_and_ends_inside_a_table() -> None:
    made = Tables()
    for page in range(1024):
        made.map(VA + page * KIB4, PA + page * KIB4)
    found = walked(made, VA + 500 * KIB4, 100 * KIB4)
    assert found.runs == (x86_run(VA + 500 * KIB4, 12, 100, PA + 500 * KIB4 | LEAF),)


def test_an_entry_that_is_larger_than_the_range_counts_whole() -> None:
    made = Tables()
    made.map(VA, PA, 30)
    assert walked(made, VA + 5 * KIB4, KIB4).runs[0].entries == 1
    assert pagetable.translate(made.read, made.top, VA + MIB2 + 7) == PA + MIB2 + 7


def test_an_address_without_an_entry_has_no_translation() -> None:
    made = Tables()
    made.map(VA, PA)
    made.put(VA + KIB4, MARKER_WP)
    for address in (VA + KIB4, VA + 2 * KIB4, VA + GIB, 0):
        assert pagetable.translate(made.read, made.top, address) is None


@pytest.mark.parametrize("shift", [12, 21, 30])
@pytest.mark.parametrize(
    ("raw", "present", "marker", "uffd_wp"),
    [
        (PA | LEAF, True, False, False),
        (PA | LEAF | UFFD_WP, True, False, True),
        (~PA & 0x000F_FFFF_FFFF_F000 | PROTNONE, True, False, False),
        (MARKER_WP, False, True, True),
        (MARKER_POISON, False, True, False),
        (HWPOISON, False, False, False),
        (HWPOISON | 1 << 2, False, False, True),
    ],
)
def test_what_an_entry_is(raw: int, present: bool, marker: bool, uffd_wp: bool, shift: int) -> None:
    made = Tables()
    made.put(VA, raw | (1 << 7 if present and shift > 12 else 0), shift)
    (run,) = walked(made).runs
    assert (run.present, run.uffd_wp) == (present, uffd_wp)
    assert X86.is_marker(run.raw) == marker
    if present:
        assert run.frame == PA


def test_neighbours_without_access_keep_their_frames_inverted() -> None:
    made = Tables()
    for page in range(4):
        made.put(VA + page * KIB4, ~(PA + page * KIB4) & 0x000F_FFFF_FFFF_F000 | PROTNONE)
    (run,) = walked(made).runs
    assert (run.entries, run.frame) == (4, PA)


def test_the_offset_of_a_swap_entry_is_not_inverted_to_its_reader() -> None:
    assert X86.swap_offset(HWPOISON) == 0x1234
    assert X86.swap_offset(MARKER_WP) == 1


def test_entries_are_counted_by_level_and_flag() -> None:
    made = Tables()
    made.map(VA, PA, 21)
    made.map(VA + MIB2, PA + MIB2, flags=0x5)  # present, user
    made.map(VA + MIB2 + KIB4, PA + MIB2 + KIB4, flags=LEAF | UFFD_WP)
    made.map(VA + MIB2 + 2 * KIB4, PA, flags=0x5 | 1 << 58)  # saved dirty
    made.put(VA + MIB2 + 3 * KIB4, MARKER_WP)
    made.put(VA + MIB2 + 4 * KIB4, MARKER_WP)
    made.put(VA + MIB2 + 5 * KIB4, HWPOISON)
    one = {"writable": 1, "user": 1, "accessed": 1, "dirty": 1, "no_execute": 1}
    assert pagetable.count(walked(made).runs) == (
        LevelCount(level="pmd", present=1, **one),
        LevelCount(
            level="pte",
            present=3,
            writable=1,
            user=3,
            accessed=1,
            dirty=2,
            no_execute=1,
            uffd_wp=3,
            markers=2,
            swap=1,
        ),
    )


@pytest.mark.parametrize("table", [TABLE & ~2, TABLE & ~4, TABLE | NO_EXECUTE])
def test_a_table_entry_without_write_or_user_access_is_odd(table: int) -> None:
    made = Tables()
    made.put(VA, PA | LEAF, table=table)
    assert "takes write, user or exec away" in walked(made).odd[0]


def test_a_large_entry_where_none_can_be_is_odd() -> None:
    made = Tables()
    made.put(VA, PA | LEAF | 1 << 7, 39)
    found = walked(made)
    assert found.runs == ()
    assert "is invalid" in found.odd[0]


def test_a_table_outside_memory_is_the_readers_error() -> None:
    made = Tables()
    made.put(VA, 0xDEAD_0000_0000 | TABLE, 21)
    with pytest.raises(KeyError):
        walked(made)


def test_oddities_are_not_kept_without_end() -> None:
    made = Tables()
    for index in range(100):
        made.put(index << 39, 1 << 7 | 1, 39)
    assert len(walked(made, 0, 100 << 39).odd) == 8


# ---- the right subpages ------------------------------------------------------------------------


def wrong(tables: Tables, size: int, pages: int = 1) -> tuple[str, ...]:
    found = walked(tables, VA, size * pages)
    return pagetable.wrong_frames(found.runs, VA, size, pages)


@pytest.mark.parametrize("size", [MIB2, GIB])
def test_subpages_in_their_places_are_right(size: int) -> None:
    made = Tables()
    made.map(VA + 3 * KIB4, PA + 3 * KIB4)
    made.map(VA + size - KIB4, PA + size - KIB4)
    if size == GIB:
        made.map(VA + 4 * MIB2, PA + 4 * MIB2, 21)
    assert wrong(made, size) == ()


def test_a_whole_huge_page_is_right() -> None:
    made = Tables()
    made.map(VA, PA, 30)
    assert wrong(made, GIB) == ()


@pytest.mark.parametrize(
    ("page", "shown", "shift"),
    [
        (5, 6, 12),  # its neighbour's
        (5, 5 + (1 << 18), 12),  # the same subpage of another huge page
        (512, 1024, 21),
    ],
)
def test_another_subpage_is_named(page: int, shown: int, shift: int) -> None:
    made = Tables()
    made.map(VA, PA)
    made.map(VA + page * KIB4, PA + shown * KIB4, shift)
    (line,) = wrong(made, GIB)
    assert f"page {page} of its huge page" in line
    assert f"maps {PA + shown * KIB4:#x}, expected {PA + page * KIB4:#x}" in line


def test_a_first_entry_that_is_shifted_is_wrong_by_itself() -> None:
    made = Tables()
    made.map(VA, PA + KIB4)
    assert f"page 0 of its huge page) maps {PA + KIB4:#x}, expected {PA:#x}" in wrong(made, GIB)[0]
    made = Tables()
    made.map(VA + KIB4, PA)
    assert f"maps {PA:#x}, expected {PA + KIB4:#x}" in wrong(made, GIB)[0]


def test_two_huge_pages_need_not_be_neighbours() -> None:
    made = Tables()
    made.map(VA, PA + GIB, 21)
    made.map(VA + MIB2, PA, 21)
    assert wrong(made, MIB2, 2) == ()


def test_a_run_over_two_huge_pages_is_judged_in_each() -> None:
    made = Tables()
    for page in range(1024):
        made.map(VA + page * KIB4, PA + KIB4 + page * KIB4)
    assert len(wrong(made, MIB2, 2)) == 2


# ---- nothing is lost ---------------------------------------------------------------------------

ENTRIES = st.dictionaries(
    st.integers(0, 1023),
    st.one_of(
        st.integers(0, 3).map(lambda n: (PA + n * KIB4) | LEAF),
        st.integers(0, 3).map(lambda n: ~(PA + n * KIB4) & 0x000F_FFFF_FFFF_F000 | PROTNONE),
        st.sampled_from([MARKER_WP, MARKER_POISON, HWPOISON]),
    ),
    max_size=40,
)


@given(ENTRIES)
def test_every_entry_can_be_had_back_from_the_runs(entries: dict[int, int]) -> None:
    made = Tables()
    for page, raw in entries.items():
        made.put(VA + page * KIB4, raw)
    back = {
        (run.address - VA >> 12) + index: run.raw + index * run.step
        for run in walked(made).runs
        for index in range(run.entries)
    }
    assert back == entries
