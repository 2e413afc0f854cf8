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
        levels: 4 or 5.
        arch: whose.
    """

    def __init__(self, levels: int = 4, arch: str = "x86_64") -> None:
        self.pages: dict[int, bytearray] = {}
        self.levels = levels
        self.decoder = decoder(arch)
        self._next = 0x10_0000
        self.root = self._new_page()

    @property
    def top(self) -> Top:
        """Return where they begin."""
        return Top(self.decoder, self.root, self.levels)

    def _new_page(self) -> int:
        address = self._next
        self._next += 4096
        self.pages[address] = bytearray(4096)
        return address

    def put(self, address: int, raw: int, shift: int = 12, *, table: int = TABLE) -> None:
        """Put an entry where it maps ``address``, with the tables that lead there."""
        at = self.root
        for level in range(12 + 9 * (self.levels - 1), shift, -9):
            offset = (address >> level & 511) * 8
            (entry,) = struct.unpack_from("<Q", self.pages[at], offset)
            if not entry:
                entry = self._new_page() | table
                struct.pack_into("<Q", self.pages[at], offset, entry)
            at = entry & 0x000F_FFFF_FFFF_F000
        struct.pack_into("<Q", self.pages[at], (address >> shift & 511) * 8, raw)

    def map(self, address: int, physical: int, shift: int = 12, flags: int = LEAF) -> None:
        """Map memory by one entry."""
        self.put(address, physical | flags | (LARGE if shift > 12 else 0), shift)

    def fill(self, physical: int, data: bytes) -> None:
        """Put bytes at the beginning of a page of memory."""
        self.pages[physical] = bytearray(data.ljust(4096, b"\0"))

    def read(self, physical: int) -> bytes:
        """Return a page, as `harness.judge.pagetable.ReadPage` wants it."""
        return bytes(self.pages[physical])
