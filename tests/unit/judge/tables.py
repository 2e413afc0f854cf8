# SPDX-License-Identifier: GPL-2.0-only
"""Page tables made by hand: the inverse of what `harness.judge.pagetable` reads."""

from __future__ import annotations

import struct

from harness.judge.pagetable import Run, Top, decoder

X86 = decoder("x86_64")

PRESENT = 1 << 0
WRITE = 1 << 1
USER = 1 << 2
LARGE = 1 << 7
PROTNONE = 1 << 8
UFFD_WP = 1 << 10
NO_EXECUTE = 1 << 63

#: What Linux puts into entries that lead to a table.
TABLE = PRESENT | WRITE | USER
#: Present, writable, user, accessed, dirty, no execute.
LEAF = PRESENT | WRITE | USER | 0x60 | 1 << 63


def x86_run(address: int, shift: int, entries: int, raw: int) -> Run:
    """Return a run of entries of x86-64."""
    return Run(address, shift, entries, raw, X86)


class Tables:
    """Guest memory that holds the tables of one process.

    Args:
        levels: 4 or 5; or 3, of base pages of 64 KiB.
        arch: whose.
    """

    def __init__(self, levels: int = 4, arch: str = "x86_64") -> None:
        self.pages: dict[int, bytearray] = {}
        self.levels = levels
        self.decoder = decoder(arch)
        self.page = 0x1_0000 if levels == 3 else 0x1000
        self._entries = self.page // 8
        self._next = 0x10_0000
        self.root = self.new_table()

    @property
    def top(self) -> Top:
        """Return where they begin."""
        return Top(self.decoder, self.root, self.levels)

    def new_table(self) -> int:
        """Return the physical address of an empty table."""
        table = self._next
        self._next += self.page
        self.pages |= {at: bytearray(4096) for at in range(table, self._next, 4096)}
        return table

    def _place(self, table: int, address: int, shift: int) -> tuple[bytearray, int]:
        """Return where a table has the entry for an address: its page, and the offset there."""
        at = table + (address >> shift) % self._entries * 8
        return self.pages[at & -4096], at % 4096

    def put(self, address: int, raw: int, shift: int = 12, *, table: int = TABLE) -> None:
        """Put an entry where it maps ``address``, with the tables that lead there."""
        at = self.root
        levels = {3: (42, 29, 16), 4: (39, 30, 21, 12), 5: (48, 39, 30, 21, 12)}[self.levels]
        for level in (each for each in levels if each > shift):
            page, offset = self._place(at, address, level)
            (entry,) = struct.unpack_from("<Q", page, offset)
            if not entry:
                entry = self.new_table() | table
                struct.pack_into("<Q", page, offset, entry)
            at = entry & 0x000F_FFFF_FFFF_F000
        page, offset = self._place(at, address, shift)
        struct.pack_into("<Q", page, offset, raw)

    def map(self, address: int, physical: int, shift: int = 12, flags: int = LEAF) -> None:
        """Map memory by one entry."""
        self.put(address, physical | flags | (LARGE if shift > 12 else 0), shift)

    def fill(self, physical: int, data: bytes) -> None:
        """Put bytes at the beginning of a page of memory."""
        self.pages[physical] = bytearray(data.ljust(4096, b"\0"))

    def read(self, physical: int) -> bytes:
        """Return a page, as `harness.judge.pagetable.ReadPage` wants it."""
        return bytes(self.pages[physical])
