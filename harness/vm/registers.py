# SPDX-License-Identifier: GPL-2.0-only
"""Parse ``info registers`` of QEMU's monitor. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from harness.arch import Arch

_CPU = re.compile(r"^CPU#(\d+)\s*$", re.MULTILINE)


class Registers(NamedTuple):
    """The registers of a vCPU that the harness uses.

    Attributes:
        pc: program counter.
        user: whether it is in user mode.
        halted: whether it waits for an interrupt, where QEMU shows that.
        root: physical address of the top page table of user space; None where it is not shown.
        levels: of these page tables; None where it is not shown, or is not known.
        link: the link register; 0 where the architecture has none.
    """

    pc: int
    user: bool
    halted: bool
    root: int | None
    levels: int | None
    link: int


def parse(text: str, guest: Arch) -> Registers | None:
    """Return the registers of one vCPU; None if the program counter is missing."""
    shown, tables = guest.registers, guest.page_tables
    pc = re.search(shown.pc, text)
    if pc is None:
        return None
    link = re.search(shown.link, text)
    root, level = (_value(name, text) for name in (tables.root, tables.levels_register))
    levels = tables.levels_by_value
    return Registers(
        pc=int(pc[1], 16),
        user=bool(re.search(shown.user, text)),
        halted=bool(re.search(shown.halted, text)),
        root=None if root is None else root & tables.root_mask,
        levels=None if level is None else levels.get(level & tables.levels_mask),
        link=int(link[1], 16) if link else 0,
    )


def _value(name: str, text: str) -> int | None:
    found = re.search(rf"\b{name}=([0-9a-f]+)\b", text)
    return int(found[1], 16) if found else None


def parse_all(text: str, guest: Arch) -> dict[int, Registers]:
    """Return the registers in ``info registers -a`` by number of the vCPU, without cut ones."""
    starts = list(_CPU.finditer(text))
    ends = [match.start() for match in starts[1:]] + [len(text)]
    found = {
        int(m[1]): parse(text[m.end() : end], guest) for m, end in zip(starts, ends, strict=True)
    }
    return {number: registers for number, registers in found.items() if registers is not None}


def of_readings(
    first: Mapping[int, Registers], later: Mapping[int, Registers]
) -> dict[int, Registers]:
    """Return each vCPU's registers: the later ones if it is in user mode there, else the first.

    A CPU that runs a program is in the kernel now and then, for a timer tick; one that hangs in the
    kernel is not in user mode again.
    """
    return {
        number: later[number] if number in later and later[number].user else registers
        for number, registers in first.items()
    }
