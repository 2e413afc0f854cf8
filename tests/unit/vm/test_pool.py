# SPDX-License-Identifier: GPL-2.0-only
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from harness.deadline import Deadline
from harness.errors import PoolShort
from harness.records.machine import HugePages, NodePool
from harness.vm import spec
from harness.vm.console import Console
from harness.vm.guest import forwarded_port
from harness.vm.pool import fill_from_cma, parse_counters, require, totals
from harness.vm.ssh import CommandOutput, Ssh
from harness.vm.wakeup import WakeupEvent

GIB = 2**30
MIB = 2**20

TWO_NODES = """\
/sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages:30
/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages:32
/sys/devices/system/node/node1/hugepages/hugepages-2048kB/surplus_hugepages:0
/sys/devices/system/node/node1/hugepages/hugepages-1048576kB/free_hugepages:0
/sys/devices/system/node/node1/hugepages/hugepages-1048576kB/nr_hugepages:0
/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/free_hugepages:2
/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages:2
/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages:2
/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages:2
/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages_mempolicy:2
"""

NO_NUMA = """\
find: /sys/devices/system/node: No such file or directory
/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages:63
/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages:64
"""


def test_each_node_is_counted_and_the_whole_is_not_counted_again() -> None:
    pools = parse_counters(TWO_NODES)
    assert pools == (
        NodePool(size=GIB, node=0, total=2, free=2),
        NodePool(size=GIB, node=1, total=0, free=0),
        NodePool(size=2 * MIB, node=1, total=32, free=30),
    )
    assert totals(pools) == {"1G": 2, "2M": 32}


def test_what_came_over_the_serial_console_is_the_same() -> None:
    assert parse_counters(TWO_NODES.replace("\n", "\r\n")) == parse_counters(TWO_NODES)


@pytest.mark.parametrize("counter", ["free_hugepages", "nr_hugepages"])
def test_a_message_of_the_kernel_in_the_middle_of_a_line_costs_that_pool(counter: str) -> None:
    whole = f"node0/hugepages/hugepages-1048576kB/{counter}:2"
    split = whole.replace("huge", "hug[    1.2] clocksource: tsc\r\ne")
    assert whole in TWO_NODES
    pools = parse_counters(TWO_NODES.replace(whole, split))
    assert [(pool.size, pool.node) for pool in pools] == [(GIB, 1), (2 * MIB, 1)]


def test_a_kernel_without_numa_has_one_node() -> None:
    assert parse_counters(NO_NUMA) == (NodePool(size=2 * MIB, node=0, total=64, free=63),)


def test_a_kernel_without_hugetlb_has_no_pool() -> None:
    assert parse_counters("find: /sys/kernel/mm/hugepages: No such file or directory") == ()


def test_the_port_is_read_from_info_usernet() -> None:
    # QEMU 7.2.22's answer, as recorded.
    text = (
        "Hub -1 (n0):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port "
        "RecvQ SendQ\r\n  TCP[HOST_FORWARD]  11       127.0.0.1 40879       10.0.2.15  2222     "
        "0     0\r\n  TCP[HOST_FORWARD]  10       127.0.0.1 40877       10.0.2.15    22     "
        "0     0\r\n"
    )
    assert forwarded_port(text) == 40877
    assert forwarded_port(text, 2222) == 40879


@pytest.mark.parametrize("free", [0, 256])
def test_what_a_cpu_keeps_to_itself_is_not_missing_from_cma(free: int) -> None:
    fill_with_free(free)


def test_pages_that_are_not_out_of_cma_are_not_taken_for_such() -> None:
    with pytest.raises(PoolShort, match="took 1024 MiB of its 2048 MiB of CMA for 2048 MiB"):
        fill_with_free(1 << 20)


def fill_with_free(kib: int) -> None:
    """Fill two pages in a guest that has so much of its CMA left then."""

    class Guest(Ssh):
        def run(self, argv: Sequence[str], *args: object, **kwargs: object) -> CommandOutput:
            return CommandOutput(0, f"CmaTotal:  2097152 kB\nCmaFree:  {kib} kB\n", "")

    machine = spec.machine([HugePages(size=GIB, count=2)], cpus=2, arch_name="x86_64")
    fill_from_cma(machine, Guest(WakeupEvent()), Deadline.after(5, "CMA"))


def test_all_gigantic_pages_are_taken_out_of_cma_the_largest_first() -> None:
    asked = []

    class Guest(Ssh):
        def run(self, argv: Sequence[str], *args: object, **kwargs: object) -> CommandOutput:
            asked.append(argv[-1])
            return CommandOutput(0, "CmaTotal: 2097152 kB\nCmaFree: 786432 kB\n", "")

    pages = {32 * MIB: 8, 2 * MIB: 64, GIB: 1}
    hugepages = [HugePages(size=size, count=count) for size, count in pages.items()]
    machine = spec.machine(hugepages, arch_name="aarch64")
    fill_from_cma(machine, Guest(WakeupEvent()), Deadline.after(5, "CMA"))
    sizes = [word.partition("hugepages-")[2].partition("/")[0] for word in asked[:-1]]
    assert sizes == ["1048576kB", "32768kB"]


def test_a_size_that_the_kernel_does_not_have_is_said() -> None:
    got = (NodePool(size=512 * MIB, node=0, total=4, free=4),)
    console = cast(Console, SimpleNamespace(text=lambda: "", last_lines=list))
    require((HugePages(size=512 * MIB, count=4),), got, console)
    with pytest.raises(PoolShort, match="does not offer huge pages of 1G; it offers 512M"):
        require((HugePages(size=GIB, count=2),), got, console)
