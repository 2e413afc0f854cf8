# SPDX-License-Identifier: GPL-2.0-only
"""A probe: as the catalogue states it, as it was observed, and as it was judged."""

from __future__ import annotations

from typing import Literal

from harness.records.base import FIRST_ARCH, Record
from harness.records.machine import HugePages

#: How a probe can end. An absent result is LOST, never PASS. KNOWN is a FAIL that known issues of
#: the kernel explain; see `harness.records.known_issue`.
Status = Literal["PASS", "FAIL", "KNOWN", "SKIP", "CRASH", "HANG", "LOST"]

#: Statuses that blame the kernel, worst first.
BAD: tuple[Status, ...] = ("CRASH", "HANG", "FAIL")

#: How a probe's program can end, before it is judged; see `ProbeEvidence`.
Ending = Literal["exit", "budget", "stalled", "guest-died", "lost"]


#: By which rules a probe's output and exit code are read; see `harness.judge.probe_verdict`.
Rules = Literal["ktap", "kselftest"]


class ProbeSpec(Record, frozen=True, kw_only=True):
    """One probe as the catalogue states it, for one huge-page size.

    Attributes:
        name: unique, such as ``hgm/continue-4k/1G``; what ``--probe`` globs match.
        shows: one line: what a PASS shows.
        guards: the invariant that it guards, where no seeded fault is there to break it.
        source: path of the source relative to ``probes``.
        language: ``c``, ``python`` or ``sh``.
        arguments: the program's arguments.
        needs: features it needs: ``hgm``, ``root``, ``python``, ``numa`` ...
        pages: huge pages that must be free for it.
        nodes: NUMA nodes that it needs.
        budget: seconds it may take on an unloaded host under TCG.
        rules: how its output is read.
        unmet: why it cannot be run at all, such as the compiler's reason; empty where it can.
        on_request: whether it runs only where a glob names it.
        config: features of the configuration: it runs where all are asked for, or a glob names it.
        checkpoints: whether it has the host walk its page tables.
        taints_guest: whether it leaves a guest that no other probe may have: it poisons memory,
            say, or exhausts a pool. Its guest is given up, and huge-page accounting is recorded
            but not judged.
        without_series: what it must end with on a kernel without the patches that it is about,
            while it must pass with them; empty where nothing is stated.
        alone: whether it has a guest of its own.
    """

    name: str
    shows: str
    source: str
    language: Literal["c", "python", "sh"]
    guards: str = ""
    arguments: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    pages: tuple[HugePages, ...] = ()
    nodes: int = 1
    budget: float = 30.0
    rules: Rules = "ktap"
    unmet: str = ""
    on_request: bool = False
    config: tuple[str, ...] = ()
    checkpoints: bool = False
    taints_guest: bool = False
    without_series: tuple[Status, ...] = ()
    alone: bool = False

    @property
    def wants_disk(self) -> bool:
        """Return whether it needs Python or the GNU tools, which are on the guest's disk."""
        return self.language != "c"


class Subtest(Record, frozen=True, kw_only=True):
    """One KTAP result line inside a probe, with its own subtests flattened into ``name``.

    Attributes:
        name: description, with parents in front, joined by `` > ``.
        status: what the line says.
        reason: the diagnostic lines before it or the skip's reason, joined by ``; ``.
        rests_on: the promises of ``probes/promises.toml`` that it rests on.
    """

    name: str
    status: Literal["PASS", "FAIL", "SKIP"]
    reason: str = ""
    rests_on: tuple[str, ...] = ()


#: What a kernel can answer about a promise; see `PromiseAnswer`.
AnswerState = Literal["offered", "not offered", "unknown", "broken"]


class PromiseAnswer(Record, frozen=True, kw_only=True):
    """What a kernel answered when a probe asked about a promise of ``probes/promises.toml``.

    Attributes:
        name: the promise.
        state: ``offered``, ``not offered``, ``unknown`` (it could not be asked here), or ``broken``
            (the question ended in a wait or a crash).
        word: the kernel's answer, such as ``EINVAL``.
    """

    name: str
    state: AnswerState
    word: str = ""


#: The console of a run's guests; those that run at the same time have one each below ``guests``.
CONSOLE = "serial.log"


class Splat(Record, frozen=True, kw_only=True):
    """An error report that the kernel printed on its console.

    Attributes:
        kind: ``oops``, ``bug``, ``warning``, ``lockdep``, ``kasan``, ``rcu-stall`` ...
        title: its first line without time stamp.
        block: all of it, a line each.
        offset: bytes from the start of the text it was found in.
        console: the console's file in the run directory.
    """

    kind: str
    title: str
    block: tuple[str, ...]
    offset: int
    console: str = CONSOLE


class LevelCount(Record, frozen=True, kw_only=True):
    """How many leaf entries one level of page tables holds in a range, by what is in them.

    Attributes:
        level: ``pud`` (1 GiB an entry), ``pmd`` (2 MiB) or ``pte`` (4 KiB).
        present: entries that map memory; the flags below are counted among these.
        writable: the write flag.
        user: the user flag.
        accessed: the accessed flag.
        dirty: the dirty flag, or the bit where Linux keeps it for entries that are not writable.
        no_execute: the no-execute flag.
        uffd_wp: userfaultfd's write-protect mark, on present entries and others.
        markers: entries that are not present and are markers of Linux.
        swap: other entries that are neither present nor empty: swap, migration, hwpoison.
        contiguous: the contiguous bit, which x86 does not have.
    """

    level: str
    present: int = 0
    writable: int = 0
    user: int = 0
    accessed: int = 0
    dirty: int = 0
    no_execute: int = 0
    uffd_wp: int = 0
    markers: int = 0
    swap: int = 0
    contiguous: int = 0


class CheckpointEvidence(Record, frozen=True, kw_only=True):
    """What the host read at a checkpoint; the pages of guest memory are in a file beside it.

    Attributes:
        number: from 1, in the order of the probe's output.
        line: of the probe's output, without the ``# ``; see `harness.judge.checkpoint.parse`.
        cpu: the vCPU on which the probe was found; -1 where it was not.
        arch: the guest's architecture, as ``uname -m`` prints it.
        root: physical address of that vCPU's top page table.
        levels: of its page tables; 0 in a record that has ``cr3``.
        cr3: of that vCPU, in records made before there was ``root``.
        cr4: likewise.
        cpl: 3 where it was caught in user mode, 0 in the kernel; -1 where it was not found.
        stopped: seconds that the guest stood still for it.
        seconds: from the line to the probe's release.
        problem: why the host could not walk them; empty if it could.
    """

    number: int
    line: str
    cpu: int = -1
    arch: str = FIRST_ARCH
    root: int = 0
    levels: int = 0
    cr3: int = 0
    cr4: int = 0
    cpl: int = -1
    stopped: float = 0.0
    seconds: float = 0.0
    problem: str = ""


class CheckpointResult(Record, frozen=True, kw_only=True):
    """What the page tables say at one checkpoint of a probe, and what disagrees.

    Attributes:
        number: from 1, in the order of the probe's output.
        name: the test it belongs to.
        start: first virtual address that was walked.
        length: bytes.
        page: bytes of a huge page there; those of a base page for ordinary memory.
        levels: leaf entries by level; those without any are left out.
        problems: a line for each disagreement with smaps, pagemap, the probe, or sound tables;
            any makes the probe a FAIL.
    """

    number: int
    name: str = ""
    start: int = 0
    length: int = 0
    page: int = 0
    levels: tuple[LevelCount, ...] = ()
    problems: tuple[str, ...] = ()


class AccountingReading(Record, frozen=True, kw_only=True):
    """Huge-page accounting around a probe, as `harness.judge.accounting` reads it.

    Attributes:
        before: numbers by name, such as ``pool.1G.node0.free``.
        after: the same once they were as before, or a difference had lasted.
        seconds: from the probe's end to the second reading.
    """

    before: dict[str, int]
    after: dict[str, int]
    seconds: float = 0.0


class Leak(Record, frozen=True, kw_only=True):
    """A number of the huge-page accounting that is not what it was before a probe.

    Attributes:
        what: its name, such as ``pool.1G.node0.free``.
        before: before the probe; None where there was no such number.
        after: after it, for long enough; None where there is no such number any more.
    """

    what: str
    before: int | None
    after: int | None


class VcpuTime(Record, frozen=True, kw_only=True):
    """The CPU time of a vCPU's thread on the host while a probe ran.

    Attributes:
        ran: seconds on a CPU.
        waited: seconds for which it was ready to run and the host gave it no CPU.
    """

    ran: float
    waited: float


class HostLoad(Record, frozen=True, kw_only=True):
    """What the host gave a guest meanwhile; read by `harness.judge.starvation`.

    Attributes:
        seconds: wall time.
        vcpus: by number; without threads that had ended.
        steal: of the time that the host's CPUs were wanted, the share that its own hypervisor gave
            to others, 0 to 1.
        pressure: PSI of the host's CPUs at the end (``some avg10``), per cent; None without PSI.
        load: the host's load average over a minute, at the end.
    """

    seconds: float
    vcpus: tuple[VcpuTime, ...] = ()
    steal: float = 0.0
    pressure: float | None = None
    load: float = 0.0


class Stalled(Record, frozen=True, kw_only=True):
    """A part of the console, outside of any probe, in which the kernel reported a lack of progress.

    Attributes:
        console: the console's file, relative to the run directory.
        console_from: offset in it where no probe ran any more, bytes.
        console_to: offset in it where the next one began.
        host: what the host gave the guest meanwhile.
    """

    console_from: int
    console_to: int
    console: str = CONSOLE
    host: HostLoad


class ProbeEvidence(Record, frozen=True, kw_only=True):
    """What is known about a probe's run before it is judged; lies beside its KTAP.

    Attributes:
        name: the probe.
        ended: ``exit`` (it ended itself), ``budget`` (it ran out of time), ``stalled`` (the kernel
            said that something makes no progress, and the probe did not end either),
            ``guest-died`` (the kernel panicked or QEMU ended) or ``lost`` (SSH or QEMU stopped
            answering).
        exit_code: the program's, as the shell counts; None where it is not known.
        seconds: wall time on the host.
        budget: seconds it was given.
        console_from: offset in its guest's console where it began, bytes.
        console_to: offset in that console where it ended, bytes.
        console: the console's file, relative to the run directory.
        detail: one line about how it ended where that was not by itself.
        rules: how its output is read.
        program: the name of its process in the guest, as the kernel prints it.
        timeout_scale: how many times longer than where the budgets were measured this guest took
            for the same work; the budget has been multiplied by it.
        taints_guest: whether the catalogue says that it taints its guest.
        accounting: huge-page accounting; None where it was not read after it.
        without_series: what the catalogue says that it must end with without the patches.
        host: what the host gave the guest meanwhile; None where it was not read.
    """

    name: str
    ended: Ending
    exit_code: int | None
    seconds: float
    budget: float
    console_from: int
    console_to: int
    console: str = CONSOLE
    detail: str = ""
    rules: Rules = "ktap"
    program: str = ""
    timeout_scale: float = 1.0
    taints_guest: bool = False
    accounting: AccountingReading | None = None
    without_series: tuple[Status, ...] = ()
    host: HostLoad | None = None


class CaptureStep(Record, frozen=True, kw_only=True):
    """One step of the capture of a guest that hung or died.

    Attributes:
        name: ``registers``, ``sysrq-w`` ... , ``nmi``, ``vmcore``, ``symbols``.
        result: ``ok``, or one line that says why it yielded nothing.
        file: what it yielded, relative to the run directory; empty for nothing.
        seconds: wall time.
    """

    name: str
    result: str
    file: str = ""
    seconds: float = 0.0


class Vcpu(Record, frozen=True, kw_only=True):
    """The state of a virtual CPU, read through QMP.

    Attributes:
        number: from 0.
        pc: its program counter.
        level: the privilege level: 0 in the kernel, 3 in a program.
        halted: whether it waited for an interrupt.
        busy: share of the last moment that the host's thread ran, 0 to 1; None where not known.
        link: its link register, where the function returns to; 0 where there is no such register.
    """

    number: int
    pc: int
    level: int
    halted: bool
    busy: float | None = None
    link: int = 0

    @property
    def call(self) -> int:
        """Return an address inside of the call that it returns from; 0 where that is not known."""
        return self.link - 1 if self.link else 0


class Capture(Record, frozen=True, kw_only=True):
    """The capture of a guest that hung or died during a probe: ``capture.json``.

    Attributes:
        why: ``hang``, ``crash``, or ``splat`` (it did neither, and the kernel reported one).
        steps: in the order they were taken.
        vcpus: the virtual CPUs in the first sample.
        console_from: offset in the console where what the capture made the kernel say begins.
        console_to: where it ends.
        symbols: for each place as the kernel prints it (``func+0x1/0x2``), or address
            (``0xffffffff81000000``), what it is: ``func at mm/file.c:12``, inlined ones first.
        vmcore: the memory dump, relative to the run directory; empty without one.
    """

    why: Literal["hang", "crash", "splat"]
    steps: tuple[CaptureStep, ...] = ()
    vcpus: tuple[Vcpu, ...] = ()
    console_from: int = 0
    console_to: int = 0
    symbols: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 - msgspec copies it
    vmcore: str = ""


class ProbeResult(Record, frozen=True, kw_only=True):
    """The result of one probe.

    Attributes:
        name: the probe.
        status: see `Status`.
        reason: one line; never empty unless the status is PASS.
        seconds: wall time on the host.
        subtests: in the order they were reported.
        promises: what it asked the kernel before its tests.
        splats: what the kernel reported meanwhile.
        checkpoints: its page tables as the host saw them, if it has checkpoints.
        leaks: what did not come back after it; empty for a probe that taints its guest by design.
        known_issues: names of the known issues that it found; if its status is not KNOWN, they do
            not explain all of its end.
        directory: where its KTAP and standard error lie, relative to the run directory.
        blame: where the kernel hung, died or reported a splat, such as
            ``handle_userfault at fs/userfaultfd.c:512``; empty where that is not known.
        evidence: files of the run directory with what was captured then.
        without_series: what it must end with without the patches that it is about, while it must
            pass with them; empty where nothing is stated.
    """

    name: str
    status: Status
    reason: str = ""
    seconds: float = 0.0
    subtests: tuple[Subtest, ...] = ()
    promises: tuple[PromiseAnswer, ...] = ()
    splats: tuple[Splat, ...] = ()
    checkpoints: tuple[CheckpointResult, ...] = ()
    leaks: tuple[Leak, ...] = ()
    known_issues: tuple[str, ...] = ()
    directory: str = ""
    blame: str = ""
    evidence: tuple[str, ...] = ()
    without_series: tuple[Status, ...] = ()

    @property
    def unexcused(self) -> Status:
        """Return the status that it would have without known issues."""
        return "FAIL" if self.status == "KNOWN" else self.status
