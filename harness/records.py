# SPDX-License-Identifier: GPL-2.0-only
"""The frozen types that cross from one stage to the next, and the record of a run.

Everything here is plain data: strings, numbers, tuples and paths as strings, so that each type can
be written to JSON and read back without loss (`to_json`, `from_json`). Sizes are bytes, times are
seconds, hashes are lower-case hex, unless a docstring says otherwise.

`RunRecord` is what ``result.json`` holds; ``docs/result-schema.md`` describes it for readers in
other languages. A change that an old reader would misunderstand raises `SCHEMA`.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

#: Version of the layout of ``result.json``.
SCHEMA = 1

#: How a probe can end. An absent result is LOST, never PASS.
Status = Literal["PASS", "FAIL", "SKIP", "CRASH", "HANG", "LOST"]

#: How a probe's program can end, before anybody judges it; see `ProbeEvidence`.
Ending = Literal["exit", "budget", "stalled", "guest-died", "lost"]

#: By which rules a probe's output and exit code are read; see `harness.verdicts.judge`.
Rules = Literal["ktap", "kselftest"]

#: How a patch met the tree; see `PatchIdentity`.
How = Literal["exact", "3way", "offset", "fuzz"]

#: How a run can end: as expected, not as expected, by an error before a verdict, or cut.
Verdict = Literal["PASS", "FAIL", "ERROR", "INTERRUPTED", "CUT"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every record: immutable, compared by value, keyword arguments only."""


class SourceIdentity(Record, frozen=True, kw_only=True):
    """Which kernel source it was.

    Attributes:
        spec: what the caller wrote, such as ``debian:linux-source-6.12``.
        kind: the spec's form: ``debian``, ``tree``, ``git``, ``tar`` or ``image``.
        origin: what it became: package and version, commit, or the file's SHA-256.
        tree: git tree ID of the source without any series; empty for ``image``.
    """

    spec: str
    kind: str
    origin: str
    tree: str = ""


class PatchIdentity(Record, frozen=True, kw_only=True):
    """One patch of a series.

    Attributes:
        name: its file name, or its subject where it came by mail or from git.
        digest: SHA-256 of the text that was applied.
        how: ``exact``; ``3way`` (merged with the blobs it was made from); ``offset`` (all of its
            lines, elsewhere); ``fuzz`` (with less context than it has).
        detail: which files or hunks, where it is not ``exact``.
        resolved: path of the replacement from ``--resolve``; empty for the series' own patch.
        replaces: SHA-256 of the series' own patch where it was replaced; empty otherwise.
    """

    name: str
    digest: str
    how: How = "exact"
    detail: str = ""
    resolved: str = ""
    replaces: str = ""


class SeriesIdentity(Record, frozen=True, kw_only=True):
    """Which patches were put on top.

    Attributes:
        spec: what the caller wrote, or ``none``.
        patches: in the order they were applied.
        tree: git tree ID of the patched source; that of the source where there are no patches.
        notes: one line for each choice made while reading it, such as which revision was taken.
    """

    spec: str
    patches: tuple[PatchIdentity, ...] = ()
    tree: str = ""
    notes: tuple[str, ...] = ()


class ConfigIdentity(Record, frozen=True, kw_only=True):
    """Which configuration it was built with.

    Attributes:
        features: the names asked for, in order, without the base.
        digest: SHA-256 of the final ``.config``; empty where it is unknown.
        known: False for an image whose configuration could not be found.
        notes: one line for each requested symbol that this version does not know or that was
            optional and not had, and how it was left.
        hgm: whether CONFIG_HUGETLB_HIGH_GRANULARITY_MAPPING is on; None where unknown.
    """

    features: tuple[str, ...] = ()
    digest: str = ""
    known: bool = True
    notes: tuple[str, ...] = ()
    hgm: bool | None = None


class Kernel(Record, frozen=True, kw_only=True):
    """A kernel that can be booted, and where its parts lie in the cache.

    Attributes:
        key: content hash of everything that went into it.
        release: what ``uname -r`` will print.
        image: absolute path of the bzImage.
        config: absolute path of the ``.config``; empty where unknown.
        headers: absolute path of its UAPI headers (an ``include`` directory); empty where it
            has none, as for ``image``.
        vmlinux: absolute path of the ELF file with symbols; empty where there is none.
        toolchain: compiler and linker, one line.
        source: which source.
        series: which patches.
        configuration: which configuration.
        cached: whether it was found finished in the cache.
        build_seconds: wall time of the build that made it.
        make_seconds: those of them that make took, for the kernel and its UAPI headers.
    """

    key: str
    release: str
    image: str
    source: SourceIdentity
    series: SeriesIdentity
    configuration: ConfigIdentity
    config: str = ""
    headers: str = ""
    vmlinux: str = ""
    toolchain: str = ""
    cached: bool = False
    build_seconds: float = 0.0
    make_seconds: float = 0.0


class GuestImage(Record, frozen=True, kw_only=True):
    """A guest image in the cache.

    Attributes:
        key: content hash of the recipe and of every package in it.
        initramfs: absolute path of the cpio archive that every guest boots.
        disk: absolute path of the read-only squashfs that is mounted when asked for.
        manifest: absolute path of a JSON file that names each package with version and SHA-256.
    """

    key: str
    initramfs: str
    disk: str
    manifest: str


class HugePages(Record, frozen=True, kw_only=True):
    """Huge pages of one size.

    Attributes:
        size: bytes of one page: 2**21 or 2**30 on x86-64.
        count: how many pages.
    """

    size: int
    count: int


class NodePool(Record, frozen=True, kw_only=True):
    """What one NUMA node of the guest has of one size, read from its sysfs.

    Attributes:
        size: bytes of one page.
        node: node number.
        total: ``nr_hugepages``.
        free: ``free_hugepages``.
    """

    size: int
    node: int
    total: int
    free: int


class MachineSpec(Record, frozen=True, kw_only=True):
    """The machine to boot, before an accelerator or a kernel is chosen.

    Attributes:
        hugepages: what the guest reserves at boot.
        memory: bytes of guest memory, all nodes together.
        cpus: virtual CPUs.
        nodes: NUMA nodes; memory, CPUs and huge pages are dealt out evenly.
        arch: the guest's architecture, as ``uname -m`` prints it.
    """

    hugepages: tuple[HugePages, ...]
    memory: int
    cpus: int = 2
    nodes: int = 1
    arch: str = "x86_64"


class AccelChoice(Record, frozen=True, kw_only=True):
    """Which accelerator runs the guest, and why.

    Attributes:
        name: ``kvm`` or ``tcg``.
        reason: one line.
        cpu: the CPU model to use with it, as QEMU's ``-cpu`` takes it.
    """

    name: Literal["kvm", "tcg"]
    reason: str
    cpu: str


class ProbeSpec(Record, frozen=True, kw_only=True):
    """One probe as the catalogue states it, for one huge-page size.

    Attributes:
        name: unique, such as ``hgm/continue-4k/1G``; what ``--probe`` globs match.
        shows: one line: what a PASS shows.
        guards: the invariant that it guards, where no seeded fault is there to break it.
        source: path of the source relative to ``harness/probes/guest``.
        language: ``c``, ``python`` or ``sh``.
        arguments: the program's arguments.
        needs: features it needs: ``hgm``, ``root``, ``python``, ``numa`` ...
        pages: huge pages that must be free for it.
        nodes: NUMA nodes that it needs.
        budget: seconds it may take on an unloaded host under TCG.
        rules: how its output is read.
        unmet: why it cannot be run at all, such as the compiler's reason; empty where it can.
        on_request: whether it runs only where a glob names it.
        checkpoints: whether it asks the host to look at its page tables.
        spoils: whether it leaves a guest that no other probe may have: it poisons memory, say, or
            exhausts a pool. Its guest is given up, and the kernel's books are kept but not judged.
        on_base: what it must end with on a kernel without the patches that it is about, while it
            must pass with them; empty where nothing is stated.
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
    checkpoints: bool = False
    spoils: bool = False
    on_base: tuple[Status, ...] = ()
    alone: bool = False

    @property
    def wants_disk(self) -> bool:
        """Return whether it needs Python or the GNU tools, which are on the guest's disk."""
        return self.language != "c"


class Ingredients(Record, frozen=True, kw_only=True):
    """What a run was made of, for whoever does it again elsewhere: ``ingredients.json``.

    Attributes:
        kernel: the kernel, with the paths of its parts.
        image: the guest image, with the paths of its parts.
        machine: what was booted.
        accel: what ran it.
        specs: the probes, in the order they run.
        programs: host paths of what lay in the guest's ``/probes``, by path there.
        digests: SHA-256 of each of them, by the same path.
    """

    kernel: Kernel
    image: GuestImage
    machine: MachineSpec
    accel: AccelChoice
    specs: tuple[ProbeSpec, ...]
    programs: dict[str, str]
    digests: dict[str, str]


class Subtest(Record, frozen=True, kw_only=True):
    """One KTAP result line inside a probe, with its own subtests flattened into ``name``.

    Attributes:
        name: description, with parents in front, joined by `` > ``.
        status: what the line says.
        reason: the diagnostic lines before it or the skip's reason, joined by ``; ``.
    """

    name: str
    status: Literal["PASS", "FAIL", "SKIP"]
    reason: str = ""


class Splat(Record, frozen=True, kw_only=True):
    """One complaint of the kernel on its console.

    Attributes:
        kind: ``oops``, ``bug``, ``warning``, ``lockdep``, ``kasan``, ``rcu-stall`` ...
        title: its first line without time stamp.
        block: the whole complaint, a line each.
        offset: bytes from the start of the text it was found in.
    """

    kind: str
    title: str
    block: tuple[str, ...]
    offset: int


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


class CheckpointEvidence(Record, frozen=True, kw_only=True):
    """What the host saw when a probe asked it to look; the guest's pages it read lie beside it.

    Attributes:
        number: from 1, in the order of the probe's output.
        line: what the probe said, without the ``# ``; see `harness.verdicts.checkpoint.parse`.
        cpu: the vCPU on which the probe was found; -1 where it was not.
        cr3: of that vCPU.
        cr4: of that vCPU.
        cpl: 3 where it was caught in user mode, 0 in the kernel; -1 where it was not found.
        stopped: seconds that the guest stood still for it.
        seconds: from the line to the probe's release.
        problem: why the host could not look; empty where it could.
    """

    number: int
    line: str
    cpu: int = -1
    cr3: int = 0
    cr4: int = 0
    cpl: int = -1
    stopped: float = 0.0
    seconds: float = 0.0
    problem: str = ""


class CheckpointResult(Record, frozen=True, kw_only=True):
    """What the page tables say at one checkpoint of a probe, and who says otherwise.

    Attributes:
        number: from 1, in the order of the probe's output.
        name: the test it belongs to.
        start: first virtual address that was walked.
        length: bytes.
        page: bytes of a huge page there; 4096 for ordinary memory.
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


class LedgerReading(Record, frozen=True, kw_only=True):
    """The kernel's books on huge pages around a probe, as `harness.verdicts.ledger` reads them.

    Attributes:
        before: numbers by name, such as ``pool.1G.node0.free``.
        after: the same once they were as before, or a difference had lasted.
        seconds: from the probe's end to the second reading.
    """

    before: dict[str, int]
    after: dict[str, int]
    seconds: float = 0.0


class Leak(Record, frozen=True, kw_only=True):
    """A number in the kernel's books that is not where it was before a probe.

    Attributes:
        what: its name, such as ``pool.1G.node0.free``.
        before: before the probe; None where there was no such number.
        after: after it, for long enough; None where there is no such number any more.
    """

    what: str
    before: int | None
    after: int | None


class ProbeEvidence(Record, frozen=True, kw_only=True):
    """What is known about a probe's run before anybody judged it; lives beside its KTAP.

    Attributes:
        name: the probe.
        ended: ``exit`` (it ended itself), ``budget`` (it ran out of time), ``stalled`` (the kernel
            said that something makes no progress, and the probe did not end either),
            ``guest-died`` (the kernel panicked or QEMU ended) or ``lost`` (SSH stopped answering).
        exit_code: the program's, as the shell counts; None where it is not known.
        seconds: wall time on the host.
        budget: seconds it was given.
        console_from: offset in ``serial.log`` where it began, bytes.
        console_to: offset in ``serial.log`` where it ended, bytes.
        detail: one line about how it ended where that was not by itself.
        rules: how its output is read.
        program: the name of its process in the guest, as the kernel prints it.
        slowness: how many times longer than where the budgets were measured this guest took for
            the same work; the budget has been multiplied by it.
        spoils: whether the catalogue says that it spoils its guest.
        ledger: the kernel's books; None where they were not read after it.
        on_base: what the catalogue says that it must end with without the patches.
    """

    name: str
    ended: Ending
    exit_code: int | None
    seconds: float
    budget: float
    console_from: int
    console_to: int
    detail: str = ""
    rules: Rules = "ktap"
    program: str = ""
    slowness: float = 1.0
    spoils: bool = False
    ledger: LedgerReading | None = None
    on_base: tuple[Status, ...] = ()


class CaptureStep(Record, frozen=True, kw_only=True):
    """One thing that was done to learn what a hanging or dead guest was doing.

    Attributes:
        name: ``registers``, ``sysrq-w`` ... , ``nmi``, ``vmcore``, ``symbols``.
        outcome: ``ok``, or one line that says why it yielded nothing.
        file: what it yielded, relative to the run directory; empty for nothing.
        seconds: wall time.
    """

    name: str
    outcome: str
    file: str = ""
    seconds: float = 0.0


class Vcpu(Record, frozen=True, kw_only=True):
    """Where a virtual CPU stood, read through QMP.

    Attributes:
        number: from 0.
        pc: its program counter.
        level: the privilege level: 0 in the kernel, 3 in a program.
        halted: whether it waited for an interrupt.
        busy: share of the last moment that the host's thread ran, 0 to 1; None where not known.
    """

    number: int
    pc: int
    level: int
    halted: bool
    busy: float | None = None


class Capture(Record, frozen=True, kw_only=True):
    """What was learnt about a guest that hung or died during a probe: ``capture.json``.

    Attributes:
        why: ``hang``, ``crash``, or ``complaint`` (it did neither, and the kernel complained).
        steps: in the order they were taken.
        vcpus: where the virtual CPUs stood at first.
        console_from: offset in ``serial.log`` where what the capture made the kernel say begins.
        console_to: where it ends.
        symbols: for each place as the kernel prints it (``func+0x1/0x2``), or address
            (``0xffffffff81000000``), what it is: ``func at mm/file.c:12``, inlined ones first.
        vmcore: the memory dump, relative to the run directory; empty without one.
    """

    why: Literal["hang", "crash", "complaint"]
    steps: tuple[CaptureStep, ...] = ()
    vcpus: tuple[Vcpu, ...] = ()
    console_from: int = 0
    console_to: int = 0
    symbols: dict[str, tuple[str, ...]] = {}
    vmcore: str = ""


class ProbeResult(Record, frozen=True, kw_only=True):
    """What one probe says about the kernel.

    Attributes:
        name: the probe.
        status: see `Status`.
        reason: one line; never empty unless the status is PASS.
        seconds: wall time on the host.
        subtests: in the order they were reported.
        splats: what the kernel complained about meanwhile.
        checkpoints: what its page tables looked like from outside, where it asked for that.
        leaks: what did not come back after it; empty for a probe that spoils its guest by design.
        directory: where its KTAP and standard error lie, relative to the run directory.
        place: where the kernel stood when it hung, died or complained, such as
            ``handle_userfault at fs/userfaultfd.c:512``; empty where nobody knows.
        evidence: files of the run directory with what was captured then.
        on_base: what it must end with without the patches that it is about, while it must pass
            with them; empty where nothing is stated.
    """

    name: str
    status: Status
    reason: str = ""
    seconds: float = 0.0
    subtests: tuple[Subtest, ...] = ()
    splats: tuple[Splat, ...] = ()
    checkpoints: tuple[CheckpointResult, ...] = ()
    leaks: tuple[Leak, ...] = ()
    directory: str = ""
    place: str = ""
    evidence: tuple[str, ...] = ()
    on_base: tuple[Status, ...] = ()


class KernelSummary(Record, frozen=True, kw_only=True):
    """The kernel's part of ``result.json``.

    Attributes:
        release: ``uname -r``.
        key: content hash of everything that went into it.
        source: which source.
        series: which patches.
        config: which configuration.
        toolchain: what built it; empty where unknown.
        cached: whether no build was needed.
        build_seconds: wall time of the build that made it.
        make_seconds: those of them that make took, for the kernel and its UAPI headers.
    """

    release: str
    key: str
    source: SourceIdentity
    series: SeriesIdentity
    config: ConfigIdentity
    toolchain: str = ""
    cached: bool = False
    build_seconds: float = 0.0
    make_seconds: float = 0.0


class PoolSummary(Record, frozen=True, kw_only=True):
    """The huge pages of one run.

    Attributes:
        asked: pages by size name, such as ``{"1G": 2, "2M": 64}``.
        got: the same, read from the guest's sysfs; empty before the guest was reached.
        nodes: the same, per NUMA node.
    """

    asked: dict[str, int]
    got: dict[str, int] = {}
    nodes: tuple[NodePool, ...] = ()


class HgmSupport(Record, frozen=True, kw_only=True):
    """Whether the kernel that ran has high-granularity mapping, by its own word.

    Attributes:
        present: True or False; None before it was asked.
        evidence: what the kernel answered, such as ``MADV_SPLIT: EINVAL``.
    """

    present: bool | None = None
    evidence: str = ""


class StageTime(Record, frozen=True, kw_only=True):
    """How long one stage took.

    Attributes:
        name: ``kernel``, ``image``, ``probes``, ``accel``, ``boot``, ``run``, ``end``.
        seconds: wall time.
    """

    name: str
    seconds: float


class RunRecord(Record, frozen=True, kw_only=True):
    """The whole of ``result.json``.

    It is rewritten, whole and atomically, whenever something becomes known. Until the run's last
    write its verdict is CUT, so a run that was killed needs nobody to say so afterwards.

    Attributes:
        schema: `SCHEMA`.
        verdict: see `Verdict`.
        exit_code: what the command ended with; 3 while the verdict is CUT.
        reason: one line.
        error: which kind of error (`harness.errors`) ended the run early, such as
            ``CompileError``; empty where none did.
        error_seconds: wall time of the program that failed, where it is a make that did not build
            the kernel; else 0.
        stage: the stage that was under way when this was written; ``done`` at the end; ``kernel``
            too where it was only to be built.
        started: UTC, ISO 8601.
        seconds: wall time so far.
        harness: version of this program.
        command: the argv that reproduces the run.
        expect: ``report``, ``hgm`` or ``stock``.
        kernel: None before the kernel is there.
        hgm: whether the kernel has the feature.
        accel: None before the choice was made.
        machine: what was booted.
        hugepages: asked and got.
        qemu: QEMU's command line; empty before it was started.
        qemu_version: such as ``7.2.22``.
        image: key of the guest image.
        run_dir: absolute path of the run directory.
        probes: in the order they ran; one that was selected and did not run is LOST.
        splats: complaints outside of any probe.
        stages: how long each stage took.
        notes: lines that a reader of the result should see.
        slowness: how many times longer than where the budgets were measured the slowest guest took
            for the same work; budgets are multiplied by it. 0 before it was measured.
    """

    schema: int = SCHEMA
    verdict: Verdict = "CUT"
    exit_code: int = 3
    reason: str = ""
    error: str = ""
    error_seconds: float = 0.0
    stage: str = "start"
    started: str = ""
    seconds: float = 0.0
    harness: str = ""
    command: tuple[str, ...] = ()
    expect: Literal["report", "hgm", "stock"] = "report"
    kernel: KernelSummary | None = None
    hgm: HgmSupport = HgmSupport()
    accel: AccelChoice | None = None
    machine: MachineSpec | None = None
    hugepages: PoolSummary | None = None
    qemu: tuple[str, ...] = ()
    qemu_version: str = ""
    image: str = ""
    run_dir: str = ""
    probes: tuple[ProbeResult, ...] = ()
    splats: tuple[Splat, ...] = ()
    stages: tuple[StageTime, ...] = ()
    notes: tuple[str, ...] = ()
    slowness: float = 0.0


AnyRecord = TypeVar("AnyRecord", bound=Record)


def to_json(record: Record) -> bytes:
    """Return a record as indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def from_json(data: bytes, kind: type[AnyRecord]) -> AnyRecord:
    """Return the record that `to_json` wrote.

    Raises:
        msgspec.DecodeError: if the data is no JSON, or no such record.
    """
    return msgspec.json.decode(data, type=kind)


#: Names of the huge-page sizes that x86-64 has, by bytes.
SIZE_NAMES = {2**21: "2M", 2**30: "1G"}


def size_name(size: int) -> str:
    """Return ``1G`` for 2**30 and so on; the number of bytes where it has no name."""
    return SIZE_NAMES.get(size, str(size))
