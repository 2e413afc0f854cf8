# SPDX-License-Identifier: GPL-2.0-only
"""Parse ``info registers`` of QEMU's monitor for x86-64. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

_CPU = re.compile(r"^CPU#(\d+)\s*$", re.MULTILINE)
_FIELDS = {
    name: re.compile(rf"\b{name}=([0-9a-f]+)\b") for name in ("RIP", "CPL", "HLT", "CR3", "CR4")
}
_LA57 = 1 << 12


class Registers(NamedTuple):
    """The registers of a vCPU that the harness uses.

    Attributes:
        rip: program counter.
        cpl: 3 in user mode, 0 in the kernel.
        halted: whether it waits for an interrupt.
        cr3: physical address of the top page table, with flags in its low 12 bits.
        cr4: bit 12 is set for five levels of page tables, clear for four.
    """

    rip: int
    cpl: int
    halted: bool
    cr3: int
    cr4: int

    @property
    def five_levels(self) -> bool:
        """Return whether page tables have five levels."""
        return bool(self.cr4 & _LA57)


def parse(text: str) -> Registers | None:
    """Return the registers of one vCPU; None if any is missing."""
    found = [pattern.search(text) for pattern in _FIELDS.values()]
    if None in found:
        return None
    rip, cpl, halted, cr3, cr4 = (int(match[1], 16) for match in found if match)
    return Registers(rip, cpl, bool(halted), cr3, cr4)


def parse_all(text: str) -> dict[int, Registers]:
    """Return the registers in ``info registers -a`` by number of the vCPU, without cut ones."""
    starts = list(_CPU.finditer(text))
    ends = [match.start() for match in starts[1:]] + [len(text)]
    found = {int(m[1]): parse(text[m.end() : end]) for m, end in zip(starts, ends, strict=True)}
    return {number: registers for number, registers in found.items() if registers is not None}
