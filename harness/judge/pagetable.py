# SPDX-License-Identifier: GPL-2.0-only
"""Walk x86-64 page tables in a guest's memory, independently of the kernel under test. Pure.

The caller hands in a function that reads a page of guest-physical memory, of a live guest or from
a file, so that a walk can be judged again. Our own, because drgn's helpers translate
addresses only: they return neither flags nor entries that are not present.

Sources: Intel SDM volume 3, 4.5 ("4-Level Paging and 5-Level Paging"); for software bits and
entries that are not present, ``arch/x86/include/asm/pgtable_types.h``, ``pgtable_64.h`` and
``include/linux/swapops.h`` of 6.12.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from harness.records.probe import LevelCount

#: Returns the 4096 bytes of guest memory at a physical address, which is a multiple of 4096.
ReadPage = Callable[[int], bytes]

PAGE = 4096

#: Names of the levels that can hold leaf entries, by their shift.
LEVELS: dict[int, str] = {30: "pud", 21: "pmd", 12: "pte"}

PRESENT = 1 << 0
WRITE = 1 << 1
USER = 1 << 2
ACCESSED = 1 << 5
DIRTY = 1 << 6
LARGE = 1 << 7
#: Bit 8 of an entry without PRESENT: mapped, but no access is allowed (PROT_NONE, NUMA hints).
PROTNONE = 1 << 8
UFFD_WP = 1 << 10
#: Dirty but not writable: Linux moves the bit here because of shadow stacks.
SAVED_DIRTY = 1 << 58
NO_EXECUTE = 1 << 63

#: The bit of UFFD_WP in a swap or migration entry.
SWAP_UFFD_WP = 1 << 2

_FRAME = 0x000F_FFFF_FFFF_F000
_CR4_LA57 = 1 << 12
_UPPER_LEVELS = {4: {39: "pgd"}, 5: {48: "pgd", 39: "p4d"}}

#: Swap type of Linux's PTE markers; the last of the 32 in every configuration.
_MARKER_TYPE = 31
_MARKER_UFFD_WP = 1 << 0

_TABLE = struct.Struct("<512Q")


class Run(NamedTuple):
    """Consecutive leaf entries with the same flags that map consecutive frames.

    Attributes:
        address: virtual address that the first entry maps.
        shift: 12, 21 or 30.
        entries: how many.
        raw: the first entry as it is in the table; never 0. Each further one is larger by `step`.
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
        """Return the first virtual address after the last entry."""
        return self.address + (self.entries << self.shift)

    @property
    def step(self) -> int:
        """Return the difference between an entry and the one before it."""
        return _step(self.raw, self.size)

    @property
    def present(self) -> bool:
        """Return whether the entries are present, as `is_present` defines it."""
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
    """The mappings of a range of virtual addresses.

    Attributes:
        start: first virtual address.
        end: first virtual address after it.
        runs: leaf entries in the order of their addresses; the rest of the range is not mapped.
        tables: how many tables of each level were read, by level: ``pud`` holds PUD entries.
        odd: entries that are invalid in a table, a line each.
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
    """Return what the kernel's ``pte_present()`` returns."""
    return bool(raw & (PRESENT | PROTNONE))


def is_marker(raw: int) -> bool:
    """Return whether an entry is a PTE marker, such as of write protection."""
    return not is_present(raw) and raw >> 59 == _MARKER_TYPE


def swap_offset(raw: int) -> int:
    """Return the offset of a swap entry, which x86-64 keeps inverted in bits 9 to 58."""
    return ~raw >> 9 & (1 << 50) - 1


def frame(raw: int, shift: int) -> int:
    """Return the physical address that a present leaf entry maps.

    A PROTNONE entry has its address inverted (a mitigation of L1TF).
    """
    return (raw if raw & PRESENT else ~raw) & _FRAME & -(1 << shift)


def walk(read: ReadPage, cr3: int, cr4: int, start: int, end: int) -> Walk:
    """Return the mappings of a range of user addresses.

    Args:
        read: reads guest-physical memory; its exceptions are passed on.
        cr3: of the vCPU; the low 12 bits and PCIDs do not matter.
        cr4: of the vCPU; says whether there are 4 or 5 levels.
        start: first virtual address, a multiple of 4096. Entries that reach beyond the range are
            returned whole.
        end: first virtual address after the range.
    """
    upper = _UPPER_LEVELS[levels(cr4)]
    walker = _Walker(read, {**upper, **LEVELS})
    walker.table(cr3 & _FRAME, max(upper), 0, start, end)
    return Walk(start, end, tuple(walker.runs), walker.tables, tuple(walker.odd))


def read_tables(read: ReadPage, cr3: int, cr4: int, start: int, end: int) -> None:
    """Read every table that `walk` would read, for a reader that keeps the pages."""
    upper = _UPPER_LEVELS[levels(cr4)]
    _Walker(read, {**upper, **LEVELS}, leaves=False).table(cr3 & _FRAME, max(upper), 0, start, end)


def translate(read: ReadPage, cr3: int, cr4: int, address: int) -> int | None:
    """Return the physical address of a virtual one; None where no present entry maps it."""
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
                self._note(
                    f"the table entry {entry:#x} for {address:#x} takes write, user or exec away"
                )
            self.table(entry & _FRAME, shift - 9, address, start, end)
        else:
            self._note(f"the table entry {entry:#x} for {address:#x} is invalid")

    def _add(self, run: Run) -> None:
        """Append a run, or extend the last one where it continues that."""
        if self.runs:
            last = self.runs[-1]
            adjacent = last.end == run.address and last.shift == run.shift
            if adjacent and run.raw == last.raw + last.entries * last.step:
                self.runs[-1] = last._replace(entries=last.entries + run.entries)
                return
        self.runs.append(run)

    def _note(self, line: str) -> None:
        if len(self.odd) < 8:  # a damaged table is full of them
            self.odd.append(line)


def _step(raw: int, size: int) -> int:
    """Return by how much an entry for the memory right after that of ``raw`` is greater."""
    if raw & PRESENT:
        return size
    return -size if raw & PROTNONE else 0  # inverted; a marker or nothing


def _runs(entries: Sequence[int], address: int, shift: int) -> Iterator[Run]:
    """Yield the runs in neighbouring leaf entries; a uniform table takes one comparison."""
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
    """Return the number of entries of each level and of each flag; largest level first."""
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
    """Return where a mapping of huge pages does not map their subpages in order.

    In each huge page's range of addresses, the entry at offset N must map byte N of a huge page,
    and all entries must map the same one.

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
    """Yield the first address of a run in each huge page that it covers."""
    yield run.address
    yield from range((run.address & -size) + size, run.end, size)
