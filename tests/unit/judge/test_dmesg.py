# SPDX-License-Identifier: GPL-2.0-only
"""The console: real crashes of our own kernels, lines that are no crash, and properties."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.judge import dmesg
from harness.judge.lines import decode
from harness.records.probe import Splat

DATA = Path(__file__).parents[2] / "data" / "console"
LOGS = sorted(DATA.glob("*.log"))

TRACE = "Call Trace:\n <TASK>\n dump_stack+0x10/0x20\n hugetlb_fault+0x12/0x400\n </TASK>\n"


def summary(splat: Splat) -> dict[str, object]:
    """Return a splat in the form that the expected-results files have."""
    return {
        "kind": splat.kind,
        "title": splat.title,
        "fatal": dmesg.is_fatal(splat),
        "offset": splat.offset,
        "lines": len(splat.block),
        "first": splat.block[0],
        "last": splat.block[-1],
    }


def kinds(text: str) -> list[str]:
    return [splat.kind for splat in dmesg.scan(text)]


def stamped(text: str, seconds: float = 1.0) -> str:
    return "".join(f"[{seconds:12.6f}] {line}\n" for line in text.splitlines())


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.stem)
def test_recorded_console(log: Path) -> None:
    found = dmesg.scan(decode(log.read_bytes()))
    assert [summary(splat) for splat in found] == json.loads(log.with_suffix(".json").read_text())


def test_every_console_has_its_expected_result() -> None:
    assert {path.stem for path in DATA.iterdir()} == {path.stem for path in LOGS}
    seen = {
        splat["kind"] for log in LOGS for splat in json.loads(log.with_suffix(".json").read_text())
    }
    assert len(seen) >= 15


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        ("panic", "Kernel panic - not syncing: Fatal exception"),
        ("panic", "PANIC: early exception 0x0d IP 10:ffffffff81000000 error 0 cr2 0x0"),
        ("double-fault", "traps: PANIC: double fault, error_code: 0x0"),
        ("double-fault", "double fault: 0000 [#1] PREEMPT SMP"),
        ("general-protection", "general protection fault: 0000 [#1] PREEMPT SMP NOPTI"),
        (
            "general-protection",
            "Oops: general protection fault, probably for non-canonical address "
            "0xdead000000000100: 0000 [#1] SMP",
        ),
        ("kasan", "BUG: KASAN: slab-use-after-free in hugetlb_vma_lock_free+0x12/0x30"),
        ("kfence", "BUG: KFENCE: use-after-free read in hugetlb_fault+0x12/0x30"),
        ("kcsan", "BUG: KCSAN: data-race in a / b"),
        ("ubsan", "UBSAN: array-index-out-of-bounds in mm/hugetlb.c:812:9"),
        ("lockdep", "WARNING: possible circular locking dependency detected"),
        ("lockdep", "WARNING: possible recursive locking detected"),
        ("lockdep", "WARNING: possible irq lock inversion dependency detected"),
        ("lockdep", "WARNING: inconsistent lock state"),
        ("lockdep", "WARNING: suspicious RCU usage"),
        ("lockdep", "WARNING: bad unlock balance detected!"),
        ("lockdep", "WARNING: held lock freed!"),
        ("lockdep", "WARNING: lock held when returning to user space!"),
        ("lockdep", "WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected"),
        ("lockdep", "WARNING: probe/41 still has locks held!"),
        ("lockdep", "[ BUG: Invalid wait context ]"),
        ("lockdep", "INFO: trying to register non-static key."),
        ("lockdep", "BUG: spinlock bad magic on CPU#0, probe/41"),
        ("bad-page-state", "BUG: Bad page state in process probe  pfn:12345"),
        ("bad-page-map", "BUG: Bad page map in process probe  pte:8000 pmd:9000"),
        ("bad-page-map", "mm/pgtable-generic.c:54: bad pmd 00000000a1b2c3d4(0)"),
        ("bad-rss-counter", "BUG: Bad rss-counter state mm:00000000a1 type:MM_ANONPAGES val:3"),
        ("bad-rss-counter", "BUG: non-zero pgtables_bytes on freeing mm: 4096"),
        ("list-corruption", "list_del corruption. next->prev should be a, but was b."),
        ("scheduling-while-atomic", "BUG: scheduling while atomic: probe/41/0x00000002"),
        (
            "sleeping-in-invalid-context",
            "BUG: sleeping function called from invalid context at mm/hugetlb.c:5",
        ),
        ("soft-lockup", "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [probe:41]"),
        ("soft-lockup", "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0"),
        ("hard-lockup", "watchdog: Watchdog detected hard LOCKUP on cpu 0"),
        ("hard-lockup", "watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 0"),
        ("rcu-stall", "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"),
        ("rcu-stall", "rcu: INFO: rcu_sched self-detected stall on CPU"),
        ("rcu-stall", "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: {"),
        ("hung-task", "INFO: task probe:41 blocked for more than 122 seconds."),
        ("slab-corruption", "BUG kmalloc-64 (Not tainted): Poison overwritten"),
        ("slab-corruption", "BUG kmalloc-64 (Tainted: G    B   W       ): Redzone overwritten"),
        ("memory-leak", "kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)"),
        ("out-of-memory", "probe invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER), order=0"),
        ("out-of-memory", "Memory cgroup out of memory: Killed process 41 (probe)"),
        ("oops", "BUG: kernel NULL pointer dereference, address: 0000000000000008"),
        ("oops", "BUG: unable to handle page fault for address: ffffc90000000000"),
        ("oops", "Oops: invalid opcode: 0000 [#1] PREEMPT SMP"),
        ("oops", "invalid opcode: 0000 [#1] PREEMPT SMP"),
        ("oops", "BUG: TASK stack guard page was hit at 0 (stack is 1..2)"),
        ("oops", "Unable to handle kernel paging request at virtual address dead000000000100"),
        ("oops", "Internal error: synchronous external abort: 0000000096000210 [#1] SMP"),
        ("oops", "Unhandled 64-bit el1h sync exception on CPU1, ESR 0x0000000002000000 -- BTI"),
        ("bug", "kernel BUG at mm/hugetlb.c:812!"),
        ("bug-message", "BUG: using smp_processor_id() in preemptible [00000000] code: probe/41"),
        ("warning", "WARNING: CPU: 1 PID: 41 at mm/hugetlb.c:812 hugetlb_fault+0x12/0x30"),
        ("warning", "WARNING: mm/hugetlb.c:812 at hugetlb_fault+0x12/0x30, CPU#1: probe/41"),
        ("warning", "WARNING: stack recursion on stack type 4"),
    ],
)
def test_title(kind: str, title: str) -> None:
    assert kinds(f"{title}\n") == [kind]
    assert kinds(f"[   12.345678][  T123] {title}\r\n") == [kind]
    assert kinds(f"[   12.345678] [   C1] {title}\n") == [kind]
    assert dmesg.scan(f"<1>[   12.345678] {title}\n")[0].title == title


@pytest.mark.parametrize(
    ("line", "stuck"),
    [
        ("[   12.345678] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", True),
        ("hgm# [   12.345678] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", True),
        ("[   12.345678] INFO: task probe:41 blocked for more than 122 seconds.\r", True),
        ("[   12.345678] WARNING: CPU: 1 PID: 41 at mm/hugetlb.c:812 f+0x12/0x30", False),
        ("hgm# echo rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", False),
    ],
)
def test_a_line_of_the_console_reports_a_lack_of_progress(line: str, stuck: bool) -> None:
    assert dmesg.is_stuck(line) is stuck


@pytest.mark.parametrize(
    "line",
    [
        "** NOTICE trace_printk() being used. Allocating extra memory.   **",
        "** This means that this is a DEBUG kernel and it is     **",
        "Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on",
        "RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable to RETBleed attacks",
        "WARNING: kernel not compiled with MITIGATION_IBPB_ENTRY.",
        "WARNING: Please fix your firmware",
        "debugfs: debug: DEBUG enabled, no BUG: here",
        "audit: the test printed BUG: KASAN: use-after-free",
        "# hugetlb: WARNING: CPU: 1 PID: 41 at a quoted line",
        "traps: probe[41] general protection fault ip:401136 sp:7ffd error:0 in probe[401000+1000]",
        "probe[41]: segfault at 0 ip 0000000000401136 sp 00007ffd error 6 in probe[401000+1000]",
        "INFO: lockdep is turned off.",
        "sysrq: Show Blocked State",
        "rcu: RCU calculated value of scheduler-enlistment delay is 25 jiffies.",
        "watchdog: Delayed init of the lockup detector failed: -19",
        "Memory failure: 0x12345: recovery action for huge page: Recovered",
        "mce: Uncorrected hardware memory error in user-access at 12345000",
        "Kernel command line: panic=1 oops=panic console=ttyS0",
        "panic_on_warn set",
    ],
)
def test_not_a_splat(line: str) -> None:
    assert dmesg.scan(f"{line}\n") == ()
    assert dmesg.scan(stamped(line)) == ()


def test_once_lines_are_stamped_the_others_are_not_the_kernels() -> None:
    assert kinds("BUG: Bad page state in process x\n") == ["bad-page-state"]
    assert kinds(stamped("Run /init as init process") + "BUG: Bad page state in process x\n") == []


def test_dropped_printk_messages_are_a_finding() -> None:
    text = stamped("Run /init") + "** 7 printk messages dropped **\n" + stamped("a line after")
    (splat,) = dmesg.scan(text)
    assert (splat.kind, splat.block) == ("console-gap", ("** 7 printk messages dropped **",))
    assert not dmesg.is_fatal(splat)


def test_a_message_that_met_an_unfinished_line_of_another_writer() -> None:
    text = "probe 3: [   12.345678] kernel BUG at mm/hugetlb.c:812!\n"
    (splat,) = dmesg.scan(text)
    assert (splat.kind, splat.offset) == ("bug", len("probe 3: "))


def test_dump_page_before_a_bug_belongs_to_it() -> None:
    before = (
        "page: refcount:1 mapcount:0 mapping:0000000000000000 index:0x0 pfn:0x12345\n"
        "head: order:18 mapcount:0 entire_mapcount:0 nr_pages_mapped:0 pincount:0\n"
        "flags: 0x200000000000040(head|node=0|zone=2)\n"
        "raw: 0200000000000040 dead000000000100 dead000000000122 0000000000000000\n"
        "page dumped because: VM_BUG_ON_FOLIO(folio_test_hugetlb(folio))\n"
        "------------[ cut here ]------------\n"
    )
    text = stamped("hugetlbfs: mounted\n" + before + "kernel BUG at mm/hugetlb.c:812!\n" + TRACE)
    (splat,) = dmesg.scan(text)
    assert splat.block[:6] == tuple(before.splitlines())
    assert splat.offset == len(stamped("hugetlbfs: mounted"))


def test_an_oops_is_one_splat_and_the_panic_after_it_another() -> None:
    oops = (
        "BUG: kernel NULL pointer dereference, address: 0000000000000008\n"
        "#PF: supervisor write access in kernel mode\n"
        "Oops: Oops: 0002 [#1] PREEMPT SMP\n"
        f"RIP: 0010:hugetlb_fault+0x12/0x30\n{TRACE}"
        "Modules linked in:\nCR2: 0000000000000008\n---[ end trace 0000000000000000 ]---\n"
    )
    found = dmesg.scan(stamped(oops + "Kernel panic - not syncing: Fatal exception\n"))
    assert [splat.kind for splat in found] == ["oops", "panic"]
    assert found[0].block == tuple(oops.splitlines())


def test_an_oops_of_arm64_is_one_splat_and_its_pc_is_to_blame() -> None:
    """As arch/arm64/kernel/traps.c, process.c and stacktrace.c of 6.12 and 6.16 print it."""
    oops = (
        "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008\n"
        "Mem abort info:\n  ESR = 0x0000000096000044\n"
        "user pgtable: 4k pages, 52-bit VAs, pgdp=0000000048be1a00\n[0000000000000008] pgd=0\n"
        "Internal error: Oops: 0000000096000044 [#1] PREEMPT SMP\nModules linked in:\n"
        "CPU: 1 UID: 0 PID: 41 Comm: probe Not tainted 6.12.118 #1\n"
        "Hardware name: linux,dummy-virt (DT)\n"
        "pstate: 60401005 (nZCv daif +PAN -UAO -TCO -DIT +SSBS BTYPE=--)\n"
        "pc : hugetlb_fault+0x12/0x30\nlr : __mutex_lock+0x2c/0x3c\nsp : ffff800080a6bc60\n"
        "x29: ffff800080a6bc60 x28: fff000000310b600 x27: 0000000000000000\nCall trace:\n"
        " hugetlb_fault+0x12/0x30 (P)\n handle_mm_fault+0xcc/0x2c8\n el0t_64_sync+0x190/0x198\n"
        "Code: 910003fd (b900001f)\n---[ end trace 0000000000000000 ]---\n"
    )
    found = dmesg.scan(stamped(oops + "Kernel panic - not syncing: Oops: Fatal exception\n"))
    assert [splat.kind for splat in found] == ["oops", "panic"]
    assert found[0].block == tuple(oops.splitlines())
    assert dmesg.is_fatal(found[0])
    assert dmesg.culprit(found[0].block, {}) == "hugetlb_fault+0x12/0x30"


def test_a_bug_of_arm64_is_one_splat() -> None:
    bug = (
        "------------[ cut here ]------------\nkernel BUG at mm/hugetlb.c:812!\n"
        "Internal error: Oops - BUG: 00000000f2000800 [#1] PREEMPT SMP\n"
        "pc : hugetlb_fault+0x12/0x30\nCall trace:\n hugetlb_fault+0x12/0x30\n"
        "---[ end trace 0000000000000000 ]---\n"
    )
    (splat,) = dmesg.scan(stamped(bug))
    assert (splat.kind, splat.block) == ("bug", tuple(bug.splitlines()))


def test_a_splat_without_an_end_mark_of_arm64_ends_with_its_trace() -> None:
    trace = "Call trace:\n show_stack+0x18/0x24 (C)\n hugetlb_fault+0x12/0x400\n"
    bad = f"BUG: Bad page state in process probe  pfn:12345\nflags: 0x0()\n{trace}"
    (splat,) = dmesg.scan(stamped(bad + "EXT4-fs (vda): mounted\nanother line\n"))
    assert splat.block == tuple(bad.splitlines())
    assert dmesg.culprit(splat.block, {}) == "hugetlb_fault+0x12/0x400"


@pytest.mark.parametrize(
    ("before", "place"),
    [
        ((), "sysrq_handle_crash+0x20/0x28"),
        (("panic+0x67/0x68 at kernel/panic.c:443",), "sysrq_handle_crash+0x20/0x28"),
        (("hugetlb_init+0x67/0x68 at mm/hugetlb.c:12",), "trace_suspend_resume+0x0/0x70"),
    ],
)
def test_a_call_that_never_returns_is_not_in_the_next_function(
    before: tuple[str, ...], place: str
) -> None:
    """As Debian's 6.12.118 of arm64 printed it: vpanic() is what panic() ends with."""
    panic = (
        "Kernel panic - not syncing: sysrq triggered crash\nCall trace:\n vpanic+0x14c/0x338\n"
        " trace_suspend_resume+0x0/0x70\n sysrq_handle_crash+0x20/0x28\n"
    )
    (splat,) = dmesg.scan(stamped(panic))
    symbols = {"trace_suspend_resume+0x0/0x70": before} if before else {}
    assert dmesg.culprit(splat.block, symbols) == place


def test_a_splat_without_an_end_mark_ends_with_its_trace() -> None:
    bad = f"BUG: Bad page state in process probe  pfn:12345\nflags: 0x0()\n{TRACE}"
    (splat,) = dmesg.scan(stamped(bad + "EXT4-fs (vda): mounted\nanother line\n"))
    assert splat.block == tuple(bad.splitlines())


def test_a_splat_ends_before_the_next() -> None:
    two = f"BUG: Bad page state in process a  pfn:1\n{TRACE}" * 2
    assert [len(splat.block) for splat in dmesg.scan(stamped(two))] == [6, 6]


def test_a_pause_ends_a_splat() -> None:
    text = stamped("BUG: Bad page state in process a  pfn:1", 1.0) + stamped("later", 9.0)
    assert dmesg.scan(text)[0].block == ("BUG: Bad page state in process a  pfn:1",)


def test_lines_of_others_do_not_end_a_splat() -> None:
    lines = stamped(f"BUG: Bad page state in process a  pfn:1\n{TRACE}").splitlines(keepends=True)
    text = "probe: a line of user space\r\n".join(lines)
    assert dmesg.scan(text)[0].block == dmesg.scan("".join(lines))[0].block


def test_a_message_that_only_says_bug_ends_with_its_trace_and_is_not_fatal() -> None:
    said = f"BUG: using smp_processor_id() in preemptible [00000000] code: probe/41\n{TRACE}"
    (splat,) = dmesg.scan(stamped(said + "hugetlbfs: mounted\n"))
    assert splat.block == tuple(said.splitlines())
    assert not dmesg.is_fatal(splat)


def test_hostile_lines_cost_no_more_than_their_length() -> None:
    hostile = ["WARNING: " + " at x" * 200_000, f"RIP: 0010:{'a' * 1_000_000}", "\x1b]" * 100_000]
    text = stamped("\n".join(["kernel BUG at a.c:1!", *hostile]))
    (splat,) = dmesg.scan(text)
    assert splat.title == "kernel BUG at a.c:1!"
    assert max(len(line) for line in splat.block) <= 2048


def test_colours_and_control_characters_are_not_text() -> None:
    text = "\x1b[31m[   12.345678] \x1b[1mkernel BUG at mm/hugetlb.c:812!\x1b[0m\x00\r\n"
    assert dmesg.scan(text)[0].title == "kernel BUG at mm/hugetlb.c:812!"


def test_offsets_count_the_bytes_that_came() -> None:
    data = "ü\n".encode() + b"\xff\xfe broken\n" + b"kernel BUG at mm/hugetlb.c:812!\n"
    (splat,) = dmesg.scan(decode(data))
    assert data[splat.offset :].startswith(b"kernel BUG")


def test_a_block_with_an_oops_or_a_panic_is_fatal() -> None:
    corrupt = "list_del corruption. next->prev should be a, but was b.\n"
    assert not dmesg.is_fatal(dmesg.scan(corrupt)[0])
    (splat,) = dmesg.scan(f"{corrupt}kernel BUG at lib/list_debug.c:65!\n")
    assert splat.kind == "list-corruption"
    assert dmesg.is_fatal(splat)


def test_outside() -> None:
    splats = [Splat(kind="bug", title="t", block=("t",), offset=n) for n in (5, 10, 19, 20)]
    left = dmesg.outside(splats, [(0, 5), (10, 20)])
    assert [splat.offset for splat in left] == [5, 20]


FRAGMENT = st.sampled_from(
    ["------------[ cut here ]------------", "kernel BUG at a:1!", "BUG: KASAN: x in f+0x1/0x2",
     "=" * 40, "Call Trace:", " <TASK>", " f+0x1/0x2", " </TASK>", "---[ end trace 0 ]---",
     "raw: 0", "Kernel panic - not syncing: x", "Oops: 0000 [#1]", "\x1b[31m", "\ud800", "\x00"]
)  # fmt: skip
STAMP = st.sampled_from(["", "[    1.000000] ", "[    1.500000][   T12] ", "<4>[   99.000000] "])
LINE = st.builds(lambda stamp, text: stamp + text, STAMP, FRAGMENT | st.text())


@given(st.text() | st.lists(LINE).map("\n".join))
def test_never_raises_and_every_splat_is_whole(text: str) -> None:
    previous = -1
    for splat in dmesg.scan(text):
        assert splat.title in splat.block
        assert 1 <= len(splat.block) <= dmesg.MAX_BLOCK + 40
        assert splat.offset > previous
        previous = splat.offset
