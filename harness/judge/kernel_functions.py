# SPDX-License-Identifier: GPL-2.0-only
"""Kernel functions that a hang is not blamed on, and those that tell what a task waits for.

One table each; every row has its reason, and examples that the tests check. Names are those of
Linux 6.1 to 6.19 on x86-64 and arm64.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from harness.arch import arch


class Bystander(NamedTuple):
    """Functions that are on a stack when a kernel hangs without being what hangs.

    Attributes:
        kind: what they are for.
        pattern: matches the start of a function's name.
        why: the reason they are not blamed.
        examples: names that match.
        whole: whether a stack that passes through one is no evidence at all.
    """

    kind: str
    pattern: str
    why: str
    examples: tuple[str, ...]
    whole: bool = False


BYSTANDERS = (
    Bystander(
        "idle",
        r"do_idle\b|cpu_startup_entry\b|default_idle|(?:arch_|mwait_)?cpu_idle|acpi_idle"
        r"|intel_idle|cpuidle_|(?:pv_)?native_safe_halt\b|mwait_idle|rest_init\b|secondary_startup"
        r"|cpu_do_idle\b|secondary_start_kernel\b|__secondary_switched\b",
        "the CPU has nothing to run",
        ("do_idle", "default_idle_call", "pv_native_safe_halt", "arch_cpu_idle", "cpu_do_idle"),
        whole=True,
    ),
    Bystander(
        "sysrq",
        r"_*handle_sysrq\b|sysrq_handle_show|write_sysrq_trigger\b|showacpu\b",
        "the capture asked for this stack: the task is the emergency shell's, or was interrupted",
        ("__handle_sysrq", "sysrq_handle_showallcpus", "write_sysrq_trigger"),
        whole=True,
    ),
    Bystander(
        "NMI sender",
        r"(?:nmi|arch)_trigger_|trigger_(?:all|single|allbutcpu)_|nmi_cpu_backtrace"
        r"|native_apic_(?:mem|msr|icr)_|x2apic_send|_*x2apic_|default_send_IPI|_*default_send_IPI"
        r"|apic_(?:mem|send)_|native_send_call_func|lapic_can_unplug_cpu\b|native_x2apic_"
        r"|arm64_backtrace_ipi\b|smp_cross_call\b|_*ipi_send_mask\b|gic_ipi_send_mask\b",
        "it has the interrupt controller make another CPU print its stack, or end an interrupt",
        (
            "native_apic_mem_write",
            "gic_ipi_send_mask",
            "nmi_trigger_cpumask_backtrace",
            "default_send_IPI_mask",
        ),
    ),
    Bystander(
        "NMI",
        r"(?:asm_)?exc_nmi|end_repeat_nmi|first_nmi|nmi_(?:handle|panic|restore)|default_do_nmi"
        r"|unknown_nmi_error|panic\b|show_regs\b|_*vpanic\b",
        "the NMI of the capture, and the panic that it ends in",
        ("exc_nmi", "asm_exc_nmi", "end_repeat_nmi", "default_do_nmi", "nmi_panic", "panic"),
    ),
    Bystander(
        "IPI sender",
        r"smp_call_function|_*smp_call_single|on_each_cpu|generic_exec_single|csd_lock_wait"
        r"|_*csd_lock_wait|send_call_function_|(?:native_)?smp_send_|arch_send_call_function",
        "it waits for another CPU that does not answer; that CPU, or the caller, is of interest",
        ("smp_call_function_many_cond", "on_each_cpu_cond_mask", "generic_exec_single"),
    ),
    Bystander(
        "printk",
        r"_?v?printk|console_(?:unlock|flush|trylock|emit|lock)|serial8250_|univ8250_|uart_console"
        r"|wait_for_(?:xmitr|lsr)|io_serial_(?:in|out)|(?:nbcon|devkmsg|prb|desc)_\w+|dump_stack"
        r"|pl011_|dump_backtrace|show_(?:stack|trace)|(?:unwind|stack_trace)_|sched_show_task|print_(?:cpu|worker)",
        "it prints, to a slow serial port, what somebody else did",
        ("console_unlock", "vprintk_emit", "_printk", "serial8250_console_write", "dump_stack_lvl"),
    ),
    Bystander(
        "watchdog",
        r"watchdog_|softlockup_|lockup_detector_|is_softlockup|khungtaskd|check_hung|proc_dowatchdog"
        r"|rcu_(?:dump_|check_gp_|stall_)|print_(?:cpu|other)_stall|check_cpu_stall",
        "the detector that reports the hang",
        (
            "watchdog_timer_fn",
            "softlockup_fn",
            "rcu_dump_cpu_stacks",
            "watchdog_buddy_check_hardlockup",
        ),
    ),
    Bystander(
        "tick",
        r"(?:asm_)?_*sysvec_|(?:asm_)?common_interrupt|_*hrtimer_(?:run|interrupt|start|forward)"
        r"|tick_|update_process_times|(?:local_)?apic_timer|scheduler_tick|sched_tick|task_tick_"
        r"|rcu_sched_clock_irq|_*irq_exit|irq_(?:enter|work)|handle_softirqs|_*do_softirq"
        r"|asm_call_irq|call_timer_fn|_*run_timers|run_local_timers|clockevents_|lapic_next_"
        r"|update_wall_time|timekeeping_|ktime_get|kvm_clock|pvclock_"
        r"|el[01][ht]?(?:_64)?_(?:irq|fiq|interrupt)|_*el1_(?:irq|pnmi)|do_interrupt_handler|call_on_irq_stack"
        r"|gic_handle_(?:irq|nmi)|_*gic_handle_|generic_handle_|handle_(?:percpu_devid|fasteoi|irq_)"
        r"|_*handle_irq_event|arch_timer_handler_|do_handle_IPI\b|ipi_handler\b",
        "a timer tick or another interrupt of what the CPU runs",
        (
            "tick_nohz_handler",
            "hrtimer_interrupt",
            "update_process_times",
            "rcu_sched_clock_irq",
            "sysvec_apic_timer_interrupt",
            "asm_sysvec_apic_timer_interrupt",
            "el1h_64_irq_handler",
            "generic_handle_domain_irq",
        ),
    ),
    Bystander(
        "scheduler",
        r"_*(?:schedule|(?:io_|preempt_)?schedule(?:_(?:timeout|hrtimeout|preempt|idle|prepare|loop)\w*)?"
        r"|io_schedule\w*|preempt_schedule\w*|switch_to\w*|context_switch|cond_resched)\b",
        "every sleeping task is in it; its caller sleeps",
        (
            "__schedule",
            "__schedule_loop",
            "schedule",
            "schedule_timeout",
            "io_schedule",
            "schedule_preempt_disabled",
        ),
    ),
    Bystander(
        "lock",
        r"_*(?:native_|pv_|kvm_)?(?:queued_(?:spin|read|write)|(?:do_)?raw_(?:spin|read|write)_)"
        r"|_*(?:rep_nop|cpu_relax|delay|const_udelay|lock_acquire|pv_wait|kvm_wait)"
        r"|_*mutex_lock|_*down_(?:read|write)|rwsem_|osq_|_*rt_mutex|percpu_(?:rwsem|down)"
        r"|_*wait_for_common|_*wait_for_completion|(?:_*folio|_*filemap|_*lock_page)_?(?:lock|wait_bit)"
        r"|_*wait_on_bit|_*filemap_get_folio|bit_wait|out_of_line_wait",
        "where a task waits for a lock or for an event; its caller needs it",
        (
            "native_queued_spin_lock_slowpath",
            "_raw_spin_lock",
            "__mutex_lock",
            "rwsem_down_write_slowpath",
            "down_read",
            "folio_wait_bit_common",
            "__filemap_get_folio",
            "wait_for_completion",
        ),
    ),
)


class Wait(NamedTuple):
    """What a task waits for, by a function on its stack.

    Attributes:
        pattern: matches the start of the function's name.
        verb: what the task does.
        what: what it waits for; empty for nothing that can be named.
        examples: names that match.
    """

    pattern: str
    verb: str
    what: str
    examples: tuple[str, ...]


SPINLOCK = "a spinlock"

#: The first row that matches any function of a stack's innermost ones wins.
WAITS = (
    Wait(
        r"handle_userfault",
        "waits",
        "userfaultfd to resolve its page fault",
        ("handle_userfault",),
    ),
    Wait(
        r"_*(?:native_|pv_)?queued_spin_lock_slowpath|_*do_raw_spin_lock",
        "spins",
        SPINLOCK,
        ("native_queued_spin_lock_slowpath", "queued_spin_lock_slowpath", "do_raw_spin_lock"),
    ),
    Wait(
        r"_*queued_(?:read|write)_lock_slowpath|_*do_raw_(?:read|write)_lock",
        "spins",
        "an rwlock",
        ("queued_write_lock_slowpath", "do_raw_read_lock"),
    ),
    Wait(
        r"_*mutex_lock", "waits", "a mutex", ("__mutex_lock", "mutex_lock", "__mutex_lock_slowpath")
    ),
    Wait(
        r"rwsem_down_read|_*down_read",
        "waits",
        "an rwsem (read)",
        ("rwsem_down_read_slowpath", "down_read_killable"),
    ),
    Wait(
        r"rwsem_down_write|_*down_write",
        "waits",
        "an rwsem (write)",
        ("rwsem_down_write_slowpath", "down_write"),
    ),
    Wait(
        r"_*folio_(?:lock|wait_bit)|_*lock_page",
        "waits",
        "a folio's lock or writeback",
        ("__folio_lock", "folio_wait_bit_common"),
    ),
    Wait(
        r"_*wait_for_(?:common|completion)", "waits", "a completion", ("wait_for_completion_state",)
    ),
    Wait(
        r"(?:smp_call_function|csd_lock_wait|on_each_cpu)",
        "waits",
        "another CPU to answer an IPI",
        ("smp_call_function_many_cond",),
    ),
    Wait(r"_*synchronize_(?:s?rcu|sched)", "waits", "an RCU grace period", ("synchronize_rcu",)),
)

#: What every system call or page fault of a kind passes through; it is left out of a call chain.
GLUE = re.compile(
    r"_*(?:x64|ia32|arm64)_sys_|x64_sys_call\b|_*(?:do|se)_sys_|do_syscall_64\b|ksys_|kernel_clone\b"
    r"|entry_SYSCALL|ret_from_fork|kthread\b|(?:asm_)?exc_page_fault|(?:do_)?user_addr_fault"
    r"|_*handle_mm_fault|vfs_(?:read|write|ioctl)\b"
    r"|invoke_syscall\b|(?:do_)?el0_svc|el[01][ht]_64_sync|el[01]_(?:abort|da)\b|do_mem_abort\b"
    r"|do_(?:page|translation)_fault\b"
)

#: The system call of a stack, by the function of its entry.
SYSCALL = re.compile(r"__(?:x64|arm64|ia32|se|do)_sys_(\w+)")

#: Where a task is in the kernel for a page fault.
PAGE_FAULTS = frozenset({"asm_exc_page_fault", "do_mem_abort"})

#: Functions that take no spinlock but that of a page table.
PAGE_TABLE_LOCKERS = re.compile(
    r"_*p[mu]d_trans_huge_lock|_*pte_offset_map_(?:rw_)?(?:no)?lock|_*pte_map_lock|_*get_locked_pte"
    r"|_*p[mu]d_lock(?:ptr)?\b|_*huge_pte_lock(?:ptr)?\b|_*pte_lockptr\b|_*do_huge_p[mu]d_wp_page"
)


@cache
def bystander(name: str) -> Bystander | None:
    """Return the first row of `BYSTANDERS` for a function; None where there is none."""
    return next((row for row in BYSTANDERS if re.match(row.pattern, name)), None)


def explaining(functions: Sequence[str]) -> int | None:
    """Return the index of the innermost function that explains a hang.

    None where no function does, as on the stack of an idle CPU or of the capture itself.
    """
    rows = [bystander(name) for name in functions]
    if any(row is not None and row.whole for row in rows):
        return None
    return next((index for index, row in enumerate(rows) if row is None), None)


def wait(functions: Sequence[str]) -> Wait | None:
    """Return what a task with this stack waits for, innermost first; None where it is not known."""
    index = explaining(functions)
    for name in functions[: index + 1] if index is not None else ():
        for row in WAITS:
            if re.match(row.pattern, name):
                return row
    return None


def is_page_table_lock(address: int, arch_name: str) -> bool:
    """Return whether a spinlock at this address is that of a page table.

    The only spinlock in a struct page is that of the page table in this page.
    """
    return any(begin <= address < end for begin, end in arch(arch_name).vmemmap)
