# SPDX-License-Identifier: GPL-2.0-only
"""Which splats before init are the machine's, and which the kernel's."""

from __future__ import annotations

import pytest

from harness.judge import dmesg, machine
from harness.judge.lines import decode
from harness.records.probe import HostLoad, Stalled, VcpuTime

BANNER = "[    0.000000] Linux version 6.12.117 (hgm@hgm) (gcc 12)\n"
DEBIAN = "[    0.000000] Linux version 6.1.0-50-cloud-amd64 (debian-kernel@lists) (gcc-12)\n"
INIT = "[    1.000000] Run /init as init process\n"
XSTATE = "WARNING: CPU: 0 PID: 0 at arch/x86/kernel/fpu/xstate.c:{} {}+0x83c/0x990"
NEWER = "WARNING: arch/x86/kernel/fpu/xstate.c:{} at {}+0x11/0x990, CPU#0: swapper/0"
SIZES = XSTATE.format(575, "fpu__init_system_xstate")
TABLE = "WARNING: CPU: 0 PID: 0 at mm/page_alloc.c:77 free_area_init+0x1/0x99"
SCHEDULE = "BUG: scheduling while atomic: swapper/0/1/0x00000002"


def splat(title: str, seconds: float = 0.5) -> str:
    block = (title, "Call Trace:", " <TASK>", " </TASK>")
    if title.startswith("WARNING"):
        block = ("------------[ cut here ]------------", title, "", "---[ end trace 0 ]---")
    return "".join(f"[{seconds:12.6f}] {line}\n" for line in block)


def divided(console: str, other: str) -> tuple[list[str], list[str]]:
    found = machine.divide(dmesg.scan(decode(console.encode())), console.encode(), other.encode())
    return [each.title for each in found.kernel], [each.title for each in found.machine]


@pytest.mark.parametrize(
    "theirs",
    [
        SIZES,
        XSTATE.format(943, "fpu__init_system_xstate"),
        XSTATE.format(943, "fpu__init_system_xstate.cold"),
        NEWER.format(9, "fpu__init_system_xstate"),
    ],
)
def test_what_another_kernel_has_here_too_is_the_machines(theirs: str) -> None:
    other = DEBIAN + splat(theirs, 0.1) + INIT
    assert divided(BANNER + splat(SIZES) + INIT, other) == ([], [SIZES])


@pytest.mark.parametrize(
    "theirs",
    [
        "",
        splat(TABLE),
        splat(XSTATE.format(575, "xstate_calculate_size")),
        splat("WARNING: CPU: 0 PID: 0 at mm/slub.c:575 fpu__init_system_xstate+0x83c/0x990"),
        INIT + splat(SIZES),  # in another state of the kernel
    ],
    ids=["none", "another", "another function", "another file", "after init"],
)
def test_what_it_has_alone_is_the_kernels(theirs: str) -> None:
    other = DEBIAN + theirs + INIT if theirs else ""
    assert divided(BANNER + splat(SIZES) + INIT, other) == ([SIZES], [])


def test_each_splat_is_judged_by_itself() -> None:
    console = BANNER + splat(SIZES) + splat(TABLE, 0.7) + INIT + splat(TABLE, 2.0)
    assert divided(console, DEBIAN + splat(SIZES) + INIT) == ([TABLE, TABLE], [SIZES])


def test_after_init_nothing_is_the_machines() -> None:
    other = DEBIAN + splat(SIZES) + INIT
    assert divided(BANNER + INIT + splat(SIZES, 2.0), other) == ([SIZES], [])


def test_every_guest_of_a_run_has_its_own_boot() -> None:
    one = BANNER + splat(SIZES) + INIT
    assert divided(one + one, DEBIAN + splat(SIZES) + INIT) == ([], [SIZES, SIZES])
    # What follows the second guest's banner is early again, what comes before it is not.
    late = BANNER + INIT + splat(SIZES, 9.0) + one
    assert divided(late, DEBIAN + splat(SIZES) + INIT) == ([SIZES], [SIZES])


def test_a_title_without_a_place_must_be_the_same_but_for_numbers() -> None:
    console = BANNER + splat(SCHEDULE) + INIT
    assert divided(console, DEBIAN + splat(SCHEDULE.replace("0/1", "3/7")) + INIT)[1] == [SCHEDULE]
    assert divided(console, DEBIAN + splat("BUG: scheduling while atomic: rcu/9") + INIT)[1] == []


@pytest.mark.parametrize(("seconds", "expected"), [(25.0, ["rcu-stall"]), (23.0, [])])
def test_a_stall_by_a_clock_that_is_too_fast_is_the_machines(
    seconds: float, expected: list[str]
) -> None:
    console = BANNER + INIT + STALL
    host = HostLoad(seconds=seconds, vcpus=(VcpuTime(ran=seconds, waited=0.0),))
    stalled = Stalled(console_from=0, console_to=len(console), host=host)
    found = machine.divide(dmesg.scan(console), console.encode(), b"", [stalled])
    assert [each.kind for each in found.kernel] == expected


STALL = "[   30.000000] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:\n"
LATE = splat("WARNING: CPU: 0 PID: 0 at mm/page_alloc.c:77 free_area_init+0x1/0x99", 40.0)


@pytest.mark.parametrize(
    ("ran", "begin", "end", "expected"),
    [
        (3.0, 0, 0, ["warning"]),
        (30.0, 0, 0, ["rcu-stall", "warning"]),  # the guest was not starved
        (3.0, 1, 0, ["rcu-stall", "warning"]),  # it began before
        (3.0, 0, -len(STALL + LATE), ["rcu-stall", "warning"]),  # and after
    ],
)
def test_a_stall_of_a_starved_guest_is_the_machines(
    ran: float, begin: int, end: int, expected: list[str]
) -> None:
    boot = BANNER + INIT
    console = boot + STALL + LATE
    stalled = Stalled(
        console_from=len(boot) + begin,
        console_to=len(console) + end,
        host=HostLoad(seconds=100.0, vcpus=(VcpuTime(ran=ran, waited=100.0 - ran),)),
    )
    splats = dmesg.scan(decode(console.encode()))
    found = machine.divide(splats, console.encode(), b"", [stalled])
    assert [each.kind for each in found.kernel] == expected
    assert len(found.kernel) + len(found.machine) == 2
