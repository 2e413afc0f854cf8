# SPDX-License-Identifier: GPL-2.0-only
"""Hangs of real kernels, judged from their recorded evidence: the line that a maintainer reads."""

from pathlib import Path

import msgspec
import pytest

from harness.judge.lines import decode
from harness.judge.probe_verdict import ConsoleSlice, judge_probe
from harness.records.probe import Capture, ProbeEvidence, ProbeResult
from harness.store import rundir, upgrade

DATA = Path(__file__).parents[2] / "data" / "hang"


def judged(case: str) -> ProbeResult:
    """Judge the files of a case; ``console.log`` begins where its probe does."""
    directory = DATA / case
    evidence = msgspec.convert(
        upgrade.evidence(msgspec.json.decode((directory / "evidence.json").read_bytes())),
        ProbeEvidence,
    )
    capture = msgspec.convert(
        upgrade.capture(msgspec.json.decode((directory / "capture.json").read_bytes())), Capture
    )
    console = (directory / "console.log").read_bytes()
    post_mortem = rundir.read_post_mortem(directory)
    began, ended = (
        offset - evidence.console_from for offset in (capture.console_from, evidence.console_to)
    )
    return judge_probe(
        evidence,
        decode((directory / "ktap").read_bytes()),
        "",
        ConsoleSlice(
            decode(console[:began]),
            ended,
            capture,
            decode(console[began:]),
            post_mortem=decode(post_mortem),
        ),
    )


# What was said until now, and why it was wrong, is in docs/results/2026-11-27-blame.md.
CASES = {
    # Both CPUs spin on a page-table lock; no list of tasks could be had, and the processes of this
    # kernel selftest have another name than the shell that is started.
    "fork-two-cpus": (
        "__pmd_trans_huge_lock, waiting in queued_spin_lock_slowpath, on CPU 0",
        "hugetlb-hgm (pid 58) on CPU 0 is in clone: spins for a page-table lock in "
        "__pmd_trans_huge_lock <- zap_huge_pmd <- ... <- exit_mmap <- mmput <- copy_process; "
        "hugetlb-hgm (pid 59) on CPU 1 is in read, in a page fault: spins for another page-table "
        "lock in do_huge_pmd_wp_page <- ... <- userfaultfd_read; ",
    ),
    # The seeded fault mutex-left-held-on-efault: the task itself took the mutex in an earlier call.
    "mutex-left-held": (
        "mfill_atomic_continue at mm/userfaultfd.c:912, "
        "waiting in __mutex_lock.constprop.0, state D",
        "continue_refuse (pid 65) is in ioctl: waits for a mutex, held by itself, in "
        "mfill_atomic_continue (mm/userfaultfd.c:912) <- userfaultfd_ioctl",
    ),
    # The seeded fault collapse-waits-for-folio: each sleeper holds what the other waits for.
    "two-tasks-crossed": (
        "collect_procs_file.isra.0, waiting in rwsem_down_read_slowpath, state D",
        "memory_failure (pid 64) is in madvise: waits for an rwsem (read) in "
        "collect_procs_file.isra.0 <- hwpoison_user_mappings <- memory_failure <- do_madvise; "
        "memory_failure (pid 70) is in madvise: waits for a folio's lock or writeback in "
        "hugetlb_collapse <- do_madvise; ",
    ),
    # The others are of crashes-6.12. No list names the holder of this one; the memory dump does.
    "mutex-of-a-sleeper": (
        "mutex_of_a_sleeper at mm/hgm_crashes.c:128, waiting in __mutex_lock.constprop.0, state D",
        "crash (pid 57) is in write: waits for a mutex, held by hgm-holder (pid 58), in "
        "mutex_of_a_sleeper (mm/hgm_crashes.c:128) <- hgm_crashes_write <- full_proxy_write; "
        "hgm-holder (pid 58) is a kernel thread: sleeps in sleep_with_mutex "
        "(mm/hgm_crashes.c:118)",
    ),
    "page-tables-crossed": (
        "take_both at mm/hgm_crashes.c:147, waiting in queued_spin_lock_slowpath, on CPU 0",
        "crash (pid 58) on CPU 0 is in write: spins for a page-table lock in take_both "
        "(mm/hgm_crashes.c:147) <- page_tables_crossed <- hgm_crashes_write <- full_proxy_write; "
        "hgm-crossed (pid 59) on CPU 1 is a kernel thread: spins for another page-table lock in "
        "take_both (mm/hgm_crashes.c:147)",
    ),
    # No lock is waited for: the event came, and nothing woke the task.
    "lost-wakeup": (
        "lost_wakeup at mm/hgm_crashes.c:183, state D",
        "before its first result; crash (pid 59) is in write: sleeps in lost_wakeup "
        "(mm/hgm_crashes.c:183) <- hgm_crashes_write <- full_proxy_write",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_line_says_who_waits_for_what_and_where(case: str) -> None:
    found = judged(case)
    where, chain = CASES[case]
    assert found.status == "HANG"
    assert found.blame == where
    assert chain in found.reason


def test_the_sender_of_an_nmi_is_not_blamed() -> None:
    found = judged("fork-two-cpus")
    assert "native_apic_mem_write" not in found.reason + found.blame
