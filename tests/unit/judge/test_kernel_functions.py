# SPDX-License-Identifier: GPL-2.0-only
"""The tables of functions that a hang is not blamed on, and of what tasks wait for."""

import pytest

from harness.judge import kernel_functions
from harness.judge.kernel_functions import BYSTANDERS, WAITS, Bystander, Wait


@pytest.mark.parametrize("row", BYSTANDERS, ids=lambda row: row.kind)
def test_a_row_of_bystanders_has_its_examples_and_no_other_row_has_them(row: Bystander) -> None:
    assert row.examples
    assert row.why
    for name in row.examples:
        assert kernel_functions.bystander(name) == row, name


@pytest.mark.parametrize("row", WAITS, ids=lambda row: row.what)
def test_a_row_of_waits_has_its_examples_and_no_other_row_has_them(row: Wait) -> None:
    assert row.examples
    for name in row.examples:
        assert kernel_functions.wait([name, "its_caller"]) == row, name


@pytest.mark.parametrize(
    "name",
    [
        "hugetlb_fault",
        "handle_userfault",
        "madvise_collapse",
        "exit_mmap",
        "__unmap_hugepage_range",
        "do_poll",
        "schedule_on_each_cpu",
        "page_table_check_clear",
        "tlb_batch_pages_flush",
        "rcu_stall",
        "lkdtm_SOFTLOCKUP",
        "panic_on_purpose",
        "do_user_addr_fault",
        "copy_user_generic_string",
        "synchronize_rcu",
        "interrupts_off_loop",
    ],
)
def test_what_may_hang_is_not_a_bystander(name: str) -> None:
    assert kernel_functions.bystander(name) is None


@pytest.mark.parametrize(
    ("functions", "explains"),
    [
        ([], None),
        (["schedule", "__mutex_lock", "hugetlb_fault", "asm_exc_page_fault"], "hugetlb_fault"),
        (
            ["native_apic_mem_write", "smp_call_function_many_cond", "flush_tlb_mm_range"],
            "flush_tlb_mm_range",
        ),
        (["native_apic_mem_write", "tick_nohz_handler", "asm_sysvec_apic_timer_interrupt"], None),
        (["dump_stack", "nmi_cpu_backtrace", "write_sysrq_trigger", "proc_reg_write"], None),
        (["pv_native_safe_halt", "default_idle", "do_idle", "start_kernel"], None),
    ],
)
def test_explaining(functions: list[str], explains: str | None) -> None:
    index = kernel_functions.explaining(functions)
    assert (None if index is None else functions[index]) == explains


@pytest.mark.parametrize(
    ("arch", "address", "expected"),
    [
        ("x86_64", 0xFFD4000004267DE8, True),  # five levels of page tables
        ("x86_64", 0xFFFFEA0004268128, True),  # four
        ("x86_64", 0xFF110001098C4090, False),  # the direct mapping: an allocated lock
        ("x86_64", 0xFFFFFFFF825CAF40, False),  # a variable of the kernel
        ("x86_64", 0xFFFFC90000013D28, False),  # a stack
        ("x86_64", 0, False),
        ("aarch64", 0xFFFFC1FFC09A1DA8, True),  # addresses of 52 bits
        ("aarch64", 0xFFFFFDFFC09A1DA8, True),  # of 48
        ("aarch64", 0xFFF00000C3A14090, False),
        ("aarch64", 0xFFFF0000C3A14090, False),
        ("aarch64", 0xFFFF8000825CAF40, False),  # a variable of the kernel
        ("aarch64", 0xFFFF800080013D28, False),  # a stack
    ],
)
def test_a_spinlock_in_a_struct_page_is_that_of_a_page_table(
    arch: str, address: int, expected: bool
) -> None:
    assert kernel_functions.is_page_table_lock(address, arch) == expected
