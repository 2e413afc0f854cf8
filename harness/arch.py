# SPDX-License-Identifier: GPL-2.0-only
"""The facts of each guest architecture, read from ``arches.toml``."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import msgspec

from harness.errors import SpecError
from harness.records.base import Record


class Arch(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One guest architecture.

    Attributes:
        kernel: the kernel's name of it, as ``ARCH=`` takes it.
        directory: its directory below the kernel's ``arch``.
        image: make's target for what QEMU boots, which lies below ``boot`` in that directory.
        image_magic_at: where that file has `image_magic`, in bytes.
        image_magic: what tells such a file from others.
        debian: Debian's name of it.
        triplet: the GNU triplet of its compiler and of its libraries' directory.
        linker: path of its dynamic linker in Debian's packages.
        qemu: the emulator's program name.
        machine: QEMU's machine type.
        cpu_tcg: the CPU model under TCG.
        cpu_kvm: CPU models under KVM, in the order they are tried.
        console: the kernel's name of the first serial port.
        early_console: the kernel parameter for output before the console driver.
        append: further kernel parameters.
        hugepage_sizes: bytes of one page, by the size's name on the kernel's command line.
        memory_overhead: bytes of memory that each node needs beyond its huge pages.
        name: the name of its table in ``arches.toml``: what ``uname -m`` prints.
    """

    kernel: str
    directory: str
    image: str
    image_magic_at: int
    image_magic: str
    debian: str
    triplet: str
    linker: str
    qemu: str
    machine: str
    cpu_tcg: str
    cpu_kvm: tuple[str, ...]
    console: str
    early_console: str
    append: tuple[str, ...]
    hugepage_sizes: dict[str, int]
    memory_overhead: int
    name: str = ""

    @property
    def is_hosts(self) -> bool:
        """Return whether programs for it run on this host."""
        return self.name == platform.machine()

    @property
    def cross(self) -> str:
        """Return the prefix of the compiler's and the linker's names on this host."""
        return "" if self.is_hosts else f"{self.triplet}-"

    @property
    def libraries(self) -> str:
        """Return the directory of its libraries in Debian's packages."""
        return f"usr/lib/{self.triplet}"


@cache
def arches() -> dict[str, Arch]:
    """Return every architecture, by what ``uname -m`` prints."""
    text = Path(__file__).with_name("arches.toml").read_bytes()
    tables = msgspec.toml.decode(text, type=dict[str, Arch])
    return {name: msgspec.structs.replace(table, name=name) for name, table in tables.items()}


def arch(name: str) -> Arch:
    """Return the architecture that ``uname -m``, the kernel or Debian calls so.

    Raises:
        SpecError: if there is none.
    """
    for each in arches().values():
        if name in (each.name, each.kernel, each.debian):
            return each
    raise SpecError(
        f"there is no guest architecture {name!r}",
        hint=f"one of {', '.join(each.kernel for each in arches().values())}",
    )


def host_arch() -> Arch:
    """Return this host's architecture.

    Raises:
        SpecError: if no guest can have it.
    """
    return arch(platform.machine())
