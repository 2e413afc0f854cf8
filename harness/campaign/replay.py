# SPDX-License-Identifier: GPL-2.0-only
"""`hgm replay`: repeats the run of an unpacked bundle with its kernel and its probes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from harness import pipeline, recording, reproducer
from harness.arch import arch
from harness.campaign import state
from harness.context import Context
from harness.image import image
from harness.records.machine import GuestImage
from harness.records.probe import ProbeResult, Status
from harness.records.run import Ingredients, RunRecord
from harness.run import prepare
from harness.run.listener import StageListener
from harness.store import rundir


class ReplayedProbe(NamedTuple):
    """How one probe ended in the bundle, and how it ended this time.

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
        notes: what differs from the bundle.
    """

    then: RunRecord
    now: RunRecord
    probes: tuple[ReplayedProbe, ...]
    notes: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Return whether the verdict and every probe ended the same."""
        return self.then.verdict == self.now.verdict and all(
            probe.then == probe.now for probe in self.probes
        )

    @property
    def exit_code(self) -> int:
        """Return 0 if it is the same, 1 if it is not, and the run's own where that says nothing."""
        if not state.counts(self.now):
            return self.now.exit_code
        return 0 if self.same else 1


def replay(directory: Path, runs: Path, accel_name: str, context: Context) -> Replay:
    """Run what a bundle holds; what ends the run early is in its record, as with `pipeline.run`.

    Args:
        directory: the unpacked bundle.
        runs: where the run directory is made.
        accel_name: ``auto``, ``kvm``, ``tcg``, or empty for the one that it ran with.
        context: cache, deadline, progress.

    Raises:
        RecordError: if it is not a bundle.
    """
    then, made_of = rundir.load(directory), rundir.load_ingredients(directory)
    words = reproducer.replay_words(directory, accel_name)
    first = recording.first_record(
        words, made_of.machine, then.expect, made_of.specs, strict=then.strict
    )
    notes: list[str] = []
    with recording.recorded(runs, "replay", first, context.progress) as run:
        if then.kernel is not None:
            run.know(kernel=then.kernel)
        prepared = _prepared(directory, made_of, accel_name, context, run)
        notes += _differences(made_of, prepared.image)
        run.note(notes)
        pipeline.probe(prepared, made_of.specs, run)
    return Replay(then, run.record, compare(then, run.record), tuple(notes))


def compare(then: RunRecord, now: RunRecord) -> tuple[ReplayedProbe, ...]:
    """Return how each probe of a run ended in it and in its repetition."""
    again = {probe.name: probe for probe in now.probes}
    lost = ProbeResult(name="", status="LOST", reason="it was not run")
    pairs = ((probe, again.get(probe.name, lost)) for probe in then.probes)
    return tuple(ReplayedProbe(old.name, old.status, new.status, new.reason) for old, new in pairs)


def _prepared(
    directory: Path,
    made_of: Ingredients,
    accel_name: str,
    context: Context,
    listener: StageListener,
) -> prepare.Prepared:
    """Return what a guest needs: the bundle's kernel and programs, and an image of this host."""
    listener.begin("image")
    guest = arch(made_of.machine.arch)
    guest_image = image.obtain(guest, context)
    listener.know(image=guest_image.key)
    parts = {
        name: str(directory.absolute() / path)
        for name in ("image", "config", "vmlinux", "modules")
        if (path := getattr(made_of.kernel, name))
    }
    kernel = msgspec.structs.replace(made_of.kernel, **parts)
    wanted = accel_name or made_of.accel.name
    chosen = prepare.choose_accel(wanted, kernel, context, listener)
    programs = {name: directory.absolute() / path for name, path in made_of.programs.items()}
    return prepare.Prepared(
        kernel, guest_image, made_of.machine, chosen, programs, context, made_of.specs
    )


def _differences(made_of: Ingredients, guest_image: GuestImage) -> Iterator[str]:
    if made_of.image.key != guest_image.key:
        yield "the guest image is not the same; image/manifest.json names the packages it had"
