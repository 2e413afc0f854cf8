# SPDX-License-Identifier: GPL-2.0-only
"""Where it hung: recorded answers of our kernels to sysrq w, d, l and t, and small ones by hand."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.judge import blame, dmesg
from harness.judge.lines import decode
from harness.records.probe import Capture, Splat, Vcpu

DATA = Path(__file__).parents[2] / "data" / "hang"
CONSOLES = DATA.parent / "console"

SPIN = """\
[    9.000000] NMI backtrace for cpu 1
[    9.000000] CPU: 1 UID: 0 PID: 57 Comm: fault Not tainted 6.12.0 #1
[    9.000000] RIP: 0010:native_queued_spin_lock_slowpath+0x5/0x10
[    9.000000] Call Trace:
[    9.000000]  <NMI>
[    9.000000]  ? nmi_cpu_backtrace+0x1/0x2
[    9.000000]  </NMI>
[    9.000000]  _raw_spin_lock+0x3/0x8
[    9.000000]  page_table_deadlock+0x33/0x60
[    9.000000]  hgm_faults_write+0x9/0x60
"""

PANICKED = """\
[    9.000000] CPU: 0 UID: 0 PID: 57 Comm: fault Not tainted 6.12.0 #1
[    9.000000] Call Trace:
[    9.000000]  <NMI>
[    9.000000]  panic+0x1/0x2
[    9.000000]  exc_nmi+0x1/0x2
[    9.000000] RIP: 0010:interrupts_off_loop+0x2/0x8
[    9.000000]  </NMI>
[    9.000000]  <TASK>
[    9.000000]  hgm_faults_write+0x9/0x60
"""

# How the stack of a system call ends, however the CPU was seen there.
IN_A_SYSCALL = """\
[    9.000000]  do_syscall_64+0x6d/0x140
[    9.000000]  entry_SYSCALL_64_after_hwframe+0x4b/0x53
[    9.000000] RIP: 0033:0x47b7a0
[    9.000000]  </TASK>
"""

USER_MODE = """\
[    9.000000] NMI backtrace for cpu 1
[    9.000000] CPU: 1 UID: 0 PID: 57 Comm: fault Not tainted 6.12.0 #1
[    9.000000] RIP: 0033:0x40176a
"""

USER_MODE_UNDER_AN_NMI = """\
[    9.000000] CPU: 0 UID: 0 PID: 57 Comm: fault Not tainted 6.12.0 #1
[    9.000000] Call Trace:
[    9.000000]  <NMI>
[    9.000000]  panic+0x1/0x2
[    9.000000]  asm_exc_nmi+0x1/0x2
[    9.000000] RIP: 0033:0x40176a
"""

WAITING = """\
[    9.000000] task:fault           state:S stack:0     pid:56    tgid:56    ppid:40     flags:0x0
[    9.000000] Call Trace:
[    9.000000]  schedule+0x1/0x2
[    9.000000]  do_poll+0x1/0x2
"""

SPINNING = (
    "page_table_deadlock at mm/hgm_faults.c:112, waiting in "
    "native_queued_spin_lock_slowpath, on CPU 1"
)

BLOCKED = """\
[    9.000000] task:hgm-run         state:S stack:0     pid:40    tgid:40    ppid:30     flags:0x0
[    9.000000] Call Trace:
[    9.000000]  __schedule+0x1/0x2
[    9.000000]  do_wait+0x1/0x2
[    9.000000] task:python3         state:D stack:0     pid:41    ppid:40     flags:0x0
[    9.000000] Call Trace:
[    9.000000]  <TASK>
[    9.000000]  __schedule+0x1/0x2
[    9.000000]  schedule+0x1/0x2
[    9.000000]  hugetlb_fault+0x12/0xa0
"""

SYMBOLS = {
    "page_table_deadlock+0x33/0x60": ("page_table_deadlock at mm/hgm_faults.c:112",),
    "hugetlb_fault+0x12/0xa0": ("lock_it at mm/x.h:1", "hugetlb_fault at mm/hugetlb.c:812"),
    "0xffffffff81000072": ("hugetlb_fault+0x12/0xa0 at mm/hugetlb.c:812",),
}


def capture(*vcpus: Vcpu) -> Capture:
    return Capture(why="hang", symbols=SYMBOLS, vcpus=vcpus)


@pytest.mark.parametrize(
    ("log", "where", "waiters"),
    [
        ("userfaultfd", "handle_userfault+0x3dc/0x780, state S", ("fault[57]",)),
        ("user-loop", "user mode, in the probe", ()),
        ("arm64-userfaultfd", "handle_userfault+0x44c/0x740, state S", ("crash[158]",)),
        ("arm64-user-loop", "user mode, in the probe", ()),
    ],
)
def test_recorded(log: str, where: str, waiters: tuple[str, ...]) -> None:
    text = decode((DATA / f"{log}.log").read_bytes())
    program = "crash" if log.startswith("arm64") else "fault"
    assert blame.of_hang(program, text, (), Capture(why="hang")).where == where
    assert blame.waiters(text) == waiters


def test_a_prompt_before_a_message_hides_no_stack() -> None:
    """A shell prints it while another CPU writes to the console, as seen in a real run."""
    text = decode((DATA / "user-loop.log").read_bytes())
    prompted = re.sub(r"^(?=\[ .*\] (?:CPU: |task:))", "hgm-emergency# ", text, flags=re.MULTILINE)
    assert prompted != text
    assert blame.of_hang("fault", prompted, (), capture()).where == "user mode, in the probe"


def test_an_interrupt_of_arm64_is_not_blamed_but_what_it_interrupts() -> None:
    """A deadlock on the CPU that answers sysrq: its program counter is a frame, and no register."""
    text = decode((DATA / "arm64-user-loop.log").read_bytes()).partition(" default_idle_call")[0]
    text = text.replace("Comm: swapper/0", "Comm: crash").replace("PID: 0", "PID: 70")
    text += """ queued_spin_lock_slowpath+0x70/0x390
[   79.400000]  _raw_spin_lock+0x5c/0x68
[   79.400000]  hugetlb_fault+0x12/0xa0
[   79.400000]  do_mem_abort+0x48/0xa0
[   79.400000]  el1_abort+0x3c/0x60
[   79.400000]  el1h_64_sync+0x64/0x68
[   79.400000]  userfaultfd_read+0x7c/0x120
[   79.400000]  vfs_read+0x7c/0x120
[   79.400000]  __arm64_sys_read+0x24/0x38
"""
    hang = blame.of_hang("crash", text, (), Capture(why="hang"))
    spinning = "hugetlb_fault+0x12/0xa0, waiting in queued_spin_lock_slowpath, on CPU 0"
    assert hang.where == spinning
    assert hang.chain == (
        "crash (pid 70) on CPU 0 is in read, in a page fault: spins for a spinlock in "
        "hugetlb_fault <- userfaultfd_read"
    )


@pytest.mark.parametrize(
    ("link", "caller"),
    [
        ("page_table_deadlock+0x94/0x98", "page_table_deadlock+0x94/0x98"),
        ("hgm_crashes_write+0xc4/0xd8", "hgm_crashes_write+0xc4/0xd8"),
        ("queued_spin_lock_slowpath+0x20/0x2c8", "hgm_crashes_write+0xc4/0xd8"),
    ],
)
def test_the_caller_of_a_function_of_arm64_without_a_stack_frame(link: str, caller: str) -> None:
    """As 6.12.118 printed it; the link register is the caller's, or of an earlier call."""
    text = f"""\
[   30.604585] CPU: 0 UID: 0 PID: 59 Comm: crash Not tainted 6.12.118 #1
[   30.604749] Hardware name: linux,dummy-virt (DT)
[   30.604855] pstate: 01000005 (nzcv daif -PAN -UAO -TCO +DIT -SSBS BTYPE=--)
[   30.604887] pc : queued_spin_lock_slowpath+0x54/0x2c8
[   30.604926] lr : {link}
[   30.604948] sp : fff000000388bca0
[   30.605410] x2 : 0000000000000000 x1 : 0000000000000001 x0 : ffffc1ffc00e2ee8
[   30.605488] Call trace:
[   30.605510]  queued_spin_lock_slowpath+0x54/0x2c8
[   30.605540]  hgm_crashes_write+0xc4/0xd8
[   30.605560]  vfs_write+0x84/0x2f0
[   30.605578]  __arm64_sys_write+0x18/0x20
"""
    hang = blame.of_hang("crash", text, (), Capture(why="hang"))
    assert hang.where == f"{caller}, waiting in queued_spin_lock_slowpath, on CPU 0"
    assert "spins for a page-table lock" in hang.chain


@pytest.mark.parametrize(
    ("pc", "where"),
    [
        (0xFFFF8000804762C4, "page_table_deadlock at mm/hgm_crashes.c:110"),
        (0xFFFF8000802E068C, "hgm_crashes_write at mm/hgm_crashes.c:261"),
    ],
    ids=["in the innermost function", "elsewhere by now"],
)
def test_the_caller_that_a_cpu_of_arm64_does_not_show_of_itself(pc: int, where: str) -> None:
    """It answers sysrq in an interrupt, whose trace of 6.12.118 has no registers."""
    text = """\
[    5.122284] CPU: 0 UID: 0 PID: 59 Comm: crash Not tainted 6.12.118 #1
[    5.122473] Call trace:
[    5.122616]  handle_sysrq+0x2c/0x38
[    5.122714]  el1h_64_irq+0x64/0x68
[    5.122721]  queued_spin_lock_slowpath+0x3c/0x2c8
[    5.122730]  hgm_crashes_write+0xc4/0xd8
[    5.122751]  vfs_write+0x84/0x2f0
[    5.122768]  __arm64_sys_write+0x18/0x20
"""
    seen = Vcpu(number=0, pc=pc, level=0, halted=False, link=0xFFFF80008017FE78)
    symbols = {
        "0xffff8000804762c4": ("queued_spin_lock_slowpath+0x3c/0x2bc",),
        "0xffff8000802e068c": ("vp_notify+0x0/0x18",),
        "0xffff80008017fe77": (
            "queued_spin_lock at include/asm-generic/qspinlock.h:114",
            "page_table_deadlock at mm/hgm_crashes.c:110",
        ),
        "hgm_crashes_write+0xc4/0xd8": ("hgm_crashes_write at mm/hgm_crashes.c:261",),
    }
    taken = Capture(why="hang", vcpus=(seen,), symbols=symbols)
    hang = blame.of_hang("crash", text, (), taken)
    assert hang.where == f"{where}, waiting in queued_spin_lock_slowpath, on CPU 0"


@pytest.mark.parametrize(
    ("level", "where"),
    [
        (3, "user mode, in the probe"),
        (0, "rcu_sched_clock_irq+0x19d/0xab0, on CPU 1"),  # a handler may well be what hangs
    ],
)
def test_a_loop_in_user_mode_is_not_blamed_on_a_timer_tick(level: int, where: str) -> None:
    text = decode((DATA / "user-loop-in-a-tick.log").read_bytes())
    seen = (
        Vcpu(number=0, pc=0xFFFFFFFF812A28A3, level=0, halted=True, busy=0.01),
        Vcpu(number=1, pc=0x40190A, level=level, halted=False, busy=0.99),
    )
    assert blame.of_hang("crash", text, (), Capture(why="hang", vcpus=seen)).where == where


@pytest.mark.parametrize(
    ("console", "where"),
    [
        (
            SPIN,
            SPINNING,
        ),
        (PANICKED, "interrupts_off_loop+0x2/0x8, on CPU 0"),
        (BLOCKED, "hugetlb_fault at mm/hugetlb.c:812, state D"),
        (
            BLOCKED + SPIN.replace("fault Not", "other Not"),
            "hugetlb_fault at mm/hugetlb.c:812, state D",
        ),
        (SPIN + IN_A_SYSCALL, SPINNING),
        (USER_MODE, "user mode, in the probe"),
        (USER_MODE_UNDER_AN_NMI, "user mode, in the probe"),
        (WAITING + USER_MODE, "user mode, in the probe"),
        (WAITING, "do_poll+0x1/0x2, state S"),
        (BLOCKED + USER_MODE, "hugetlb_fault at mm/hugetlb.c:812, state D"),
        ("", ""),
    ],
)
def test_of_hang(console: str, where: str) -> None:
    assert blame.of_hang("fault", console, (), capture()).where == where


def splat(kind: str, text: str) -> Splat:
    block = tuple(line.partition("] ")[2] for line in text.splitlines())
    return Splat(kind=kind, title=block[0], block=block, offset=0)


def test_a_hang_detectors_stack_comes_before_those_of_the_capture() -> None:
    lockup = splat("hard-lockup", SPIN + IN_A_SYSCALL)
    for captured in ("", WAITING, SPIN.replace("_raw_spin_lock", "nmi_handle")):
        assert blame.of_hang("fault", captured, (lockup,), capture()).where == SPINNING


def test_a_report_does_not_count_once_its_task_was_seen_elsewhere() -> None:
    lockup = splat("soft-lockup", SPIN + IN_A_SYSCALL)
    moved = WAITING.replace("pid:56 ", "pid:57 ")
    assert blame.of_hang("fault", moved, (lockup,), capture()).where == "do_poll+0x1/0x2, state S"
    running = USER_MODE
    assert blame.of_hang("fault", running, (lockup,), capture()).where == "user mode, in the probe"


@pytest.mark.parametrize(
    ("log", "program", "where"),
    [
        ("soft-lockup", "init", "lkdtm_SOFTLOCKUP+0x9/0x10, on CPU 0"),
        ("rcu-stall", "insmod", "provoke_init+0x8c7/0x1000, on CPU 0"),
        ("hung-task", "init", "lkdtm_HUNG_TASK+0x44/0x50, state D"),
        ("hard-lockup", "crash", "lkdtm_HARDLOCKUP+0x3/0x10, on CPU 0"),
        ("hard-lockup-then-rcu-stall", "crash", "interrupts_off_loop+0x3/0x10, on CPU 1"),
    ],
)
def test_recorded_reports_of_hang_detectors(log: str, program: str, where: str) -> None:
    found = dmesg.scan(decode((CONSOLES / f"{log}.log").read_bytes()))
    assert blame.of_hang(program, "", found, Capture(why="hang")).where == where


def test_an_earlier_splat_is_not_where_a_probe_hangs() -> None:
    warned = splat("warning", SPIN.replace("native_queued_spin_lock_slowpath", "warned"))
    vcpu = Vcpu(number=1, pc=0xFFFFFFFF81000072, level=0, halted=False)
    where = blame.of_hang("fault", "", (warned,), capture(vcpu)).where
    assert where == "hugetlb_fault at mm/hugetlb.c:812, on CPU 1"
    assert blame.of_hang("fault", SPIN, (warned,), capture(vcpu)).where == SPINNING


@pytest.mark.parametrize(
    ("vcpus", "where"),
    [
        ((Vcpu(number=0, pc=0xFFFFFFFF81000072, level=0, halted=True),), ""),
        (
            (
                Vcpu(number=0, pc=0x401000, level=3, halted=False, busy=1.0),
                Vcpu(number=1, pc=0xFFFFFFFF81000072, level=0, halted=False, busy=0.9),
            ),
            "hugetlb_fault at mm/hugetlb.c:812, on CPU 1",
        ),
        (
            (Vcpu(number=0, pc=0x401000, level=3, halted=False),),
            "user mode at 0x401000, on CPU 0",
        ),
        (
            (Vcpu(number=0, pc=0xFFFFFFFF81999999, level=0, halted=False),),
            "0xffffffff81999999, on CPU 0",
        ),
    ],
)
def test_program_counters_are_used_where_the_kernel_prints_nothing(
    vcpus: tuple[Vcpu, ...], where: str
) -> None:
    assert blame.of_hang("fault", "", (), capture(*vcpus)).where == where


def test_a_crash_is_blamed_on_its_fatal_splat() -> None:
    block = ("kernel BUG at mm/hugetlb.c:812!", "RIP: 0010:hugetlb_fault+0x12/0xa0")
    splat = Splat(kind="bug", title=block[0], block=block, offset=0)
    assert blame.of_crash((splat,), capture()) == "hugetlb_fault at mm/hugetlb.c:812"
    assert blame.of_crash((splat,), None) == "hugetlb_fault+0x12/0xa0"
    assert blame.of_crash((), None) == ""


WAITS_FOR_A_MUTEX = """\
[    9.000000] task:fault           state:D stack:0     pid:56    tgid:56    ppid:40     flags:0x0
[    9.000000] Call Trace:
[    9.000000]  <TASK>
[    9.000000]  __schedule+0x1/0x2
[    9.000000]  schedule+0x1/0x2
[    9.000000]  schedule_preempt_disabled+0x1/0x2
[    9.000000]  __mutex_lock.constprop.0+0x1/0x2
[    9.000000]  __mutex_lock_slowpath+0x1/0x2
[    9.000000]  mutex_lock+0x1/0x2
[    9.000000]  hugetlb_fault+0x12/0xa0
[    9.000000]  handle_mm_fault+0x1/0x2
[    9.000000]  asm_exc_page_fault+0x1/0x2
"""

# kernel/locking/lockdep.c: lockdep_print_held_locks
LOCKS = """\
[    9.000000] Showing all locks held in the system:
[    9.000000] 2 locks held by holder/30:
[    9.000000]  #0: ffffffff82bc5c60 (&hugetlb_fault_mutex_table[i]){+.+.}-{4:4}, at: f+0x1/0x2
[    9.000000]  #1: ffffffff82bc5d60 (&mm->mmap_lock){++++}-{4:4}, at: f+0x1/0x2
[    9.000000] 2 locks held by fault/56:
[    9.000000]  #0: ffffffff82bc5e60 (&vma->vm_lock->lock){++++}-{4:4}, at: g+0x1/0x2
[    9.000000]  #1: ffffffff82bc5c60 (&hugetlb_fault_mutex_table[i]){+.+.}-{4:4}, at: g+0x1/0x2
"""

MUTEX_CHAIN = "in hugetlb_fault (mm/hugetlb.c:812)"


@pytest.mark.parametrize(
    ("console", "post_mortem", "held"),
    [
        ("", "", ""),
        (LOCKS, "", ", held by holder (pid 30),"),
        (
            LOCKS.replace("82bc5c60", "82bc5a60", 1).replace("82bc5e60", "82bc5c60"),
            "",
            ", held by itself,",
        ),
        (
            LOCKS.replace(
                "82bc5c60 (&hugetlb_fault_mutex_table[i]){+.+.}-{4:4}, at: f", "0 (x), at"
            ),
            "",
            "",
        ),
        ("", "fault[56] waits for struct mutex m, held by a b[12]", ", held by a b (pid 12),"),
        ("", "fault[56] waits for struct mutex m, held by fault[56]", ", held by itself,"),
        (
            "",
            "fault[56] waits for struct rw_semaphore 0x1, held by a[12] and perhaps other readers",
            ", held by a (pid 12) and perhaps other readers,",
        ),
        ("", "fault[56] waits for struct mutex m, whose holder is not known", ""),
        ("", "fault[57] waits for struct mutex m, held by a[12]", ""),
    ],
)
def test_who_holds_the_lock_is_told_where_it_is_known(
    console: str, post_mortem: str, held: str
) -> None:
    found = blame.of_hang("fault", WAITS_FOR_A_MUTEX + console, (), capture(), post_mortem)
    assert (
        found.chain == f"fault (pid 56) is in a page fault: waits for a mutex{held} {MUTEX_CHAIN}"
    )
    assert found.where == (
        "hugetlb_fault at mm/hugetlb.c:812, waiting in __mutex_lock.constprop.0, state D"
    )


def test_a_hung_tasks_report_may_name_the_holder() -> None:
    title = "INFO: task fault:56 is blocked on a mutex likely owned by task keeper:31."
    hung = Splat(kind="hung-task", title=title, block=(title,), offset=0)
    found = blame.of_hang("fault", WAITS_FOR_A_MUTEX, (hung,), capture())
    assert "waits for a mutex, held by keeper (pid 31), in hugetlb_fault" in found.chain


def test_two_that_wait_for_a_lock_do_not_both_hold_it() -> None:
    other = WAITS_FOR_A_MUTEX.replace("pid:56 ", "pid:30 ").replace("task:fault ", "task:holder")
    lists = LOCKS.replace(" #1: ffffffff82bc5d60", " #1: ffffffff82bc5c60")
    one_lock = "\n".join(line for line in lists.splitlines() if " #0:" not in line)
    found = blame.of_hang("fault", WAITS_FOR_A_MUTEX + other + one_lock, (), capture())
    assert "held by" not in found.chain
    assert "; holder (pid 30) is in a page fault: waits for a mutex in hugetlb_fault" in found.chain


@pytest.mark.parametrize(
    ("mine", "theirs", "what"),
    [
        (0xFFD4000004267DE8, 0xFFD4000004268128, ("a page-table lock", "another page-table lock")),
        (0xFFD4000004267DE8, 0xFFD4000004267DE8, ("a page-table lock", "the same page-table lock")),
        (0xFF11000004267DE8, 0xFF11000004268128, ("a spinlock", "another spinlock")),
        (0, 0, ("a spinlock", "a spinlock")),
    ],
)
def test_two_cpus_that_spin(mine: int, theirs: int, what: tuple[str, str]) -> None:
    def spins(cpu: int, name: str, lock: int) -> str:
        rdi = f"[    9.000000] RDX: 0 RSI: 0000000000000001 RDI: {lock:016x}\n" if lock else ""
        text = SPIN.replace("CPU: 1", f"CPU: {cpu}").replace("PID: 57", f"PID: {56 + cpu}")
        return text.replace("fault Not", f"{name} Not").replace(
            "[    9.000000] Call Trace:", f"{rdi}[    9.000000] Call Trace:"
        )

    console = spins(1, "fault", mine) + spins(0, "kworker/0:1", theirs)
    chain = blame.of_hang("fault", console, (), capture()).chain
    assert f"fault (pid 57) on CPU 1 spins for {what[0]} in page_table_deadlock (mm/hgm_" in chain
    assert f"; kworker/0:1 (pid 56) on CPU 0 spins for {what[1]} in page_table_deadlock" in chain


@given(
    st.text()
    | st.lists(st.sampled_from((SPIN + PANICKED + BLOCKED + LOCKS).splitlines())).map("\n".join)
)
def test_never_raises(text: str) -> None:
    blame.of_hang("fault", text, (), capture())
    blame.waiters(text)
