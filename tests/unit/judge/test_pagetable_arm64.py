# SPDX-License-Identifier: GPL-2.0-only
"""The page tables of arm64, made by hand as Linux 6.12 makes them."""

from __future__ import annotations

import struct

import pytest

from harness.judge import pagetable
from harness.judge.pagetable import Run
from harness.records.probe import LevelCount
from tests.unit.judge.tables import Tables

VA, PA = 0xFFFF_4000_0000, 0x1_4000_0000  # multiples of 1 GiB
GIB, MIB2, KIB4 = 1 << 30, 1 << 21, 1 << 12

ARM64 = pagetable.decoder("aarch64")

#: PMD_TYPE_TABLE | PMD_TABLE_AF | PMD_TABLE_PXN: what leads to a table of user space.
TABLE = 3 | 1 << 10 | 1 << 59
USER, RDONLY, SHARED, AF, NG = 1 << 6, 1 << 7, 3 << 8, 1 << 10, 1 << 11
DBM, CONT, PXN, UXN, DIRTY, UFFD = (1 << bit for bit in (51, 52, 53, 54, 55, 58))
#: A page of PROT_READ|PROT_WRITE memory that was written to, but for the type in bits 0 and 1.
LEAF = USER | SHARED | AF | NG | DBM | PXN | UXN | DIRTY
PAGE_TYPE, BLOCK_TYPE = 3, 1

MARKER_WP = 31 << 6 | 1 << 12
MARKER_POISON = 31 << 6 | 2 << 12
HWPOISON = 27 << 6 | 0x1234 << 12


def tables(levels: int = 4) -> Tables:
    return Tables(levels, "aarch64")


def leaf(shift: int, flags: int = LEAF) -> int:
    return flags | (PAGE_TYPE if shift in (12, 16) else BLOCK_TYPE)


def put(made: Tables, address: int, physical: int, shift: int = 12, flags: int = LEAF) -> None:
    made.put(address, physical | leaf(shift, flags), shift, table=TABLE)


def walked(made: Tables, start: int = VA, length: int = GIB) -> pagetable.Walk:
    return pagetable.walk(made.read, made.top, start, start + length)


@pytest.mark.parametrize(
    ("levels", "shift", "read"),
    [
        *((4, 30, ["pgd", "pud"]), (4, 21, ["pgd", "pud", "pmd"])),
        *((4, 12, ["pgd", "pud", "pmd", "pte"]), (5, 30, ["pgd", "p4d", "pud"])),
        *((5, 21, ["pgd", "p4d", "pud", "pmd"]), (5, 12, ["pgd", "p4d", "pud", "pmd", "pte"])),
        *((3, 29, ["pgd", "pmd"]), (3, 16, ["pgd", "pmd", "pte"])),
    ],
)
def test_one_entry_of_each_level_is_found(levels: int, shift: int, read: list[str]) -> None:
    made = tables(levels)
    last = (1 << (13 if levels == 3 else 9)) - 1 << shift  # in the last page of its table
    at, frame = (VA & -(1 << 42)) + last, (PA & -(1 << shift))
    put(made, at, frame, shift)
    found = walked(made, at, 1 << shift)
    assert found.runs == (Run(at, shift, 1, frame | leaf(shift), ARM64),)
    assert found.runs[0].frame == frame
    assert found.tables == dict.fromkeys(read, 1)
    assert found.odd == ()
    (level,) = pagetable.count(found.runs)
    assert (level.level, level.present) == (read[-1], 1)


def test_a_top_table_need_not_begin_a_page() -> None:
    """Of 52-bit addresses it has 16 entries, so several lie in a page."""
    made = tables(5)
    put(made, VA, PA)
    page = made.pages[made.root]
    made.pages[made.root] = bytearray(b"\xff" * 0x80 + page[:0x80] + b"\xff" * 0xF00)
    made.root += 0x80
    assert pagetable.translate(made.read, made.top, VA + 0x123) == PA + 0x123


@pytest.mark.parametrize("shift", [12, 21, 30])
@pytest.mark.parametrize(
    ("raw", "present", "marker", "uffd_wp"),
    [
        (PA | LEAF, True, False, False),
        (PA | LEAF | RDONLY | UFFD, True, False, True),
        (MARKER_WP, False, True, True),
        (MARKER_POISON, False, True, False),
        (HWPOISON, False, False, False),
        (HWPOISON | 1 << 3, False, False, True),
        (HWPOISON | 1 << 2, False, False, False),  # exclusive to its process
    ],
)
def test_what_an_entry_is(raw: int, present: bool, marker: bool, uffd_wp: bool, shift: int) -> None:
    made = tables()
    made.put(VA, leaf(shift, raw) if present else raw, shift, table=TABLE)
    (run,) = walked(made).runs
    assert (run.present, run.uffd_wp) == (present, uffd_wp)
    assert ARM64.is_marker(run.raw) == marker
    if present:
        assert run.frame == PA


def test_memory_without_access_keeps_its_frames() -> None:
    """PTE_PRESENT_INVALID: the valid bit is clear, and nG says that the rest means the same."""
    made = tables()
    for page in range(4):
        made.put(VA + page * KIB4, PA + page * KIB4 | LEAF | 2, table=TABLE)
    (run,) = walked(made).runs
    assert (run.present, run.entries, run.frame) == (True, 4, PA)


def test_the_offset_of_a_swap_entry() -> None:
    assert ARM64.swap_offset(HWPOISON) == 0x1234
    assert ARM64.swap_offset(MARKER_WP) == 1


def test_entries_are_counted_by_level_and_flag() -> None:
    made = tables()
    put(made, VA, PA, 21)
    flags = {
        1: USER | RDONLY,  # never accessed, read-only, executable
        2: LEAF | RDONLY,  # writable, and Linux knows that it is dirty
        3: (LEAF | RDONLY) & ~DIRTY,  # writable and clean
        4: LEAF & ~DIRTY,  # the CPU has cleared RDONLY: dirty
        5: LEAF & ~DIRTY & ~DBM,  # RDONLY is clear for no one to look at
        6: (LEAF | RDONLY | UFFD) & ~DBM,
    }
    for page, flag in flags.items():
        put(made, VA + MIB2 + page * KIB4, PA + MIB2 + page * KIB4, flags=flag)
    made.put(VA + MIB2 + 7 * KIB4, MARKER_WP, table=TABLE)
    made.put(VA + MIB2 + 8 * KIB4, HWPOISON, table=TABLE)
    pmd, pte = pagetable.count(walked(made).runs)
    assert pmd == LevelCount(
        level="pmd", present=1, writable=1, user=1, accessed=1, dirty=1, no_execute=1
    )
    assert (pte.present, pte.writable, pte.user, pte.accessed) == (6, 3, 6, 5)
    assert (pte.dirty, pte.no_execute, pte.uffd_wp, pte.markers, pte.swap) == (3, 5, 2, 1, 1)


@pytest.mark.parametrize(
    ("raw", "shift", "said"),
    [
        (PA | leaf(21), 39, "is invalid"),  # no block at that level without LPA2
        (TABLE | 1 << 60, 30, "takes write, user or exec away"),  # UXNTable
        (TABLE | 1 << 61, 30, "takes write, user or exec away"),  # APTable: no user access
        (TABLE | 2 << 61, 30, "takes write, user or exec away"),  # APTable: read-only
    ],
)
def test_an_odd_entry_of_an_upper_table_is_noted(raw: int, shift: int, said: str) -> None:
    made = tables()
    put(made, VA, PA)
    at = made.root if shift == 39 else struct.unpack_from("<Q", made.pages[made.root], 511 * 8)[0]
    entry = raw if shift == 39 else raw | made.new_table()
    struct.pack_into("<Q", made.pages[at & 0xFFFF_FFFF_F000], (VA >> shift & 511) * 8, entry)
    (line,) = walked(made).odd
    assert said in line


@pytest.mark.parametrize(("levels", "end"), [(3, 1 << 55), (4, 1 << 48), (5, 1 << 57)])
def test_nothing_is_mapped_beyond_the_top_table(levels: int, end: int) -> None:
    made = tables(levels)
    put(made, VA, PA, 16 if levels == 3 else 12)
    assert walked(made, end, GIB).runs == ()
    assert pagetable.translate(made.read, made.top, end) is None


def test_a_table_of_64_kib_begins_where_a_base_page_does() -> None:
    made = tables(3)
    put(made, VA, PA, 16)
    table = made.new_table()
    made.put(VA, table | 0xF000 | TABLE, 29)
    assert walked(made, VA, GIB).runs == ()


class Sets:
    """Two sets of entries with the contiguous bit."""

    def __init__(self, levels: int, shift: int) -> None:
        self.made, self.shift, self.size = tables(levels), shift, 1 << shift
        self.length = 32 if levels == 3 else 16
        for entry in range(2 * self.length):
            self.change(entry, PA + entry * self.size, LEAF | CONT)

    def change(self, entry: int, physical: int, flags: int) -> None:
        put(self.made, VA + entry * self.size, physical, self.shift, flags)

    def odd(self, first: int = 0, count: int = 0) -> tuple[str, ...]:
        length = (count or 2 * self.length) * self.size
        return walked(self.made, VA + first * self.size, length).odd


@pytest.fixture(params=[(4, 12), (4, 21), (3, 16)], ids=["64K", "32M", "2M of 64K"])
def sets(request: pytest.FixtureRequest) -> Sets:
    return Sets(*request.param)


def test_even_sets_are_counted(sets: Sets) -> None:
    (level,) = pagetable.count(walked(sets.made).runs)
    assert (level.present, level.contiguous) == (2 * sets.length, 2 * sets.length)
    assert sets.odd() == ()


def test_entries_of_a_set_may_differ_in_what_the_cpu_writes(sets: Sets) -> None:
    sets.change(5, PA + 5 * sets.size, LEAF & ~AF | CONT)
    sets.change(sets.length, PA + sets.length * sets.size, (LEAF | RDONLY) & ~DIRTY | CONT)
    assert sets.odd() == ()


def test_sets_may_differ_from_each_other(sets: Sets) -> None:
    for entry in range(sets.length, 2 * sets.length):
        sets.change(entry, PA + entry * sets.size, (LEAF | RDONLY | UFFD) & ~DBM | CONT)
    assert sets.odd() == ()


@pytest.mark.parametrize("place", [0, 0.4, 0.99, 1, 1.99])
@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        (USER, USER),
        (UXN, UXN),
        (PXN, PXN),
        (NG, NG),
        (1 << 8, 1 << 8),  # shareability
        (1 << 2, 1 << 2),  # the type of the memory
        (UFFD, UFFD),
        (DBM | RDONLY, DBM | RDONLY),  # read-only
        (DBM, DBM | RDONLY),  # RDONLY is clear, and for no CPU to set
    ],
)
def test_entries_of_a_set_have_the_same_permissions(
    sets: Sets, place: float, changed: int, differs: int
) -> None:
    entry = int(place * sets.length)
    sets.change(entry, PA + entry * sets.size, LEAF ^ changed | CONT)
    lines = sets.odd()
    assert lines
    assert all("differs from the one before it in its set" in line for line in lines)
    assert {int(line.rpartition(" ")[2], 0) for line in lines} <= {differs, differs & ~RDONLY}


def test_without_dbm_the_read_only_bit_is_a_permission(sets: Sets) -> None:
    for entry in range(sets.length):
        flags = LEAF & ~DBM | (RDONLY if entry % 2 else 0) | CONT
        sets.change(entry, PA + entry * sets.size, flags)
    assert all(line.endswith(f"by {RDONLY:#x}") for line in sets.odd())
    assert sets.odd()


def test_a_part_of_a_set_says_nothing_of_the_rest(sets: Sets) -> None:
    assert sets.odd(3, sets.length) == ()


@pytest.mark.parametrize("place", [0, 0.4, 0.99, 1, 1.99])
@pytest.mark.parametrize("wrong", ["frame", "bit", "absent"])
def test_an_uneven_set_is_odd(sets: Sets, place: float, wrong: str) -> None:
    entry = int(place * sets.length)
    frame = 80 if wrong == "frame" else entry
    flags = LEAF if wrong == "bit" else LEAF | CONT
    if wrong == "absent":
        sets.made.put(VA + entry * sets.size, 0, sets.shift, table=TABLE)
    else:
        sets.change(entry, PA + frame * sets.size, flags)
    assert any("is in an uneven set" in line for line in sets.odd())


def test_a_set_begins_with_an_aligned_frame(sets: Sets) -> None:
    for entry in range(2 * sets.length):
        sets.change(entry, PA + (entry + 1) * sets.size, LEAF | CONT)
    assert any("is in an uneven set" in line for line in sets.odd())
