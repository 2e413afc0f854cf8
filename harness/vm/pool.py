# SPDX-License-Identifier: GPL-2.0-only
"""The guest's huge-page pools, read from its sysfs before any probe runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.deadline import Deadline
from harness.errors import PoolShort
from harness.records.machine import HugePages, MachineSpec, NodePool, size_name
from harness.vm import spec
from harness.vm.console import Console

if TYPE_CHECKING:
    from harness.vm.ssh import Ssh

# In the guest: prints ``PATH:NUMBER`` for each counter of the pools.
_PRINT_COUNTERS = "/bin/hgm-pools"

_COUNTER = re.compile(
    r"^/sys/(?:devices/system/node/node(?P<node>\d+)/hugepages|kernel/mm/hugepages)"
    r"/hugepages-(?P<kib>\d+)kB/(?P<name>\w+):(?P<value>\d+)\r?$",
    re.MULTILINE,
)

# By how much CmaFree may be off for each CPU: it keeps up to 125 pages of each zone to itself until
# it hands them over (calculate_normal_threshold() in mm/vmstat.c).
_DRIFT_KIB = 1000

_MEMINFO = re.compile(r"^(\w+): *(\d+) kB$", re.MULTILINE)


def parse_counters(text: str) -> tuple[NodePool, ...]:
    """Return the pools per size and node from what the guest printed, largest size first.

    Without NUMA, sysfs does not list nodes, and the pages count as node 0's. Incomplete lines are
    ignored, and a pool that lacks one of its two counters is left out.
    """
    per_node: dict[tuple[int, int], dict[str, int]] = {}
    whole: dict[tuple[int, int], dict[str, int]] = {}
    for match in _COUNTER.finditer(text):
        table = whole if match["node"] is None else per_node
        key = (int(match["kib"]) * 1024, int(match["node"] or 0))
        table.setdefault(key, {})[match["name"]] = int(match["value"])
    return tuple(
        NodePool(
            size=size,
            node=node,
            total=names["nr_hugepages"],
            free=names["free_hugepages"],
        )
        for (size, node), names in sorted(
            (per_node or whole).items(), key=lambda item: (-item[0][0], item[0][1])
        )
        if {"nr_hugepages", "free_hugepages"} <= names.keys()
    )


def read(ssh: Ssh, deadline: Deadline) -> tuple[NodePool, ...]:
    """Return the guest's pools as its sysfs has them now."""
    return parse_counters(ssh.run([_PRINT_COUNTERS], deadline).stdout)


def fill_from_cma(machine: MachineSpec, ssh: Ssh, deadline: Deadline) -> None:
    """Reserve the gigantic pages, which a kernel takes out of CMA only once it runs.

    Raises:
        PoolShort: if they did not come out of CMA.
    """
    for pages in spec.gigantic_pages(machine):
        file = f"/sys/kernel/mm/hugepages/hugepages-{pages.size >> 10}kB/nr_hugepages"
        ssh.run(["sh", "-c", f"echo {pages.count} >{file}"], deadline)
    said = ssh.run(["grep", "^Cma", "/proc/meminfo"], deadline).stdout
    kib = {name: int(value) for name, value in _MEMINFO.findall(said)}
    total, free = kib.get("CmaTotal", 0), kib.get("CmaFree", 0)
    wanted = spec.gigantic_bytes(machine) >> 10
    if total - free < wanted - machine.cpus * _DRIFT_KIB:
        raise PoolShort(
            f"the guest took {(total - free) >> 10} MiB of its {total >> 10} MiB of CMA for "
            f"{wanted >> 10} MiB of gigantic pages (--hugetlb-cma)",
            hint="it needs CONFIG_CMA (--config cma); without CMA at all, leave the option out",
        )


def require_hvo(ssh: Ssh, deadline: Deadline) -> None:
    """Raise PoolShort unless the kernel frees the memory map of huge pages."""
    said = ssh.run(["cat", "/proc/sys/vm/hugetlb_optimize_vmemmap"], deadline)
    if said.stdout.strip() != "1":
        raise PoolShort(
            "the guest does not free the memory map of huge pages (--hvo): "
            f"vm.hugetlb_optimize_vmemmap: {(said.stdout or said.stderr).strip()}",
            hint="it needs CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP",
        )


def by_size(pages: Iterable[HugePages]) -> dict[str, int]:
    """Return the counts by size name."""
    return {size_name(each.size): each.count for each in pages}


def totals(pools: Iterable[NodePool]) -> dict[str, int]:
    """Return how many pages there are of each size, by size name."""
    counts: dict[str, int] = {}
    for pool in pools:
        name = size_name(pool.size)
        counts[name] = counts.get(name, 0) + pool.total
    return counts


def require(asked: Sequence[HugePages], got: Sequence[NodePool], console: Console) -> None:
    """Raise PoolShort, with the kernel's message, if a size has fewer free pages than asked."""
    for pages in asked:
        free = sum(pool.free for pool in got if pool.size == pages.size)
        if free >= pages.count:
            continue
        name = size_name(pages.size)
        sizes = totals(got)
        if sizes and name not in sizes:
            raise PoolShort(
                f"this kernel does not offer huge pages of {name}; it offers {', '.join(sizes)}",
                hint="ask for pages of these sizes with --hugepages",
                console=console.last_lines(),
            )
        lines = [line for line in console.text().splitlines() if "HugeTLB: alloc" in line]
        said = lines[-1].strip() if lines else "no message of the kernel about it"
        raise PoolShort(
            f"the guest has {free} free {name} huge pages, asked for {pages.count}: {said}",
            hint="give it more --memory, or ask for fewer --hugepages",
            console=console.last_lines(),
        )
