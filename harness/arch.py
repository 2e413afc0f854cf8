# SPDX-License-Identifier: GPL-2.0-only
"""The facts of each guest architecture, read from ``arches.toml``."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import msgspec

from harness.errors import SpecError
from harness.records.base import Record

#: Bytes of a base page, unless a kernel's configuration says otherwise.
USUAL_PAGE = 4096


class Bits(Record, frozen=True, forbid_unknown_fields=True):
    """A condition on an entry of a page table.

    Attributes:
        set: numbers of the bits that are 1.
        clear: numbers of the bits that are 0.
    """

    set: tuple[int, ...] = ()
    clear: tuple[int, ...] = ()


class PageTables(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """The page tables of an architecture; each table fills a base page, or is the top one.

    Attributes:
        root: the register with the physical address of the top table.
        root_bits: first and last bit of that address.
        levels_register: the register that tells how many levels there are.
        levels_mask: the bits of it that do.
        levels: the number of levels, by the value of these bits.
        names: of the levels as Linux has them, by the number of levels and then by how many bits
            an entry's memory has: 12 for 4 KiB. The least says what a base page is.
        frame_bits: first and last bit of the physical address in an entry.
        valid: the bit that the CPU looks at first.
        present: bits of which an entry has one or more if ``pte_present()`` is true of it.
        inverted: whether Linux inverts the address in a present entry that is not valid, and the
            offset in a swap entry, against L1TF.
        table: an entry that leads to another table.
        leaf: a present entry above the last level that maps memory.
        table_grants: an entry of a table that takes away nothing of what a leaf permits.
        writable: a leaf that can be written to.
        user: a leaf that user mode can access.
        accessed: a leaf that was used.
        dirty: a leaf that was written to, for any of these.
        no_execute: a leaf from which user mode can execute nothing.
        uffd_wp: the bit with userfaultfd's mark in a present entry.
        contiguous: the bit of one of several entries that the CPU may cache as one; -1 for none.
        contiguous_entries: how many such entries are one, by the bits of a base page.
        contiguous_differ: bits that may differ between these, each with the bits that must be set
            for it.
        swap_uffd_wp: the bit with userfaultfd's mark in a swap entry.
        swap_type: first bit of the type in a swap entry, of 5 bits.
        swap_offset: first bit of the offset in a swap entry, of 50 bits.
    """

    root: str
    root_bits: tuple[int, int]
    levels_register: str
    levels_mask: int
    levels: dict[str, int]
    names: dict[int, dict[int, str]]
    frame_bits: tuple[int, int]
    valid: int
    present: tuple[int, ...]
    inverted: bool
    table: Bits
    leaf: Bits
    table_grants: Bits
    writable: Bits
    user: Bits
    accessed: Bits
    dirty: tuple[Bits, ...]
    no_execute: Bits
    uffd_wp: int
    contiguous: int
    contiguous_entries: dict[int, int]
    contiguous_differ: dict[int, tuple[int, ...]]
    swap_uffd_wp: int
    swap_type: int
    swap_offset: int

    @property
    def root_mask(self) -> int:
        """Return the bits of `root` that are the address."""
        return _mask(self.root_bits)

    @property
    def levels_by_value(self) -> dict[int, int]:
        """Return `levels` with numbers as keys, which TOML does not have."""
        return {int(value, 0): count for value, count in self.levels.items()}

    def base_page(self, levels: int) -> int:
        """Return the bytes of a base page where there are so many levels."""
        return 1 << min(self.names[levels])

    @property
    def frame_mask(self) -> int:
        """Return the bits of an entry that are the address."""
        return _mask(self.frame_bits)


def _mask(bits: tuple[int, int]) -> int:
    first, last = bits
    return (1 << last + 1) - (1 << first)


class ShownRegisters(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """How QEMU shows the registers of a vCPU, and how the kernel prints those of a CPU.

    Attributes:
        pc: regular expression of the program counter in ``info registers``, with a group.
        link: the same of the link register.
        user: what is there if the vCPU is in user mode, as a regular expression.
        halted: what is there if it waits for an interrupt, as a regular expression.
        by_gdb: registers that only QEMU's gdb server shows, by the file of its target description
            that numbers them.
        printed_pc: what the kernel prints before the program counter of a CPU that was in it.
        printed_argument: what it prints before the first argument of the function there.
        printed_code: how a line with an address of code begins, in what it prints of a CPU's
            registers, as a regular expression.
        printed_numbers: the same of a line that has numbers only, also of what it prints about the
            access that failed.
    """

    pc: str
    link: str
    user: str
    halted: str
    by_gdb: dict[str, tuple[str, ...]]
    printed_pc: str
    printed_argument: str
    printed_code: str
    printed_numbers: str


class Drgn(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """What drgn must be told about a kernel that is not relocated, to read a dump of it.

    Attributes:
        name: drgn's name of the architecture.
        top_table: the symbol of the kernel's top page table.
        loaded_at: the physical address of the symbol ``_text``.
        numbers_by_levels: further numbers of its vmcoreinfo, by the levels of page tables.
        block: bytes of a block in QEMU's dumps: QEMU's guess of the largest page.
        pt_regs: where blocks are not pages, what ``info registers`` calls the first members, of 8
            bytes each, of ``struct pt_regs``.
    """

    name: str
    top_table: str
    loaded_at: int
    numbers_by_levels: dict[int, dict[str, int]]
    block: int
    pt_regs: tuple[str, ...]


class Arch(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One guest architecture.

    Attributes:
        kernel: the kernel's name of it, as ``ARCH=`` takes it.
        directory: its directory below the kernel's ``arch``.
        image: make's target for what QEMU boots, which lies below ``boot`` in that directory.
        image_packed: whether the kernel is compressed in that file, after a header as x86's boot
            protocol has it; else the file is the kernel.
        image_magic_at: where that file has `image_magic`, in bytes.
        image_magic: what tells such a file from others.
        debian: Debian's name of it.
        triplet: the GNU triplet of its compiler and of its libraries' directory.
        linker: path of its dynamic linker in Debian's packages.
        qemu: the emulator's program name.
        machine: QEMU's machine type under TCG.
        machine_kvm: the same under KVM.
        cpu_tcg: the CPU model under TCG.
        cpu_kvm: CPU models under KVM, in the order they are tried.
        console: the kernel's name of the first serial port.
        early_console: the kernel parameter for output before the console driver.
        nmi: whether QMP's ``inject-nmi`` reaches the kernel of that machine.
        append: further kernel parameters.
        base_pages: bytes of a base page where a symbol of the kernel's configuration is set.
        hugepage_sizes: as the kernel's command line takes them.
        gigantic_sizes: those of `hugepage_sizes` that the page allocator cannot allocate, the
            largest first.
        hugepages: what a guest reserves unless it is told, as ``--hugepages`` takes it.
        memory_overhead: bytes of memory that each node needs beyond its huge pages.
        vmemmap: where struct page may lie in the address space of a kernel that is not relocated:
            pairs of the first address, and the first one after them.
        registers: how they are shown.
        drgn: what it must be told.
        page_tables: of user space.
        name: the name of its table in ``arches.toml``: what ``uname -m`` prints.
    """

    kernel: str
    directory: str
    image: str
    image_packed: bool
    image_magic_at: int
    image_magic: str
    debian: str
    triplet: str
    linker: str
    qemu: str
    machine: str
    machine_kvm: str
    cpu_tcg: str
    cpu_kvm: tuple[str, ...]
    console: str
    early_console: str
    nmi: bool
    append: tuple[str, ...]
    base_pages: dict[str, int]
    hugepage_sizes: tuple[str, ...]
    gigantic_sizes: tuple[str, ...]
    hugepages: str
    memory_overhead: int
    vmemmap: tuple[tuple[int, int], ...]
    registers: ShownRegisters
    drgn: Drgn
    page_tables: PageTables
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
    def gdb(self) -> str:
        """Return the gdb that knows it, which is also the name of its Debian package."""
        return "gdb" if self.is_hosts else "gdb-multiarch"

    @property
    def libraries(self) -> str:
        """Return the directory of its libraries in Debian's packages."""
        return f"usr/lib/{self.triplet}"

    def base_page(self, config: str) -> int:
        """Return the bytes of a base page of a kernel, by the text of its ``.config``."""
        lines = config.splitlines()
        set_ = (size for name, size in self.base_pages.items() if f"CONFIG_{name}=y" in lines)
        return next(set_, USUAL_PAGE)


@cache
def arches() -> dict[str, Arch]:
    """Return every architecture, by what ``uname -m`` prints."""
    text = Path(__file__).with_name("arches.toml").read_bytes()
    tables = msgspec.toml.decode(text, type=dict[str, Arch])
    return {name: msgspec.structs.replace(table, name=name) for name, table in tables.items()}


def all_hugepage_sizes() -> tuple[str, ...]:
    """Return the names of the sizes that any architecture has."""
    return tuple(dict.fromkeys(size for each in arches().values() for size in each.hugepage_sizes))


def common_hugepage_sizes() -> tuple[str, ...]:
    """Return the names of the sizes that every architecture has."""
    guests = arches().values()
    return tuple(
        size for size in all_hugepage_sizes() if all(size in each.hugepage_sizes for each in guests)
    )


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
