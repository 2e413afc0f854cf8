# SPDX-License-Identifier: GPL-2.0-only
"""Real kernels broken in every way that is to be told apart, a guest for each.

LKDTM and kernel-patches/crashes-6.12 do the breaking, of a plain kernel and of one with every
check. All that break a kernel run in one go; a test each then looks at what the record says.
docs/results has the tables of its runs.
"""

import functools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from harness import pipeline
from harness.arch import arch
from harness.context import Context
from harness.deadline import Deadline
from harness.judge import dmesg
from harness.kernel.obtain import KernelRequest
from harness.probes import catalog
from harness.records.base import from_json, to_json
from harness.records.probe import Capture, ProbeEvidence, ProbeResult, ProbeSpec
from harness.records.run import RunRecord
from harness.report.progress import PlainProgress
from harness.run import guests, judging
from harness.run.probe import run_probe
from harness.run.request import RunRequest
from harness.run.subject import Subject
from harness.site import build, names
from harness.store import rundir
from harness.store.history.history import opened
from harness.vm import spec as machine_spec
from harness.vm.console import PROMPT
from harness.vm.guest import Guest
from harness.workspace import Workspace
from tests.kernel.conftest import STOCK, machines_left

_SECONDS = 7200.0

_PLAIN = ("debuginfo", "crashes")

#: The kernels that are broken: their architecture and features, and the memory of their guests.
KERNELS = {
    "plain": ("x86_64", _PLAIN, 2**29),
    # hgm-6.12, which the crashes go on, is for x86-64.
    "arm64": ("aarch64", (*_PLAIN, "no-hgm"), 2**30),
    "checked": ("x86_64", (*_PLAIN, "debug", "kasan", "ubsan"), 2**30),
}


class Crash(NamedTuple):
    """A way to break a kernel, and what must be said about it.

    Attributes:
        arguments: of ``crash.c``.
        status: the probe's.
        kind: of a complaint that must be among its own; empty for none at all, but for what a
            detector of hangs may say.
        place: a pattern that the place must match; empty where there is none.
        said: a pattern that the reason must match.
        budget: seconds, before the guest's timeout_scale.
        kernel: which of `KERNELS` it breaks.
    """

    arguments: tuple[str, ...]
    status: str
    kind: str
    place: str
    said: str = ""
    budget: float = 10.0
    kernel: str = "plain"


_LOCKUP = 60.0  # a detector that is hasty, and not the budget, must end these

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
    "bad-page-state": Crash(
        ("hgm", "bad-page-state"), "FAIL", "bad-page-state", r"bad_page_state at mm/hgm_crashes"
    ),
    "bad-page-map": Crash(("hgm", "bad-page-map"), "FAIL", "bad-page-map", r" at mm/\w+\.c:\d+"),
    "bad-rss-counter": Crash(("hgm", "bad-rss-counter"), "FAIL", "bad-rss-counter", ""),
    "memory-leak": Crash(("hgm", "memory-leak"), "FAIL", "memory-leak", "", budget=60.0),
    "out-of-memory": Crash(("memory",), "FAIL", "out-of-memory", "", "SIGKILL", budget=60.0),
    "hung-task": Crash(
        ("--hasty", "hung-task", "lkdtm", "HUNG_TASK"),
        "HANG",
        "hung-task",
        "lkdtm_HUNG_TASK .*state D",
        budget=_LOCKUP,
    ),
    "soft-lockup": Crash(
        ("--hasty", "lockup", "lkdtm", "SOFTLOCKUP"),
        "HANG",
        "soft-lockup",
        "lkdtm_SOFTLOCKUP .*CPU",
        budget=_LOCKUP,
    ),
    "hard-lockup": Crash(
        ("--hasty", "lockup", "lkdtm", "HARDLOCKUP"),
        "HANG",
        "hard-lockup",
        "lkdtm_HARDLOCKUP .*CPU",
        budget=_LOCKUP,
    ),
    "rcu-stall": Crash(
        ("--hasty", "rcu", "hgm", "rcu-stall"),
        "HANG",
        "rcu-stall",
        r"rcu_stall at mm/.*CPU",
        budget=_LOCKUP,
    ),
    "page-table-deadlock": Crash(
        ("hgm", "page-table-deadlock"),
        "HANG",
        "",
        r"page_table_deadlock at mm/hgm_crashes\.c:\d+, waiting in .*spin.*, on CPU \d",
        budget=2.0,
    ),
    "page-tables-crossed": Crash(
        ("hgm", "page-tables-crossed"),
        "HANG",
        "",
        r"take_both at mm/hgm_crashes\.c:\d+, waiting in .*spin.*, on CPU \d",
        r"crash \(pid \d+\) on CPU \d is in write: spins for a page-table lock in take_both .*"
        r"; hgm-crossed \(pid \d+\) on CPU \d is a kernel thread: spins for another",
        budget=2.0,
    ),
    "mutex-of-a-sleeper": Crash(
        ("hgm", "mutex-of-a-sleeper"),
        "HANG",
        "",
        r"mutex_of_a_sleeper at mm/hgm_crashes\.c:\d+, waiting in __mutex_lock.*, state D",
        r"is in write: waits for a mutex, held by hgm-holder \(pid \d+\), in mutex_of_a_sleeper .*"
        r"; hgm-holder \(pid \d+\) is a kernel thread: sleeps in sleep_with_mutex",
        budget=2.0,
    ),
    "lost-wakeup": Crash(
        ("hgm", "lost-wakeup"),
        "HANG",
        "",
        r"lost_wakeup at mm/hgm_crashes\.c:\d+, state D",
        r"crash \(pid \d+\) is in write: sleeps in lost_wakeup \(mm/hgm_crashes\.c:\d+\)",
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
        r"waiting for userfaultfd: crash\[\d+\]",
        budget=3.0,
    ),
    "user-loop": Crash(("loop",), "HANG", "", "user mode", budget=3.0),
    "kfence": Crash(
        ("lkdtm", "KFENCE_READ_AFTER_FREE"),
        "FAIL",
        "kfence",
        r"lkdtm_KFENCE_READ_AFTER_FREE at drivers/misc/lkdtm/heap\.c:\d+",
        "use-after-free read",
        budget=30.0,
    ),
    "kasan": Crash(
        ("lkdtm", "READ_AFTER_FREE"),
        "FAIL",
        "kasan",
        r"lkdtm_READ_AFTER_FREE at drivers/misc/lkdtm/heap\.c:\d+",
        "slab-use-after-free",
        kernel="checked",
    ),
    "ubsan": Crash(
        ("lkdtm", "ARRAY_BOUNDS"),
        "FAIL",
        "ubsan",
        r"lkdtm_ARRAY_BOUNDS at drivers/misc/lkdtm/bugs\.c:\d+",
        "array-index-out-of-bounds",
        kernel="checked",
    ),
    "lockdep": Crash(
        ("hgm", "lock-order"),
        "FAIL",
        "lockdep",
        r"lock_order at mm/hgm_crashes\.c:\d+",
        "possible circular locking",
        kernel="checked",
    ),
    "lockdep-then-deadlock": Crash(
        ("hgm", "page-table-deadlock"),
        "HANG",
        "lockdep",
        r"page_table_deadlock at mm/hgm_crashes\.c:\d+, waiting in .*spin.*, on CPU \d",
        "possible recursive locking",
        budget=2.0,
        kernel="checked",
    ),
}

#: What the kernel of another architecture prints, or QEMU captures, in another way.
_ON_ARM64 = (
    *("panic", "bug", "oops", "warning", "page-table-deadlock", "mutex-of-a-sleeper"),
    *("interrupts-off-loop", "userfaultfd", "user-loop"),
)
CRASHES |= {f"{name}-on-arm64": CRASHES[name]._replace(kernel="arm64") for name in _ON_ARM64}

_CATALOGUE = catalog.load


class Broken(NamedTuple):
    """A run in which every guest was broken."""

    run_dir: Path
    record: RunRecord

    def probe(self, name: str) -> ProbeResult:
        return next(probe for probe in self.record.probes if probe.name == f"crash/{name}")

    def file(self, name: str, file: str) -> bytes:
        return (self.run_dir / self.probe(name).directory / file).read_bytes()


def specs(sizes: Container[str] = ("1G", "2M")) -> tuple[ProbeSpec, ...]:
    """Return the catalogue, which the known issues name probes of, and the crashes."""
    return _CATALOGUE(sizes=sizes) + tuple(
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


def those_of(kernel: str) -> tuple[str, ...]:
    return tuple(name for name, crash in CRASHES.items() if crash.kernel == kernel)


@pytest.fixture(scope="module")
def context(request: pytest.FixtureRequest) -> Iterator[Context]:
    """Time for two kernels and their guests, and a way to say how far it is."""
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled(), PlainProgress(sys.stderr) as progress:
        yield Context(Workspace.default(), Deadline.after(_SECONDS, "the crashes"), progress)


def break_guests(kernel: str, names: tuple[str, ...], context: Context, runs: Path) -> Broken:
    """Run probes that break a kernel, as `hgm run` would if the catalogue had them."""
    name, features, memory = KERNELS[kernel]
    pages = machine_spec.parse_hugepages("2M:8", name)
    wanted = Subject(
        kernel=KernelRequest(
            source=os.environ.get("HGM_CRASH_KERNEL", STOCK),
            series="crashes-6.12",
            features=features,
            arch=name,
        ),
        machine=machine_spec.machine(pages, memory=memory, arch_name=name),
    )
    probes = tuple(f"crash/{name}" for name in names)
    request = RunRequest(subject=wanted, probes=probes)
    record = pipeline.run(request, runs, context)
    return Broken((runs / "latest").resolve(), record)


@pytest.fixture(scope="module")
def broken(
    context: Context, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Broken]]:
    """Break a guest in every way that a kernel is there for; once for each kernel."""

    @functools.cache
    def run(kernel: str) -> Broken:
        return break_guests(kernel, those_of(kernel), context, tmp_path_factory.mktemp(kernel))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HGM_VMCORES", "99")
        patch.setattr(catalog, "load", specs)
        yield run


@pytest.mark.parametrize("name", CRASHES)
def test_a_crash_is_what_it_is_called(broken: Callable[[str], Broken], name: str) -> None:
    crash = CRASHES[name]
    run = broken(crash.kernel)
    found = run.probe(name)
    assert found.status == crash.status, found.reason
    kinds = [splat.kind for splat in found.splats]
    assert crash.kind in kinds if crash.kind else dmesg.STUCK.issuperset(kinds), kinds
    assert re.search(crash.place, found.blame), found.blame
    assert re.search(crash.said, found.reason), found.reason
    evidence = from_json(run.file(name, rundir.EVIDENCE), ProbeEvidence)
    assert found.seconds < evidence.budget + 60.0
    for file in found.evidence:
        assert (run.run_dir / file).stat().st_size > 0


@pytest.mark.parametrize("kernel", KERNELS)
def test_nothing_is_left_running_and_every_guest_is_a_new_one(
    broken: Callable[[str], Broken], kernel: str
) -> None:
    run = broken(kernel)
    assert run.record.verdict == "FAIL", run.record.reason
    assert machines_left() == []
    console = (run.run_dir / rundir.SERIAL).read_text(errors="replace")
    assert console.count("Linux version 6.12") == len(those_of(kernel))


@pytest.mark.parametrize(
    "name", [name for name, crash in CRASHES.items() if crash.status != "FAIL"]
)
def test_what_is_left_is_looked_at(broken: Callable[[str], Broken], name: str) -> None:
    capture = from_json(broken(CRASHES[name].kernel).file(name, rundir.CAPTURE), Capture)
    outcomes = {step.name: step.result for step in capture.steps}
    assert outcomes["registers"] == outcomes["vmcore"] == outcomes["symbols"] == "ok", outcomes
    assert [vcpu.number for vcpu in capture.vcpus] == [0, 1]
    assert sum(step.seconds for step in capture.steps) < 240.0


def test_a_hang_is_asked_for_its_lists(broken: Callable[[str], Broken]) -> None:
    run = broken("plain")
    capture = from_json(run.file("userfaultfd", rundir.CAPTURE), Capture)
    outcomes = {step.name: step.result for step in capture.steps}
    assert outcomes["sysrq-w"] == outcomes["sysrq-l"] == outcomes["sysrq-t"] == "ok", outcomes
    lists = run.file("userfaultfd", "sysrq-t.txt")
    assert b"handle_userfault" in lists
    assert PROMPT.encode() not in lists  # a break on the serial line, and no shell, asked for it


@pytest.mark.parametrize(
    "name", [name for name, crash in CRASHES.items() if crash.status == "HANG"]
)
def test_every_cpu_of_a_hang_is_seen(broken: Callable[[str], Broken], name: str) -> None:
    kernel = CRASHES[name].kernel
    capture = from_json(broken(kernel).file(name, rundir.CAPTURE), Capture)
    nmi = next(step.result for step in capture.steps if step.name == "nmi")
    guest = arch(KERNELS[kernel][0])
    asked = "ok" if guest.nmi else "this machine has no NMI: see the post-mortem"
    assert nmi in (asked, "not needed: sysrq-l has shown every CPU")


def test_a_page_dump_before_a_bug_belongs_to_it(broken: Callable[[str], Broken]) -> None:
    splats = broken("plain").probe("dumped-page").splats
    fatal = next(splat for splat in splats if splat.kind == "bug")
    assert any(line.startswith("page: refcount:1") for line in fatal.block)
    assert any("page dumped because: hgm_crashes" in line for line in fatal.block)


def test_traces_are_decoded(broken: Callable[[str], Broken]) -> None:
    text = broken("plain").file("dumped-page", "decoded.log").decode(errors="replace")
    assert re.search(r"RIP: 0010:dumped_page\S+ \(mm/hgm_crashes\.c:\d+", text)


@pytest.mark.parametrize(
    ("name", "function", "place"),
    [
        ("dumped-page", "dumped_page", r"mm/hgm_crashes\.c:\d+"),
        ("bug-on-arm64", "lkdtm_BUG", r"drivers/misc/lkdtm/bugs\.c:\d+"),
    ],
)
def test_a_mail_and_the_page_of_the_run_have_file_and_line(
    broken: Callable[[str], Broken],
    context: Context,
    tmp_path: Path,
    name: str,
    function: str,
    place: str,
) -> None:
    run = broken(CRASHES[name].kernel)
    good = [
        msgspec.structs.replace(probe, status="PASS", reason="", splats=(), directory="")
        for probe in run.record.probes
    ]
    before = msgspec.structs.replace(run.record, verdict="PASS", exit_code=0, probes=tuple(good))
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / rundir.RESULT).write_bytes(to_json(before))
    words = ("compare", "before", str(run.run_dir), "--mail-dir", "mails")
    sender = ("--from", "A. Tester <tester@example.org>")
    subprocess.run(
        [sys.executable, "-m", "harness.cli", *words, *sender], cwd=tmp_path, check=False
    )
    (mail,) = (tmp_path / "mails").glob(f"*-crash-{name}-CRASH*.eml")
    assert re.search(rf"^\| .*{function}\+\S+ .*\({place}", mail.read_text(), re.M)
    opener = functools.partial(opened, "", tmp_path)
    with opener(make=True) as history:
        past = history.add(run.record, run.run_dir)
    build.build(opener, tmp_path / "site", 30, context)
    page = (tmp_path / "site" / names.run(past.id)).read_text()
    assert re.search(rf"{function}\+\S+ .*<b>.*{function} at {place}", page)


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_old_run_is_judged_again_from_its_files(
    broken: Callable[[str], Broken], kernel: str
) -> None:
    run = broken(kernel)
    again = judging.rejudge(run.run_dir)
    assert again.probes == run.record.probes
    assert again.splats == run.record.splats == ()


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("panic", "lkdtm_PANIC"),
        ("panic-on-arm64", "lkdtm_PANIC"),
        ("oops-on-arm64", "lkdtm_EXCEPTION"),
    ],
)
def test_post_mortem(broken: Callable[[str], Broken], name: str, function: str) -> None:
    run = broken(CRASHES[name].kernel)
    command = ["post-mortem", str(run.run_dir), "--probe", f"crash/{name}"]
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", *command],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    title, *sections = done.stdout.split("==== ")
    assert title == f"#### crash/{name}\n"
    parts = dict(part.split("\n", 1) for part in sections)
    assert re.match(r"crash\[\d+\] state \w CPU \d", parts["the task that panicked"])
    assert re.search(
        rf"{function}\S* at .*drivers/misc/lkdtm/bugs\.c:\d+", parts["the task that panicked"]
    )
    tasks = parts["all tasks"]
    assert "kthreadd[2] " in tasks
    assert "hgm-run[" in tasks
    assert "schedule" in tasks
    assert "2048 KiB: total 8, free 7" in parts["pools of huge pages"]
    assert "cannot be read" not in done.stdout


def test_post_mortem_shows_a_split_mapping(broken: Callable[[str], Broken]) -> None:
    """As ``hold_huge_page()`` of crash.c leaves it: one huge page, mapped whole and in parts."""
    run = broken("plain")
    said = (run.run_dir / run.probe("panic").directory / "post-mortem.txt").read_text()
    _, *mappings = re.split(r"^  0x", said.split("==== hugetlb mappings\n")[1], flags=re.M)
    split, whole = sorted(mappings, key=lambda text: "pmd: 1 present, 1 writable" in text)
    assert re.search(r"flags \S+: rd wr sh .*\bht\b", whole)
    assert re.search(r"flags \S+: rd wr sh .*\bht\b.*\bhm\b.*, userfaultfd", split)
    assert "pte: 3 present" in split
    start = int(split.partition("-")[0], 16)
    (entry,) = re.findall(r"pmd x1 (0x[0-9a-f]+)", whole)
    huge = int(entry, 16) & 0xFFFFFFFE00000
    entries = re.findall(r"(0x[0-9a-f]+) pte x(\d+) (0x[0-9a-f]+)", split)
    assert [
        (int(address, 16) - start, int(count), int(raw, 16) & 0xFFFFFFFFFF000)
        for address, count, raw in entries
    ] == [(0x1000, 1, huge + 0x1000), (0x3000, 2, huge + 0x3000)]


def test_a_killed_qemu_makes_the_probe_lost(
    broken: Callable[[str], Broken],
    context: Context,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(guest: Guest, *arguments: object, **options: object) -> ProbeEvidence:
        threading.Timer(1.0, lambda: os.kill(guest.qemu.process.pid, 9)).start()
        return run_probe(guest, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(guests, "run_probe", killed)
    found = break_guests("plain", ("user-loop",), context, tmp_path).probe("user-loop")
    assert found.status == "LOST", found.reason
    assert "QEMU ended with exit code 137" in found.reason
    assert machines_left() == []
