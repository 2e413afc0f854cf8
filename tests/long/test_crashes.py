# SPDX-License-Identifier: GPL-2.0-only
"""Real kernels broken in every way that is to be told apart, a guest for each.

LKDTM and kernel-patches/crashes-6.12 do the breaking. All of them run in one go; a test each then
looks at what the record says. docs/evidence.md has the table of these.
"""

import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from harness import session
from harness.deadline import Deadline
from harness.kernel.obtain import KernelRequest
from harness.probes.run import run_probe
from harness.records import Capture, ProbeEvidence, ProbeResult, ProbeSpec, RunRecord, from_json
from harness.reports import postmortem
from harness.reports.progress import PlainProgress
from harness.results import store
from harness.vm import spec as machine_spec
from harness.vm.guest import Guest
from harness.workspace import Workspace
from tests.kernel.conftest import STOCK, machines_left

_SECONDS = 2400.0


class Crash(NamedTuple):
    """A way to break a kernel, and what must be said about it.

    Attributes:
        arguments: of ``crash.c``.
        status: the probe's.
        kind: of a complaint that must be among its own; empty for none at all.
        place: a pattern that the place must match; empty where there is none.
        said: a pattern that the reason must match.
        budget: seconds, before the guest's slowness.
    """

    arguments: tuple[str, ...]
    status: str
    kind: str
    place: str
    said: str = ""
    budget: float = 10.0


_LOCKUP = 60.0  # the detectors, and not the budget, must end these

CRASHES = {
    "panic": Crash(("lkdtm", "PANIC"), "CRASH", "panic", r"lkdtm_PANIC at drivers/misc/lkdtm/"),
    "bug": Crash(
        ("lkdtm", "BUG"), "CRASH", "bug", r"lkdtm_BUG at drivers/misc/lkdtm/bugs\.c:\d+", "BUG at"
    ),
    "oops": Crash(
        ("lkdtm", "EXCEPTION"), "CRASH", "oops", "lkdtm_EXCEPTION at drivers/misc", "NULL"
    ),
    "double-fault": Crash(("hgm", "double-fault"), "CRASH", "double-fault", "double_fault at mm/"),
    "triple-fault": Crash(
        ("hgm", "triple-fault"), "CRASH", "", r"triple_fault at mm/hgm_crashes\.c:\d+", "reset"
    ),
    "dumped-page": Crash(
        ("hgm", "dumped-page"), "CRASH", "bug", r"dumped_page at mm/hgm_crashes\.c:\d+"
    ),
    "warning": Crash(("lkdtm", "WARNING"), "FAIL", "warning", "lkdtm_WARNING at drivers/misc/"),
    "bad-page-state": Crash(("hgm", "bad-page-state"), "FAIL", "bad-page-state", "bad_page_state"),
    "bad-page-map": Crash(("hgm", "bad-page-map"), "FAIL", "bad-page-map", r" at mm/\w+\.c:\d+"),
    "bad-rss-counter": Crash(("hgm", "bad-rss-counter"), "FAIL", "bad-rss-counter", ""),
    "memory-leak": Crash(("hgm", "memory-leak"), "FAIL", "memory-leak", "", budget=60.0),
    "out-of-memory": Crash(("memory",), "FAIL", "out-of-memory", "", "SIGKILL", budget=60.0),
    "hung-task": Crash(
        ("lkdtm", "HUNG_TASK"), "HANG", "hung-task", "lkdtm_HUNG_TASK .*state D", budget=_LOCKUP
    ),
    "soft-lockup": Crash(
        ("lkdtm", "SOFTLOCKUP"), "HANG", "soft-lockup", "lkdtm_SOFTLOCKUP .*CPU", budget=_LOCKUP
    ),
    "hard-lockup": Crash(
        ("lkdtm", "HARDLOCKUP"), "HANG", "hard-lockup", "lkdtm_HARDLOCKUP .*CPU", budget=_LOCKUP
    ),
    "rcu-stall": Crash(
        ("hgm", "rcu-stall"), "HANG", "rcu-stall", r"rcu_stall at mm/.*CPU", budget=_LOCKUP
    ),
    "page-table-deadlock": Crash(
        ("hgm", "page-table-deadlock"),
        "HANG",
        "",
        r"page_table_deadlock at mm/hgm_crashes\.c:\d+, waiting in .*spin.*, on CPU \d",
        budget=2.0,
    ),
    "interrupts-off-loop": Crash(
        ("hgm", "interrupts-off-loop"),
        "HANG",
        "",
        r"interrupts_off_loop at mm/hgm_crashes\.c:\d+, on CPU \d",
        budget=2.0,
    ),
    "userfaultfd": Crash(
        ("userfaultfd",),
        "HANG",
        "",
        r"handle_userfault at fs/userfaultfd\.c:\d+, state S",
        r"waits for userfaultfd: crash\[\d+\]",
        budget=3.0,
    ),
    "user-loop": Crash(("loop",), "HANG", "", "user mode", budget=3.0),
}


class Broken(NamedTuple):
    """A run in which every guest was broken."""

    run_dir: Path
    record: RunRecord
    bench: session.Bench

    def probe(self, name: str) -> ProbeResult:
        return next(probe for probe in self.record.probes if probe.name == f"crash/{name}")

    def file(self, name: str, file: str) -> bytes:
        return (self.run_dir / self.probe(name).directory / file).read_bytes()


def specs() -> tuple[ProbeSpec, ...]:
    return tuple(
        ProbeSpec(
            name=f"crash/{name}",
            shows="",
            source="c/crash.c",
            language="c",
            arguments=crash.arguments,
            budget=crash.budget,
        )
        for name, crash in CRASHES.items()
    )


@pytest.fixture(scope="module")
def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[session.Bench]:
    """The kernel that can be broken, and a small machine."""
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled(), PlainProgress(sys.stderr) as progress:
        tools = session.Tools(
            Workspace.default(), Deadline.after(_SECONDS, "the crashes"), progress
        )
        subject = session.Subject(
            kernel=KernelRequest(
                source=os.environ.get("HGM_CRASH_KERNEL", STOCK),
                series="crashes-6.12",
                features=("debuginfo", "crashes"),
            ),
            machine=machine_spec.machine(machine_spec.parse_hugepages("2M:8"), memory=2**29),
        )
        directory = tmp_path_factory.mktemp("bench")
        yield session.prepare(subject, specs(), tools, directory, session.Onlooker(progress))


@pytest.fixture(scope="module")
def broken(bench: session.Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    """Break a guest in every way."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HGM_VMCORES", "99")
    run_dir = tmp_path_factory.mktemp("crashes")
    kept = store.RunStore(run_dir)
    session.run_probes(bench, specs(), kept)
    yield Broken(run_dir, kept.record, bench)
    patch.undo()


@pytest.mark.parametrize("name", CRASHES)
def test_a_crash_is_what_it_is_called(broken: Broken, name: str) -> None:
    crash, found = CRASHES[name], broken.probe(name)
    assert found.status == crash.status, found.reason
    kinds = [splat.kind for splat in found.splats]
    assert crash.kind in kinds if crash.kind else not kinds
    assert re.search(crash.place, found.place), found.place
    assert re.search(crash.said, found.reason), found.reason
    evidence = from_json(broken.file(name, store.EVIDENCE), ProbeEvidence)
    assert found.seconds < evidence.budget + 60.0
    for file in found.evidence:
        assert (broken.run_dir / file).stat().st_size > 0


def test_nothing_is_left_running_and_every_guest_is_a_new_one(broken: Broken) -> None:
    assert machines_left() == []
    console = (broken.run_dir / store.SERIAL).read_text(errors="replace")
    assert console.count("Linux version 6.12") == len(CRASHES)


@pytest.mark.parametrize(
    "name", [name for name, crash in CRASHES.items() if crash.status != "FAIL"]
)
def test_what_is_left_is_looked_at(broken: Broken, name: str) -> None:
    capture = from_json(broken.file(name, store.CAPTURE), Capture)
    outcomes = {step.name: step.outcome for step in capture.steps}
    assert outcomes["registers"] == outcomes["vmcore"] == outcomes["symbols"] == "ok", outcomes
    assert [vcpu.number for vcpu in capture.vcpus] == [0, 1]
    assert sum(step.seconds for step in capture.steps) < 240.0


def test_a_hang_is_asked_for_its_lists(broken: Broken) -> None:
    capture = from_json(broken.file("userfaultfd", store.CAPTURE), Capture)
    outcomes = {step.name: step.outcome for step in capture.steps}
    assert outcomes["sysrq-w"] == outcomes["sysrq-l"] == outcomes["sysrq-t"] == "ok", outcomes
    assert b"handle_userfault" in broken.file("userfaultfd", "sysrq-t.txt")


def test_a_page_dump_before_a_bug_belongs_to_it(broken: Broken) -> None:
    fatal = next(splat for splat in broken.probe("dumped-page").splats if splat.kind == "bug")
    assert any(line.startswith("page: refcount:1") for line in fatal.block)
    assert any("page dumped because: hgm_crashes" in line for line in fatal.block)


def test_traces_are_decoded(broken: Broken) -> None:
    text = broken.file("dumped-page", "decoded.log").decode(errors="replace")
    assert re.search(r"RIP: 0010:dumped_page\S+ \(mm/hgm_crashes\.c:\d+", text)


def test_an_old_run_is_judged_again_from_its_files(broken: Broken) -> None:
    again = store.rejudge(broken.run_dir)
    assert again.probes == broken.record.probes
    assert again.splats == broken.record.splats == ()


def test_post_mortem(broken: Broken) -> None:
    vmcore = broken.run_dir / broken.probe("dumped-page").directory / "vmcore"
    dump = postmortem.Dump("crash/dumped-page", vmcore, "crash")
    kernel = broken.bench.kernel
    said = postmortem.write(
        dump, Path(kernel.vmlinux), kernel.release, Deadline.after(300.0, "drgn")
    )
    parts = dict(part.split("\n", 1) for part in said.split("==== ")[1:])
    assert re.match(r"crash\[\d+\] state \w CPU \d", parts["the task that panicked"])
    assert "dumped_page" in parts["the task that panicked"]
    tasks = parts["all tasks"]
    assert "kthreadd[2] " in tasks
    assert "hgm-run[" in tasks
    assert "schedule" in tasks
    assert "2 MiB: total 8, free 7" in parts["pools of huge pages"]
    mappings = parts["hugetlb mappings of crash"]
    assert "shared" in mappings
    assert "hugetlb" in mappings
    assert "pmd: 1 present, 1 writable" in mappings
    assert "cannot be read" not in said


def test_a_qemu_that_is_killed_says_nothing_about_the_kernel(
    bench: session.Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(guest: Guest, *arguments: object, **options: object) -> ProbeEvidence:
        threading.Timer(1.0, lambda: os.kill(guest.qemu.process.pid, 9)).start()
        return run_probe(guest, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(session, "run_probe", killed)
    kept = store.RunStore(tmp_path)
    loop = next(spec for spec in specs() if spec.name == "crash/user-loop")
    session.run_probes(bench, [loop], kept)
    (found,) = kept.record.probes
    assert found.status == "LOST", found.reason
    assert "QEMU ended with exit code 137" in found.reason
    assert machines_left() == []
