# SPDX-License-Identifier: GPL-2.0-only
"""What was booted: huge pages, memory, CPUs, accelerator and guest image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from harness.records.base import FIRST_ARCH, Record


class GuestImage(Record, frozen=True, kw_only=True):
    """A guest image in the cache.

    Attributes:
        key: content hash of the recipe and of every package in it.
        initramfs: absolute path of the cpio archive that every guest boots.
        disk: absolute path of the read-only squashfs that is mounted when asked for.
        manifest: absolute path of a JSON file that names each package with version and SHA-256.
    """

    key: str
    initramfs: str
    disk: str
    manifest: str


class HugePages(Record, frozen=True, kw_only=True):
    """Huge pages of one size.

    Attributes:
        size: bytes of one page, such as 2**21 or 2**30.
        count: how many pages.
    """

    size: int
    count: int


class NodePool(Record, frozen=True, kw_only=True):
    """What one NUMA node of the guest has of one size, read from its sysfs.

    Attributes:
        size: bytes of one page.
        node: node number.
        total: ``nr_hugepages``.
        free: ``free_hugepages``.
    """

    size: int
    node: int
    total: int
    free: int


class MachineSpec(Record, frozen=True, kw_only=True):
    """The machine to boot, before an accelerator or a kernel is chosen.

    Attributes:
        hugepages: what the guest reserves at boot.
        memory: bytes of guest memory, all nodes together.
        cpus: virtual CPUs.
        nodes: NUMA nodes; memory, CPUs and huge pages are dealt out evenly.
        arch: the guest's architecture, as ``uname -m`` prints it.
        hvo: whether the kernel frees the memory map of huge pages (``hugetlb_free_vmemmap=on``).
        hugetlb_cma: whether gigantic pages come out of CMA (``hugetlb_cma=``).
    """

    hugepages: tuple[HugePages, ...]
    memory: int
    cpus: int = 2
    nodes: int = 1
    arch: str = FIRST_ARCH
    hvo: bool = False
    hugetlb_cma: bool = False


class AccelChoice(Record, frozen=True, kw_only=True):
    """Which accelerator runs the guest, and why.

    Attributes:
        name: ``kvm`` or ``tcg``.
        reason: one line.
        cpu: the CPU model to use with it, as QEMU's ``-cpu`` takes it.
    """

    name: Literal["kvm", "tcg"]
    reason: str
    cpu: str


class GuestOrigin(Record, frozen=True, kw_only=True):
    """How a guest of a run came to be.

    Attributes:
        how: ``booted``, or ``restored`` from a snapshot.
        snapshot: key of the snapshot; empty where it was booted.
        reason: why it was booted, although it was to be restored, or why the snapshot was made
            again; empty for neither.
        seconds: from the start of QEMU until it was logged in to and init was done; 0 in records of
            older versions.
    """

    how: Literal["booted", "restored"]
    snapshot: str = ""
    reason: str = ""
    seconds: float = 0.0


class PoolSummary(Record, frozen=True, kw_only=True):
    """The huge pages of one run.

    Attributes:
        asked: pages by size name, such as ``{"1G": 2, "2M": 64}``.
        got: the same, read from the guest's sysfs; empty before the guest was reached.
        nodes: the same, per NUMA node.
    """

    asked: dict[str, int]
    got: dict[str, int] = {}  # noqa: RUF012 - msgspec copies it
    nodes: tuple[NodePool, ...] = ()


def size_name(size: int) -> str:
    """Return ``1G`` for 2**30 and so on, as the kernel's command line takes it."""
    for unit, shift in (("G", 30), ("M", 20), ("K", 10)):
        if size and size % 2**shift == 0:
            return f"{size >> shift}{unit}"
    return str(size)


def pages_option(pages: Iterable[HugePages]) -> str:
    """Return huge pages as ``--hugepages`` takes them: ``1G:2,2M:64``."""
    return ",".join(f"{size_name(each.size)}:{each.count}" for each in pages)


def pages_words(pages: Iterable[HugePages]) -> str:
    """Return huge pages for people: ``2 x 1G, 64 x 2M``."""
    return ", ".join(f"{each.count} x {size_name(each.size)}" for each in pages)
