# SPDX-License-Identifier: GPL-2.0-only
"""The facts of each guest architecture, read from ``arches.toml``."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from harness.errors import SpecError
from harness.records.base import Record


class Arch(Record, frozen=True, kw_only=True):
    """One guest architecture.

    Attributes:
        qemu: the emulator's program name.
        machine: QEMU's machine type.
        cpu_tcg: the CPU model under TCG.
        cpu_kvm: CPU models under KVM, in the order they are tried.
        console: the kernel's name of the first serial port.
        early_console: the kernel parameter for output before the console driver.
        append: further kernel parameters.
        hugepage_sizes: bytes of one page, by the size's name on the kernel's command line.
        memory_overhead: bytes of memory that each node needs beyond its huge pages.
    """

    qemu: str
    machine: str
    cpu_tcg: str
    cpu_kvm: tuple[str, ...]
    console: str
    early_console: str
    append: tuple[str, ...]
    hugepage_sizes: dict[str, int]
    memory_overhead: int


@cache
def arch(name: str) -> Arch:
    """Return the architecture of that ``uname -m`` name.

    Raises:
        SpecError: if there is none.
    """
    text = Path(__file__).with_name("arches.toml").read_bytes()
    arches = msgspec.toml.decode(text, type=dict[str, Arch])
    try:
        return arches[name]
    except KeyError:
        raise SpecError(
            f"there is no guest architecture {name!r}", hint=f"one of {', '.join(arches)}"
        ) from None
