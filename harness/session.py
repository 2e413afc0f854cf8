# SPDX-License-Identifier: GPL-2.0-only
"""From a subject to a bench with all that a guest needs, and the probes of a run in guests.

It takes one guest as long as that stays sound. A guest in which a probe crashed, hung, was lost,
made the kernel complain, or left the pools other than it found them is never used again, nor is one
whose probe spoils it by design or is to be alone; the probes that are left get a new one.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypedDict

import msgspec

from harness.checkpoint import Watcher
from harness.deadline import Deadline
from harness.errors import DeadlineExpired, HarnessError
from harness.evidence import vmcore
from harness.evidence.escalation import Escalation
from harness.guest import image
from harness.guest.personal import PersonalFile
from harness.kernel import cache
from harness.kernel.obtain import KernelRequest, obtain
from harness.ledger import Books
from harness.probes import calibration
from harness.probes.compile import compile_probes
from harness.probes.kselftest import Suite
from harness.probes.run import FEATURES, GUEST_DIRECTORY, MOUNT_DISK, run_probe
from harness.progress import Progress
from harness.records import (
    AccelChoice,
    Capture,
    GuestImage,
    HgmSupport,
    Ingredients,
    Kernel,
    KernelSummary,
    MachineSpec,
    PoolSummary,
    ProbeEvidence,
    ProbeResult,
    ProbeSpec,
    Record,
    size_name,
    to_json,
)
from harness.results.store import CAPTURE, RunStore
from harness.verdicts import dmesg, place
from harness.vm import accel, pool
from harness.vm.guest import BootRequest, Guest, booted
from harness.workspace import Workspace, atomic_write, file_digest

_QUESTION_SECONDS = 60.0
_QUIET_SECONDS = 0.3
_ANEW_SECONDS = 10.0

#: The first process, as the kernel prints its name.
_INIT = "init"


class Subject(Record, frozen=True, kw_only=True):
    """What is under test.

    Attributes:
        kernel: which kernel.
        machine: what it is booted on.
        accel: ``auto``, ``kvm`` or ``tcg``.
    """

    kernel: KernelRequest
    machine: MachineSpec
    accel: str = "auto"


@dataclass(frozen=True)
class Tools:
    """What everything is done with.

    Attributes:
        workspace: the cache.
        deadline: when all must be over.
        progress: who is told how far it is.
    """

    workspace: Workspace
    deadline: Deadline
    progress: Progress

    def arguments(self) -> _Arguments:
        """Return them as the keyword arguments that every stage takes."""
        return {
            "workspace": self.workspace,
            "deadline": self.deadline,
            "progress": self.progress,
        }


class _Arguments(TypedDict):
    workspace: Workspace
    deadline: Deadline
    progress: Progress


class Witness(Protocol):
    """Who is told what a stage finds out, as soon as it is known."""

    def begin(self, name: str, detail: str = "") -> None:
        """A stage begins."""

    def know(self, **fields: Any) -> None:
        """Fields of `harness.records.RunRecord` are known now."""


class Onlooker:
    """A witness that tells people only."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def begin(self, name: str, detail: str = "") -> None:
        """Announce the stage."""
        self._progress.stage(name, detail)

    def know(self, **fields: Any) -> None:
        """Ignore the fields."""


@dataclass(frozen=True)
class Bench:
    """All that a guest needs, ready.

    Attributes:
        kernel: the kernel under test.
        image: the guest image.
        machine: the machine.
        accel: what runs it.
        programs: host paths of what goes into the guest's ``/probes``, by path there.
        tools: what it is done with.
        specs: the probes that the guest holds, the kernel's own tests among them.
    """

    kernel: Kernel
    image: GuestImage
    machine: MachineSpec
    accel: AccelChoice
    programs: Mapping[str, Path]
    tools: Tools
    specs: tuple[ProbeSpec, ...] = ()


def ingredients(bench: Bench, specs: Sequence[ProbeSpec]) -> Ingredients:
    """Return what a run with these probes is made of."""
    return Ingredients(
        kernel=bench.kernel,
        image=bench.image,
        machine=bench.machine,
        accel=bench.accel,
        specs=tuple(specs),
        programs={name: str(path) for name, path in bench.programs.items()},
        digests={name: file_digest(path) for name, path in bench.programs.items()},
    )


def prepare(
    subject: Subject,
    specs: Sequence[ProbeSpec],
    tools: Tools,
    directory: Path,
    witness: Witness,
    kselftests: Sequence[str] = (),
) -> Bench:
    """Get the kernel, the image, the probes and the accelerator ready.

    Args:
        subject: what is under test.
        specs: the probes that the guest shall hold.
        tools: what it is done with.
        directory: takes ``build.log`` and ``probes.log``.
        witness: is told what becomes known.
        kselftests: the kernel's own tests that the guest shall hold as well.

    Raises:
        HarnessError: if a stage failed.
    """
    common = tools.arguments()
    if subject.accel == "kvm":  # an error in seconds, not after a build
        witness.begin("accel")
        accel.refuse_dead_kvm(accel.proof_kernels(None, **common), **common)
    kernel = build(subject, tools, directory, witness)
    witness.begin("image")
    guest_image = image.obtain(**common)
    witness.know(image=guest_image.key)
    witness.begin("probes", f"{len(specs)} selected")
    own = _own_tests(kselftests, kernel, directory / "kselftest.log", tools, witness)
    everything = (*specs, *own.specs)
    programs = dict(own.programs)
    programs |= compile_probes(everything, kernel=kernel, log=directory / "probes.log", **common)
    witness.begin("accel")
    candidates = accel.proof_kernels(Path(kernel.image), **common)
    chosen = accel.choose(subject.accel, candidates, arch_name=subject.machine.arch, **common)
    witness.know(accel=chosen)
    tools.progress.note(f"{chosen.name}: {chosen.reason}")
    return Bench(kernel, guest_image, subject.machine, chosen, programs, tools, everything)


def build(subject: Subject, tools: Tools, directory: Path, witness: Witness) -> Kernel:
    """Get the kernel ready, and no more.

    Args:
        subject: what is under test.
        tools: what it is done with.
        directory: takes ``build.log``.
        witness: is told what becomes known.

    Raises:
        HarnessError: if it cannot be had.
    """
    witness.begin("kernel", subject.kernel.source)
    kernel = obtain(subject.kernel, build_log=directory / "build.log", **tools.arguments())
    witness.know(kernel=_summary(kernel))
    return kernel


def _own_tests(
    wishes: Sequence[str], kernel: Kernel, log: Path, tools: Tools, witness: Witness
) -> Suite:
    if not wishes:
        return Suite()
    from harness.probes import selftests  # which a run without them does without

    witness.begin("kselftest", " ".join(wishes))
    suite = selftests.obtain(wishes, kernel=kernel, log=log, **tools.arguments())
    witness.know(notes=suite.notes)
    return suite


def _summary(kernel: Kernel) -> KernelSummary:
    return KernelSummary(
        release=kernel.release,
        key=kernel.key,
        source=kernel.source,
        series=kernel.series,
        config=kernel.configuration,
        toolchain=kernel.toolchain,
        cached=kernel.cached,
        build_seconds=kernel.build_seconds,
        make_seconds=kernel.make_seconds,
    )


def run_probes(bench: Bench, specs: Sequence[ProbeSpec], store: RunStore) -> None:
    """Run every probe that this machine can run, and put all results into the record.

    Raises:
        HarnessError: if a guest could not be booted; results so far are in the record.
    """
    left: list[ProbeSpec] = []
    for spec in specs:
        reason = unmet_need(spec, bench.machine)
        if reason:
            store.add_probe(ProbeResult(name=spec.name, status="SKIP", reason=reason))
        else:
            left.append(spec)
    total = len(left)
    while left:
        disk = any(spec.wants_disk for spec in left)
        with guest_with_probes(bench, store.run_dir, disk=disk) as host:
            slowness = _meet(bench, host, store)
            books = Books(host, bench.tools.deadline)
            while left:
                bench.tools.progress.step(total - len(left), total, "probes")
                if not _run_one(bench, host, left.pop(0), store, books, slowness):
                    break
            else:
                bench.tools.progress.step(total, total, "probes")
                host.power_off(bench.tools.progress)
    store.keep_outside_splats()


def unmet_need(spec: ProbeSpec, machine: MachineSpec) -> str:
    """Return why a machine cannot run a probe, or nothing if it can."""
    if spec.unmet:
        return spec.unmet
    if spec.nodes > machine.nodes:
        return f"needs {spec.nodes} NUMA nodes and the machine has {machine.nodes} (--nodes)"
    have = {pages.size: pages.count for pages in machine.hugepages}
    for pages in spec.pages:
        if have.get(pages.size, 0) < pages.count:
            name = size_name(pages.size)
            return f"needs {pages.count} huge pages of {name} (--hugepages {name}:{pages.count})"
    return ""


@contextlib.contextmanager
def guest_with_probes(bench: Bench, directory: Path, *, disk: bool) -> Iterator[Guest]:
    """Boot a guest that holds the bench's programs, its disk mounted if it is asked for.

    Args:
        bench: all that it needs.
        directory: takes ``serial.log``, ``qmp.log`` and ``qemu.stderr``.
        disk: whether Python and the GNU tools are wanted.

    Raises:
        HarnessError: if it was not reached, or has not what it should have.
    """
    request = BootRequest(
        kernel=bench.kernel,
        image=bench.image,
        machine=bench.machine,
        accel=bench.accel,
        files=tuple(
            PersonalFile(f"{GUEST_DIRECTORY}/{name}", path.read_bytes(), 0o755)
            for name, path in bench.programs.items()
        ),
        disk=disk,
        stuck=dmesg.is_stuck,
        standstill=functools.partial(standstill, bench, directory),
    )
    with (
        cache.pin(Path(bench.kernel.image).parent),
        cache.pin(Path(bench.image.initramfs).parent),
        booted(request, directory, **bench.tools.arguments()) as host,
    ):
        if disk:
            host.ssh.run([MOUNT_DISK], _soon(bench), check=True)
        yield host


def standstill(bench: Bench, run_dir: Path, host: Guest) -> str:
    """Ask a guest that stands still in boot for all it can tell; return where, in a few words."""
    bench.tools.progress.note("the guest stands still in boot: looking at it")
    directory = run_dir / "boot"
    directory.mkdir(exist_ok=True)
    try:
        host.hold_when_dead()
    except HarnessError:  # no step of the look could do without it either
        return "a QEMU whose monitor does not answer"
    escalation = Escalation(
        guest=host,
        kernel=bench.kernel,
        run_dir=run_dir,
        directory=directory,
        console_from=host.console.start,
        policy=vmcore.policy(),
    )
    capture = escalation.hang()
    atomic_write(directory / CAPTURE, to_json(capture))
    before = dmesg.scan(host.console.text(end=capture.console_from))
    return place.of_hang(_INIT, host.console.text(capture.console_from), before, capture)


def _meet(bench: Bench, host: Guest, store: RunStore) -> float:
    """Note in the record what there is to know about a guest that was just reached.

    Returns:
        By how much its probes' budgets are multiplied.
    """
    host.hold_when_dead()
    store.update(
        qemu=host.qemu.argv,
        qemu_version=host.qemu.version,
        hugepages=PoolSummary(
            asked=pool.by_size(bench.machine.hugepages),
            got=pool.totals(host.pools),
            nodes=host.pools,
        ),
    )
    if store.record.hgm.present is None:
        answers = host.ssh.run([FEATURES], _soon(bench), check=True).stdout
        store.update(hgm=hgm_support(answers))
    slowness = round(calibration.measure(host.ssh, _soon(bench)), 2)
    if slowness > store.record.slowness:
        store.update(slowness=slowness)
    return slowness


def _run_one(
    bench: Bench,
    host: Guest,
    spec: ProbeSpec,
    store: RunStore,
    books: Books,
    slowness: float,
) -> bool:
    """Run one probe, judge it, and return whether its guest may run another."""
    directory = store.probe_directory(spec.name)
    watcher = Watcher(host, bench.machine.cpus, directory)
    evidence = run_probe(
        host,
        spec,
        directory,
        bench.tools.deadline,
        slowness=slowness,
        on_output=watcher.feed,
    )
    evidence = books.close(evidence, bench.tools.deadline)
    evidence, capture = _captured(bench, host, evidence, store, directory)
    result = store.conclude(evidence, capture)
    bench.tools.progress.note(
        f"{result.status:<5} {result.name}" + (result.reason and f": {result.reason}")
    )
    return may_share(spec, result)


def may_share(spec: ProbeSpec, result: ProbeResult) -> bool:
    """Return whether the guest in which a probe ran may run another one."""
    ended = result.status in ("PASS", "FAIL", "SKIP")
    return ended and not (result.splats or result.leaks or spec.spoils or spec.alone)


def _captured(
    bench: Bench, host: Guest, evidence: ProbeEvidence, store: RunStore, directory: Path
) -> tuple[ProbeEvidence, Capture | None]:
    """Learn what can be learnt about a probe that hung, died or made the kernel complain."""
    splats = dmesg.scan(host.console.text(evidence.console_from))
    if evidence.ended == "exit" and not splats:
        return evidence, None
    if evidence.ended == "lost" and not splats and host.ssh.answers_anew(_anew(bench)):
        why = f"{evidence.detail}, and the guest answers another connection"
        return msgspec.structs.replace(evidence, detail=why), None
    escalation = Escalation(
        guest=host,
        kernel=bench.kernel,
        run_dir=store.run_dir,
        directory=directory,
        console_from=evidence.console_from,
        policy=vmcore.policy(),
        slowness=evidence.slowness,
    )
    bench.tools.progress.note(f"{evidence.name}: looking at the guest ({evidence.ended})")
    if evidence.ended == "exit":
        with contextlib.suppress(DeadlineExpired):  # the end of what it is saying
            host.console.wait_quiet(_QUIET_SECONDS, _soon(bench))
        return evidence, escalation.complaint()
    if evidence.ended in ("budget", "stalled") or not host.died.rung:
        return evidence, escalation.hang()
    capture = escalation.crash()
    return msgspec.structs.replace(evidence, console_to=capture.console_to), capture


def hgm_support(answers: str) -> HgmSupport:
    """Return whether a kernel has HGM from what the features program printed.

    It is there if MADV_SPLIT is accepted for at least one huge-page size that the guest has.
    """
    found = re.findall(r"^madv_split\.(\w+)=(\S+)$", answers, re.MULTILINE)
    if not found:
        return HgmSupport()
    accepted = [size for size, answer in found if answer == "ok"]
    if accepted:
        return HgmSupport(present=True, evidence=f"MADV_SPLIT: accepted on {', '.join(accepted)}")
    said = sorted({answer for _, answer in found})
    return HgmSupport(present=False, evidence=f"MADV_SPLIT: {', '.join(said)}")


def _anew(bench: Bench) -> Deadline:
    return bench.tools.deadline.within(_ANEW_SECONDS, "another SSH login")


def _soon(bench: Bench) -> Deadline:
    return bench.tools.deadline.within(_QUESTION_SECONDS, "a question to the guest")
