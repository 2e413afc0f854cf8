# SPDX-License-Identifier: GPL-2.0-only
"""Walk page tables in a guest's memory, independently of the kernel under test. Pure.

The caller hands in a function that reads a page of guest-physical memory, of a live guest or from
a file, so that a walk can be judged again. Our own, because drgn's helpers translate
addresses only: they return neither flags nor entries that are not present.

What an entry's bits mean, and which levels there are, is in ``harness/arches.toml``, with its
sources. What all architectures share is here: tables that fill a base page with entries of 8 bytes,
and Linux's PTE markers (``include/linux/swapops.h`` of 6.12).
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from harness.arch import Bits, PageTables, arch
from harness.records.probe import LevelCount

#: Returns the 4096 bytes of guest memory at a physical address, which is a multiple of 4096.
ReadPage = Callable[[int], bytes]

PAGE = 4096

#: Linux's names of the levels that can hold leaf entries, the largest first.
LEAF_LEVELS = ("pud", "pmd", "pte")

#: Linux's type of PTE markers in a swap entry; the last of the 32 in every configuration.
_MARKER_TYPE = 31
_MARKER_UFFD_WP = 1 << 0

_ENTRY_BYTES = 8


def _mask(bits: Iterable[int]) -> int:
    return sum(1 << bit for bit in bits)


@dataclass(frozen=True)
class _Test:
    """The bits of an entry that a `Bits` looks at, and the value that they have."""

    mask: int
    value: int

    @classmethod
    def of(cls, bits: Bits) -> _Test:
        value = _mask(bits.set)
        return cls(value | _mask(bits.clear), value)

    def __call__(self, raw: int) -> bool:
        return raw & self.mask == self.value


class Decoder:
    """What the bits of an architecture's entries mean.

    Args:
        tables: the facts.

    Attributes:
        names: of the levels, as `PageTables.names`.
        leaves: those of the levels that can hold leaf entries, by their shift, the largest first.
    """

    def __init__(self, tables: PageTables) -> None:
        self.names = tables.names
        shifts = {shift: name for names in tables.names.values() for shift, name in names.items()}
        self.leaves = {
            at: shifts[at] for at in sorted(shifts, reverse=True) if shifts[at] in LEAF_LEVELS
        }
        self.contiguous_entries = tables.contiguous_entries
        self._differ = [(1 << b, _mask(only)) for b, only in tables.contiguous_differ.items()]
        self.frame_mask = tables.frame_mask
        self.is_table = _Test.of(tables.table)
        self.is_leaf = _Test.of(tables.leaf)
        self.grants = _Test.of(tables.table_grants)
        self.writable = _Test.of(tables.writable)
        self.user = _Test.of(tables.user)
        self.accessed = _Test.of(tables.accessed)
        self.no_execute = _Test.of(tables.no_execute)
        self.contiguous = 1 << tables.contiguous if tables.contiguous >= 0 else 0
        self._dirty = tuple(map(_Test.of, tables.dirty))
        self._valid = 1 << tables.valid
        self._present = _mask(tables.present)
        self._inverted = tables.inverted
        self._uffd_wp = 1 << tables.uffd_wp
        self._swap_uffd_wp = 1 << tables.swap_uffd_wp
        self._swap_type, self._swap_offset = tables.swap_type, tables.swap_offset

    def is_present(self, raw: int) -> bool:
        """Return what the kernel's ``pte_present()`` returns."""
        return bool(raw & self._present)

    def is_marker(self, raw: int) -> bool:
        """Return whether an entry is a PTE marker, such as of write protection."""
        return not self.is_present(raw) and raw >> self._swap_type & 31 == _MARKER_TYPE

    def swap_offset(self, raw: int) -> int:
        """Return the offset of a swap entry."""
        return (~raw if self._inverted else raw) >> self._swap_offset & (1 << 50) - 1

    def dirty(self, raw: int) -> bool:
        """Return whether a present leaf entry says that its memory was written to."""
        return any(test(raw) for test in self._dirty)

    def uffd_wp(self, raw: int) -> bool:
        """Return whether userfaultfd's write-protect mark is on an entry, present or not."""
        if self.is_present(raw):
            return bool(raw & self._uffd_wp)
        if self.is_marker(raw):
            return bool(self.swap_offset(raw) & _MARKER_UFFD_WP)
        return bool(raw & self._swap_uffd_wp)

    def frame(self, raw: int, shift: int) -> int:
        """Return the physical address that a present leaf entry maps."""
        inverted = self._inverted and not raw & self._valid
        return (~raw if inverted else raw) & self.frame_mask & -(1 << shift)

    def common(self, raw: int) -> int:
        """Return the bits of a present entry that all of a set of contiguous ones must share."""
        free = sum(bit for bit, only in self._differ if raw & only == only)
        return raw & ~self.frame_mask & ~free

    def step(self, raw: int, size: int) -> int:
        """Return by how much an entry for the memory right after that of ``raw`` is greater."""
        if not self.is_present(raw):
            return 0  # a marker or nothing
        return -size if self._inverted and not raw & self._valid else size


@functools.cache
def decoder(name: str) -> Decoder:
    """Return the decoder of an architecture, by what ``uname -m`` prints."""
    return Decoder(arch(name).page_tables)


class Top(NamedTuple):
    """Where the page tables of a process begin.

    Attributes:
        decoder: what their entries mean.
        root: physical address of the top table; it need not begin a page.
        levels: how many, one of the `Decoder`'s.
    """

    decoder: Decoder
    root: int
    levels: int

    @property
    def names(self) -> dict[int, str]:
        """Return the names of the levels by their shift, the top first."""
        return self.decoder.names[self.levels]

    @property
    def page(self) -> int:
        """Return the bytes of a base page."""
        return 1 << min(self.names)


class Run(NamedTuple):
    """Consecutive leaf entries with the same flags that map consecutive frames.

    Attributes:
        address: virtual address that the first entry maps.
        shift: of the bytes that an entry maps; one of `Decoder.leaves`.
        entries: how many.
        raw: the first entry as it is in the table; never 0. Each further one is larger by `step`.
        decoder: what its bits mean.
    """

    address: int
    shift: int
    entries: int
    raw: int
    decoder: Decoder

    @property
    def size(self) -> int:
        """Return the bytes that one entry maps."""
        return 1 << self.shift

    @property
    def level(self) -> str:
        """Return the name of the level, one of `LEAF_LEVELS`."""
        return self.decoder.leaves[self.shift]

    @property
    def end(self) -> int:
        """Return the first virtual address after the last entry."""
        return self.address + (self.entries << self.shift)

    @property
    def step(self) -> int:
        """Return the difference between an entry and the one before it."""
        return self.decoder.step(self.raw, self.size)

    @property
    def present(self) -> bool:
        """Return whether the entries are present, as `Decoder.is_present` defines it."""
        return self.decoder.is_present(self.raw)

    @property
    def uffd_wp(self) -> bool:
        """Return whether userfaultfd's write-protect mark is on the entries, present or not."""
        return self.decoder.uffd_wp(self.raw)

    @property
    def frame(self) -> int:
        """Return the physical address that the first entry maps."""
        return self.decoder.frame(self.raw, self.shift)


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


def walk(read: ReadPage, top: Top, start: int, end: int) -> Walk:
    """Return the mappings of a range of user addresses.

    Args:
        read: reads guest-physical memory; its exceptions are passed on.
        top: where the tables begin.
        start: first virtual address, a multiple of 4096. Entries that reach beyond the range are
            returned whole.
        end: first virtual address after the range.
    """
    walker = _Walker(read, top)
    walker.table(top.root, max(top.names), 0, start, end)
    walker.check_contiguous(start, end)
    return Walk(start, end, tuple(walker.runs), walker.tables, tuple(walker.odd))


def read_tables(read: ReadPage, top: Top, start: int, end: int) -> None:
    """Read every table that `walk` would read, for a reader that keeps the pages."""
    _Walker(read, top, leaves=False).table(top.root, max(top.names), 0, start, end)


def translate(read: ReadPage, top: Top, address: int) -> int | None:
    """Return the physical address of a virtual one; None where no present entry maps it."""
    page = address & -PAGE
    for run in walk(read, top, page, page + PAGE).runs:
        if run.present:
            return run.frame + (address - run.address)
    return None


class _Walker:
    """Collects the runs of a walk, depth first, so that their addresses ascend."""

    def __init__(self, read: ReadPage, top: Top, *, leaves: bool = True) -> None:
        self._read = read
        self._decoder = top.decoder
        self._names = top.names
        self._base = min(top.names)
        self._leaves = leaves
        self.runs: list[Run] = []
        self.tables: dict[str, int] = {}
        self.odd: list[str] = []

    def table(self, physical: int, shift: int, base: int, start: int, end: int) -> None:
        """Read a table whose entries map ``1 << shift`` bytes each, from address ``base`` on."""
        name = self._names[shift]
        self.tables[name] = self.tables.get(name, 0) + 1
        first = max(start - base, 0) >> shift
        last = (end - 1 - base) >> shift
        entries = self._entries(physical, first, last)
        if not entries or (shift == self._base and not self._leaves):
            return
        address = base + (first << shift)
        if shift == self._base:
            for run in _runs(self._decoder, entries, address, shift):
                self._add(run)
            return
        for entry in entries:
            if entry:
                self._entry(entry, shift, address, start, end)
            address += 1 << shift

    def _entries(self, physical: int, first: int, last: int) -> tuple[int, ...]:
        """Return a table's entries from one to another, or to its end; none if that is before."""
        begin = physical + first * _ENTRY_BYTES
        end = min(physical + (last + 1) * _ENTRY_BYTES, (physical | (1 << self._base) - 1) + 1)
        if end <= begin:
            return ()
        data = b"".join(self._read(page) for page in range(begin & -PAGE, end, PAGE))
        return struct.unpack_from(f"<{(end - begin) // _ENTRY_BYTES}Q", data, begin % PAGE)

    def _entry(self, entry: int, shift: int, address: int, start: int, end: int) -> None:
        decoder = self._decoder
        present = decoder.is_present(entry)
        if shift in decoder.leaves and (decoder.is_leaf(entry) or not present):
            self._add(Run(address, shift, 1, entry, decoder))
        elif decoder.is_table(entry):
            if not decoder.grants(entry):
                self._note(
                    f"the table entry {entry:#x} for {address:#x} takes write, user or exec away"
                )
            below = shift - (self._base - 3)  # a table has 1 << _base bytes, an entry 1 << 3
            table = entry & decoder.frame_mask & -(1 << self._base)
            self.table(table, below, address, start, end)
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

    def check_contiguous(self, start: int, end: int) -> None:
        """Note sets inside a range whose entries the CPU may take for one another, and must not.

        Where one of them says so, all must, and they must map consecutive frames from an aligned
        one on, with the same permissions (Arm ARM, "The Contiguous bit").
        """
        common = self._decoder.common
        runs = [run for run in self.runs if run.present and run.raw & self._decoder.contiguous]
        ends = {(run.end, run.frame + run.end - run.address): common(run.raw) for run in runs}
        starts = {(run.address, run.frame) for run in runs}
        for run in runs:
            span = run.size * self._decoder.contiguous_entries[self._base]
            last = run.end, run.frame + run.end - run.address
            before = run.address % span and run.address & -span >= start
            after = run.end % span and (run.end | span - 1) < end
            entry = f"the contiguous entry {run.raw:#x} for {run.address:#x}"
            neighbour = ends.get((run.address, run.frame))
            if (
                (run.frame - run.address) % span
                or (before and neighbour is None)
                or (after and last not in starts)
            ):
                self._note(f"{entry} is in an uneven set")
            elif before and neighbour is not None and neighbour != common(run.raw):
                self._note(
                    f"{entry} differs from the one before it in its set "
                    f"by {neighbour ^ common(run.raw):#x}"
                )

    def _note(self, line: str) -> None:
        if len(self.odd) < 8:  # a damaged table is full of them
            self.odd.append(line)


def _runs(decoder: Decoder, entries: Sequence[int], address: int, shift: int) -> Iterator[Run]:
    """Yield the runs in neighbouring leaf entries; a uniform table takes one comparison."""
    size, count, first = 1 << shift, len(entries), entries[0]
    step = decoder.step(first, size)
    if entries == (tuple(range(first, first + count * step, step)) if step else (first,) * count):
        if first:
            yield Run(address, shift, count, first, decoder)
        return
    begun, expected = 0, first
    for index, raw in enumerate(entries):
        if raw != expected:
            if entries[begun]:
                length = index - begun
                yield Run(address + begun * size, shift, length, entries[begun], decoder)
            begun = index
        expected = raw + decoder.step(raw, size)
    if entries[begun]:
        yield Run(address + begun * size, shift, count - begun, entries[begun], decoder)


def count(runs: Sequence[Run]) -> tuple[LevelCount, ...]:
    """Return the number of entries of each level and of each flag; largest level first."""
    if not runs:
        return ()
    decoder, kinds = runs[0].decoder, dict[tuple[int, int], int]()
    present, flags = decoder.is_present, ~decoder.frame_mask
    for _, shift, entries, raw, _ in runs:  # a range can have a quarter of a million of them
        kind = (shift, raw & flags if present(raw) else raw)
        kinds[kind] = kinds.get(kind, 0) + entries
    of_level: dict[int, list[Run]] = {}
    for (shift, raw), entries in kinds.items():
        of_level.setdefault(shift, []).append(Run(0, shift, entries, raw, decoder))
    return tuple(
        _count_level(name, decoder, of_level[shift])
        for shift, name in decoder.leaves.items()
        if shift in of_level
    )


def _count_level(name: str, decoder: Decoder, kinds: Sequence[Run]) -> LevelCount:
    here = [kind for kind in kinds if kind.present]
    away = [kind for kind in kinds if not kind.present]

    def having(test: Callable[[int], bool]) -> int:
        return _total([kind for kind in here if test(kind.raw)])

    return LevelCount(
        level=name,
        present=_total(here),
        writable=having(decoder.writable),
        user=having(decoder.user),
        accessed=having(decoder.accessed),
        dirty=having(decoder.dirty),
        no_execute=having(decoder.no_execute),
        uffd_wp=_total([kind for kind in kinds if kind.uffd_wp]),
        markers=_total([kind for kind in away if decoder.is_marker(kind.raw)]),
        contiguous=having(lambda raw: bool(raw & decoder.contiguous)),
        swap=_total([kind for kind in away if not decoder.is_marker(kind.raw)]),
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
