# SPDX-License-Identifier: GPL-2.0-only
"""x86-64 page tables as they lie in memory: from a table's bytes to what they map. Pure.

The kernel under test is not asked. Whoever calls says how a page of guest-physical memory is read:
a live guest's, or one that was kept on disk, so that a walk can be judged again.

Sources: Intel SDM volume 3, 4.5 ("4-Level Paging and 5-Level Paging"); for what Linux does with the
bits that are free, and with entries that are not present, ``arch/x86/include/asm/pgtable_types.h``,
``pgtable_64.h`` and ``include/linux/swapops.h`` of 6.12.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from harness.records.probe import LevelCount

#: Returns the 4096 bytes of guest memory at a physical address, which is a multiple of 4096.
ReadPage = Callable[[int], bytes]

#: What a leaf entry can map, by the bits of the address that it leaves alone.
Shift = Literal[12, 21, 30]

PAGE = 4096

#: Names of the levels that can hold leaf entries, by their shift.
LEVELS: dict[int, str] = {30: "pud", 21: "pmd", 12: "pte"}

PRESENT = 1 << 0
WRITE = 1 << 1
USER = 1 << 2
ACCESSED = 1 << 5
DIRTY = 1 << 6
LARGE = 1 << 7
#: Bit 8 of an entry that is not PRESENT: there, but no access is allowed (PROT_NONE, NUMA hints).
PROTNONE = 1 << 8
UFFD_WP = 1 << 10
#: Dirty without being writable: Linux moves it out of the way of shadow stacks.
SAVED_DIRTY = 1 << 58
NO_EXECUTE = 1 << 63

#: The same mark in an entry that is not present and holds a swap or migration entry.
SWAP_UFFD_WP = 1 << 2

_FRAME = 0x000F_FFFF_FFFF_F000
_CR4_LA57 = 1 << 12
_UPPER_LEVELS = {4: {39: "pgd"}, 5: {48: "pgd", 39: "p4d"}}

#: Type of a swap entry that is a marker of Linux; the last of the 32 in every configuration.
_MARKER_TYPE = 31
_MARKER_UFFD_WP = 1 << 0

_TABLE = struct.Struct("<512Q")


class Run(NamedTuple):
    """Leaf entries that follow each other and differ in nothing but the frame, which follows too.

    Attributes:
        address: virtual address that the first entry maps.
        shift: 12, 21 or 30.
        entries: how many.
        raw: the first of them, as it lies in the table; never 0. Each further one differs from the
            one before it by `step`.
    """

    address: int
    shift: int
    entries: int
    raw: int

    @property
    def size(self) -> int:
        """Return the bytes that one entry maps."""
        return 1 << self.shift

    @property
    def end(self) -> int:
        """Return the first virtual address behind the last entry."""
        return self.address + (self.entries << self.shift)

    @property
    def step(self) -> int:
        """Return what each entry is greater by than the one before it."""
        return _step(self.raw, self.size)

    @property
    def present(self) -> bool:
        """Return whether Linux takes the entries for present."""
        return is_present(self.raw)

    @property
    def uffd_wp(self) -> bool:
        """Return whether userfaultfd's write-protect mark is on the entries, present or not."""
        if self.present:
            return bool(self.raw & UFFD_WP)
        if is_marker(self.raw):
            return bool(swap_offset(self.raw) & _MARKER_UFFD_WP)
        return bool(self.raw & SWAP_UFFD_WP)

    @property
    def frame(self) -> int:
        """Return the physical address that the first entry maps."""
        return frame(self.raw, self.shift)


class Walk(NamedTuple):
    """What a range of virtual addresses is mapped to.

    Attributes:
        start: first virtual address.
        end: first virtual address behind it.
        runs: leaf entries in the order of their addresses; what no run covers is not mapped.
        tables: how many tables of each level were read, by level: ``pud`` holds PUD entries.
        odd: what no sound kernel leaves in its tables, a line each.
    """

    start: int
    end: int
    runs: tuple[Run, ...]
    tables: dict[str, int]
    odd: tuple[str, ...]


def levels(cr4: int) -> int:
    """Return how many levels of tables a vCPU with this CR4 walks: 4 or 5."""
    return 5 if cr4 & _CR4_LA57 else 4


def is_present(raw: int) -> bool:
    """Return what ``pte_present()`` would."""
    return bool(raw & (PRESENT | PROTNONE))


def is_marker(raw: int) -> bool:
    """Return whether an entry that is not present is a marker, such as of write protection."""
    return not is_present(raw) and raw >> 59 == _MARKER_TYPE


def swap_offset(raw: int) -> int:
    """Return the offset of a swap entry, which x86-64 keeps inverted in bits 9 to 58."""
    return ~raw >> 9 & (1 << 50) - 1


def frame(raw: int, shift: int) -> int:
    """Return the physical address that a present leaf entry maps.

    An entry that is PROTNONE has its address inverted, so that no CPU speculates on it.
    """
    return (raw if raw & PRESENT else ~raw) & _FRAME & -(1 << shift)


def walk(read: ReadPage, cr3: int, cr4: int, start: int, end: int) -> Walk:
    """Return what lies behind a range of user addresses.

    Args:
        read: reads guest-physical memory; what it raises goes through.
        cr3: of the vCPU; the low 12 bits and PCIDs do not matter.
        cr4: of the vCPU; tells 4 levels from 5.
        start: first virtual address, a multiple of 4096. An entry that begins before it, or ends
            behind ``end``, counts whole.
        end: first virtual address behind the range.
    """
    upper = _UPPER_LEVELS[levels(cr4)]
    walker = _Walker(read, {**upper, **LEVELS})
    walker.table(cr3 & _FRAME, max(upper), 0, start, end)
    return Walk(start, end, tuple(walker.runs), walker.tables, tuple(walker.odd))


def read_tables(read: ReadPage, cr3: int, cr4: int, start: int, end: int) -> None:
    """Read every table that `walk` would, and look at no leaf: for a reader that keeps them."""
    upper = _UPPER_LEVELS[levels(cr4)]
    _Walker(read, {**upper, **LEVELS}, leaves=False).table(cr3 & _FRAME, max(upper), 0, start, end)


def translate(read: ReadPage, cr3: int, cr4: int, address: int) -> int | None:
    """Return the physical address behind a virtual one; None where no present entry maps it."""
    page = address & -PAGE
    for run in walk(read, cr3, cr4, page, page + PAGE).runs:
        if run.present:
            return run.frame + (address - run.address)
    return None


class _Walker:
    """Collects the runs of a walk, depth first, so that their addresses ascend."""

    def __init__(self, read: ReadPage, names: dict[int, str], *, leaves: bool = True) -> None:
        self._read = read
        self._names = names
        self._leaves = leaves
        self.runs: list[Run] = []
        self.tables: dict[str, int] = {}
        self.odd: list[str] = []

    def table(self, physical: int, shift: int, base: int, start: int, end: int) -> None:
        """Read a table whose entries map ``1 << shift`` bytes each, from address ``base`` on."""
        name = self._names[shift]
        self.tables[name] = self.tables.get(name, 0) + 1
        first = max(start - base, 0) >> shift
        last = min((end - 1 - base) >> shift, 511)
        data = self._read(physical)
        if shift == 12 and not self._leaves:
            return
        entries = _TABLE.unpack(data)[first : last + 1]
        address = base + (first << shift)
        if shift == 12:
            for run in _runs(entries, address, shift):
                self._add(run)
            return
        for entry in entries:
            if entry:
                self._entry(entry, shift, address, start, end)
            address += 1 << shift

    def _entry(self, entry: int, shift: int, address: int, start: int, end: int) -> None:
        if shift in LEVELS and (entry & LARGE or not is_present(entry)):
            self._add(Run(address, shift, 1, entry))
        elif entry & PRESENT and not entry & LARGE:
            if not (entry & WRITE and entry & USER) or entry & NO_EXECUTE:
                self._note(f"the table entry {entry:#x} for {address:#x} takes rights away")
            self.table(entry & _FRAME, shift - 9, address, start, end)
        else:
            self._note(f"the table entry {entry:#x} for {address:#x} is no entry of a table")

    def _add(self, run: Run) -> None:
        """Append a run, as a part of the last one where it goes on just like that."""
        if self.runs:
            last = self.runs[-1]
            goes_on = last.end == run.address and last.shift == run.shift
            if goes_on and run.raw == last.raw + last.entries * last.step:
                self.runs[-1] = last._replace(entries=last.entries + run.entries)
                return
        self.runs.append(run)

    def _note(self, line: str) -> None:
        if len(self.odd) < 8:  # a damaged table is full of them
            self.odd.append(line)


def _step(raw: int, size: int) -> int:
    """Return what an entry is greater by if it maps the memory right behind that of ``raw``."""
    if raw & PRESENT:
        return size
    return -size if raw & PROTNONE else 0  # inverted; a marker or nothing


def _runs(entries: Sequence[int], address: int, shift: int) -> Iterator[Run]:
    """Yield the runs among neighbouring leaf entries; a whole uniform table in one comparison."""
    size, count, first = 1 << shift, len(entries), entries[0]
    step = _step(first, size)
    if entries == (tuple(range(first, first + count * step, step)) if step else (first,) * count):
        if first:
            yield Run(address, shift, count, first)
        return
    begun, expected = 0, first
    for index, raw in enumerate(entries):
        if raw != expected:
            if entries[begun]:
                yield Run(address + begun * size, shift, index - begun, entries[begun])
            begun = index
        expected = raw + _step(raw, size)
    if entries[begun]:
        yield Run(address + begun * size, shift, count - begun, entries[begun])


def count(runs: Sequence[Run]) -> tuple[LevelCount, ...]:
    """Return how many entries of each level there are, with which flags; largest level first."""
    kinds: dict[tuple[int, int], int] = {}
    for _, shift, entries, raw in runs:  # a range can have a quarter of a million of them
        kind = (shift, raw & ~_FRAME if is_present(raw) else raw)
        kinds[kind] = kinds.get(kind, 0) + entries
    of_level: dict[int, list[Run]] = {}
    for (shift, raw), entries in kinds.items():
        of_level.setdefault(shift, []).append(Run(0, shift, entries, raw))
    return tuple(
        _count_level(name, of_level[shift]) for shift, name in LEVELS.items() if shift in of_level
    )


def _count_level(name: str, kinds: Sequence[Run]) -> LevelCount:
    here = [kind for kind in kinds if kind.present]
    away = [kind for kind in kinds if not kind.present]

    def having(bits: int) -> int:
        return _total([kind for kind in here if kind.raw & bits])

    return LevelCount(
        level=name,
        present=_total(here),
        writable=having(WRITE),
        user=having(USER),
        accessed=having(ACCESSED),
        dirty=having(DIRTY | SAVED_DIRTY),
        no_execute=having(NO_EXECUTE),
        uffd_wp=_total([kind for kind in kinds if kind.uffd_wp]),
        markers=_total([kind for kind in away if is_marker(kind.raw)]),
        swap=_total([kind for kind in away if not is_marker(kind.raw)]),
    )


def _total(kinds: Sequence[Run]) -> int:
    return sum(kind.entries for kind in kinds)


def wrong_frames(runs: Sequence[Run], start: int, size: int, pages: int) -> tuple[str, ...]:
    """Return where a mapping of huge pages does not show its huge pages' own subpages, in order.

    In every huge page's worth of addresses, an entry at offset N must map byte N of one huge page,
    and all entries the same one's.

    Args:
        runs: of a walk.
        start: address of the first huge page, a multiple of ``size``.
        size: bytes of a huge page.
        pages: how many of them.

    Returns:
        A line for the first entry that is wrong of each huge page.
    """
    heads: dict[int, int] = {}
    wrong: dict[int, str] = {}
    for run in runs:
        if not run.present:
            continue
        for address in _pieces(run, size):
            huge = address & -size
            shown = run.frame + (address - run.address)
            expected = heads.setdefault(huge, shown & -size) + address - huge
            if shown != expected and huge not in wrong:
                wrong[huge] = (
                    f"{address:#x} (page {(address - huge) // PAGE} of its huge page) maps "
                    f"{shown:#x}, expected {expected:#x}"
                )
    inside = range(start, start + pages * size, size)
    return tuple(line for huge, line in sorted(wrong.items()) if huge in inside)


def _pieces(run: Run, size: int) -> Iterator[int]:
    """Yield where a run begins, and where it goes on in each further huge page."""
    yield run.address
    yield from range((run.address & -size) + size, run.end, size)
