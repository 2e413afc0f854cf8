# SPDX-License-Identifier: GPL-2.0-only
"""From a subject to all that a guest needs: kernel, image, probes and accelerator."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.arch import arch
from harness.command import Process
from harness.context import Context
from harness.image import image
from harness.kernel.obtain import HeadersReady, nothing_beside, obtain
from harness.probes.compile import compile_probes
from harness.probes.kselftest import Suite
from harness.records.kernel import Kernel, KernelParts, KernelSummary
from harness.records.machine import AccelChoice, GuestImage, MachineSpec
from harness.records.probe import ProbeSpec
from harness.records.run import Ingredients
from harness.run import ahead
from harness.run.listener import StageListener
from harness.run.subject import Subject
from harness.store import rundir
from harness.vm import accel
from harness.workspace import atomic_write, file_digest


@dataclass(frozen=True)
class Prepared:
    """All that a guest needs, ready.

    Attributes:
        kernel: the kernel under test.
        image: the guest image.
        machine: the machine.
        accel: what runs it.
        programs: host paths of what goes into the guest's ``/probes``, by path there.
        context: cache, deadline, progress.
        specs: the probes that the guest holds, the kernel's own tests among them.
        fresh_guest: whether each probe's guest is restored from a snapshot.
        guests: how many may run at the same time.
        seconds: how long probes took when they last ran, by name, as far as it is known.
        started: is called with the process of each guest.
    """

    kernel: Kernel
    image: GuestImage
    machine: MachineSpec
    accel: AccelChoice
    programs: Mapping[str, Path]
    context: Context
    specs: tuple[ProbeSpec, ...] = ()
    fresh_guest: bool = False
    guests: int = 1
    seconds: Mapping[str, float] = field(default_factory=dict)
    started: Callable[[Process], None] = lambda process: None


def ingredients(prepared: Prepared, specs: Sequence[ProbeSpec]) -> Ingredients:
    """Return the ingredients of a run with these probes."""
    return Ingredients(
        kernel=prepared.kernel,
        image=prepared.image,
        machine=prepared.machine,
        accel=prepared.accel,
        specs=tuple(specs),
        programs={name: str(path) for name, path in prepared.programs.items()},
        digests={name: file_digest(path) for name, path in prepared.programs.items()},
    )


def prepare(
    subject: Subject,
    specs: Sequence[ProbeSpec],
    context: Context,
    directory: Path,
    listener: StageListener,
    kselftests: Sequence[str] = (),
    *,
    elsewhere: bool = False,
) -> Prepared:
    """Get the kernel, the image, the probes and the accelerator ready.

    Args:
        subject: what is under test.
        specs: the probes that go into the guest.
        context: cache, deadline, progress.
        directory: takes ``build.log`` and ``probes.log``.
        listener: is told what becomes known.
        kselftests: the kernel's own tests that go into the guest as well.
        elsewhere: whether another host runs the guest, and chooses its accelerator.

    Raises:
        HarnessError: if a stage failed.
    """
    guest = arch(subject.machine.arch)
    if subject.accel == "kvm" and not elsewhere:  # an error in seconds, not after a build
        listener.begin("accel")
        candidates = accel.proof_kernels(None, guest, context)
        accel.refuse_broken_kvm(candidates, context, arch_name=guest.name)
    before_make = _nothing if elsewhere else ahead.load
    with contextlib.ExitStack() as made_beside:

        def headers_ready(kernel: Kernel) -> None:
            from harness.run import beside  # what is cached does without

            made_beside.enter_context(beside.start(kernel, specs, context))

        kernel = build(subject, context, directory, listener, before_make, headers_ready)
        listener.begin("image")
        guest_image = image.obtain(guest, context)
        listener.know(image=guest_image.key)
        listener.begin("probes", f"{len(specs)} selected")
        own = _own_tests(kselftests, kernel, directory / "kselftest.log", context, listener)
        everything = (*specs, *own.specs)
        programs = dict(own.programs)
        programs |= compile_probes(everything, context, kernel=kernel, log=directory / "probes.log")
    if elsewhere:
        chosen = AccelChoice(name="tcg", reason="the host of the guest has yet to choose", cpu="")
    else:
        chosen = choose_accel(subject.accel, kernel, context, listener)
        context.progress.note(f"{chosen.name}: {chosen.reason}")
    return Prepared(kernel, guest_image, subject.machine, chosen, programs, context, everything)


def choose_accel(
    wanted: str, kernel: Kernel, context: Context, listener: StageListener
) -> AccelChoice:
    """Return the accelerator for a kernel's guests on this host.

    Raises:
        AcceleratorError: if KVM is wanted, and does not work here.
    """
    listener.begin("accel")
    guest = arch(kernel.arch)
    candidates = accel.proof_kernels(Path(kernel.image), guest, context)
    chosen = accel.choose(wanted, candidates, context, arch_name=guest.name)
    listener.know(accel=chosen)
    return chosen


def _nothing() -> None:
    """Load nothing: no guest runs in this process."""


def build(
    subject: Subject,
    context: Context,
    directory: Path,
    listener: StageListener,
    before_make: Callable[[], None] = _nothing,
    headers_ready: HeadersReady = nothing_beside,
) -> Kernel:
    """Get only the kernel ready.

    Args:
        subject: what is under test.
        context: cache, deadline, progress.
        directory: takes ``build.log`` and, if the kernel has to be built, ``build.config``.
        listener: is told what becomes known.
        before_make: is called if the kernel is not in the cache.
        headers_ready: see `harness.kernel.obtain.obtain`.

    Raises:
        HarnessError: if it cannot be had.
    """

    def tell(parts: KernelParts, config: str) -> None:
        listener.know(tried=parts)
        if config:
            before_make()
            atomic_write(directory / rundir.BUILD_CONFIG, config)

    listener.begin("kernel", subject.kernel.source)
    kernel = obtain(
        subject.kernel,
        context,
        build_log=directory / "build.log",
        tell=tell,
        headers_ready=headers_ready,
    )
    listener.know(kernel=_summary(kernel), tried=None)
    return kernel


def _own_tests(
    requests: Sequence[str], kernel: Kernel, log: Path, context: Context, listener: StageListener
) -> Suite:
    if not requests:
        return Suite()
    from harness.probes import selftests  # a run without them need not import it

    listener.begin("kselftest", " ".join(requests))
    suite = selftests.obtain(requests, context, kernel=kernel, log=log)
    listener.note(suite.notes)
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
