# SPDX-License-Identifier: GPL-2.0-only
"""`hgm replay`: an unpacked bundle's run once more, with its own kernel and its own probes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from harness.context import Context
from harness.image import image
from harness.judge import run_verdict
from harness.records.machine import GuestImage
from harness.records.probe import ProbeResult, Status
from harness.records.run import Ingredients, RunRecord
from harness.run import guests, prepare
from harness.store import bundle, rundir
from harness.store.rundir import RunStore
from harness.vm import accel
from harness.workspace import new_run_directory


class Comparison(NamedTuple):
    """How one probe ended, and how it ended this time.

    Attributes:
        name: the probe.
        then: its status in the bundle.
        now: its status this time.
        reason: one line about this time.
    """

    name: str
    then: Status
    now: Status
    reason: str


class Replay(NamedTuple):
    """A run and its repetition.

    Attributes:
        then: the bundle's record.
        now: this time's record.
        probes: each probe of both.
        notes: what is not as it was.
    """

    then: RunRecord
    now: RunRecord
    probes: tuple[Comparison, ...]
    notes: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Return whether the verdict, and every probe, is what it was."""
        return self.then.verdict == self.now.verdict and all(
            probe.then == probe.now for probe in self.probes
        )


def replay(directory: Path, runs: Path, accel_name: str, context: Context) -> Replay:
    """Run what a bundle holds.

    Args:
        directory: the unpacked bundle.
        runs: where the run directory is made.
        accel_name: ``auto``, ``kvm``, ``tcg``, or empty for the one that it ran with.
        context: cache, deadline, progress.

    Raises:
        RecordError: if it is no bundle.
        HarnessError: if a guest could not be booted.
    """
    then, made_of = rundir.load(directory), bundle.load(directory)
    context.progress.stage("image")
    guest_image = image.obtain(context)
    notes = tuple(_differences(made_of, guest_image))
    prepared = _prepared(directory, made_of, guest_image, accel_name, context)
    now = RunStore(
        new_run_directory(runs, "replay"),
        msgspec.structs.replace(
            RunRecord(),
            expect=then.expect,
            kernel=then.kernel,
            machine=made_of.machine,
            probes=tuple(
                ProbeResult(name=spec.name, status="LOST", reason="it was not run")
                for spec in made_of.specs
            ),
        ),
    )
    context.progress.stage("guest")
    guests.run_probes(prepared, made_of.specs, now)
    record = now.record
    verdict = run_verdict.judge_run(
        record.probes, expect=record.expect, hgm=record.hgm, splats=record.splats
    )
    record = now.update(**verdict._asdict(), stage="done")
    return Replay(then, record, compare(then, record), notes)


def compare(then: RunRecord, now: RunRecord) -> tuple[Comparison, ...]:
    """Return how each probe of a run ended in it and in its repetition."""
    again = {probe.name: probe for probe in now.probes}
    lost = ProbeResult(name="", status="LOST", reason="it was not run")
    pairs = ((probe, again.get(probe.name, lost)) for probe in then.probes)
    return tuple(Comparison(old.name, old.status, new.status, new.reason) for old, new in pairs)


def _prepared(
    directory: Path,
    made_of: Ingredients,
    guest_image: GuestImage,
    accel_name: str,
    context: Context,
) -> prepare.Prepared:
    parts = {
        name: str(directory.absolute() / path)
        for name in ("image", "config", "vmlinux")
        if (path := getattr(made_of.kernel, name))
    }
    kernel = msgspec.structs.replace(made_of.kernel, **parts)
    candidates = accel.proof_kernels(Path(kernel.image), context)
    chosen = accel.choose(
        accel_name or made_of.accel.name, candidates, context, arch_name=made_of.machine.arch
    )
    programs = {name: directory.absolute() / path for name, path in made_of.programs.items()}
    return prepare.Prepared(
        kernel, guest_image, made_of.machine, chosen, programs, context, made_of.specs
    )


def _differences(made_of: Ingredients, guest_image: GuestImage) -> Iterator[str]:
    if made_of.image.key != guest_image.key:
        yield "the guest image is not the same; image/manifest.json names the packages it had"
