# SPDX-License-Identifier: GPL-2.0-only
"""The record of a run, which is what ``result.json`` holds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Literal, TypedDict

import msgspec

from harness.records.base import Record
from harness.records.kernel import Kernel, KernelParts, KernelSummary
from harness.records.known_issue import IssueState
from harness.records.machine import (
    AccelChoice,
    GuestImage,
    GuestOrigin,
    MachineSpec,
    PoolSummary,
)
from harness.records.outcome import Outcome
from harness.records.probe import ProbeResult, ProbeSpec, Splat, Stalled

#: Version of the layout of ``result.json``; `harness.store.upgrade` reads the ones before it.
SCHEMA = 2

#: How a run can end: as expected, not as expected, by an error before a verdict, or cut.
Verdict = Literal["PASS", "FAIL", "ERROR", "INTERRUPTED", "CUT"]


class Profile(Record, frozen=True, kw_only=True):
    """What a kernel is expected to be; ``probes/promises.toml`` has the promises and profiles.

    Attributes:
        name: of a profile, or the path of the file it was read from.
        offers: promises that the kernel must offer.
        lacks: promises that it must not offer.
    """

    name: str
    offers: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


#: Nothing is expected: what the kernel offers is reported.
REPORT = Profile(name="report")


class PromiseState(Record, frozen=True, kw_only=True):
    """What became of a promise in a run.

    Attributes:
        name: of ``probes/promises.toml``.
        size: of the huge pages, such as ``1G``.
        state: ``kept``; ``not offered``; ``broken``: offered, and a test that rests on it failed,
            or the question ended in a wait or a crash; ``unknown``: it could not be asked.
        word: the kernel's answer, such as ``EINVAL``.
        broken_by: the tests that failed.
    """

    name: str
    size: str
    state: Literal["kept", "not offered", "broken", "unknown"]
    word: str = ""
    broken_by: tuple[str, ...] = ()


class Ingredients(Record, frozen=True, kw_only=True):
    """The parts of a run, from which it can be repeated elsewhere: ``ingredients.json``.

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


class GuestsRequest(Record, frozen=True, kw_only=True):
    """The guests of a run whose kernel is ready, for another host to run.

    Attributes:
        made_of: the parts; the accelerator is chosen by the host that runs the guests.
        accel: ``auto``, ``kvm`` or ``tcg``.
        fresh_guest: whether each probe's guest is restored from a snapshot.
        guests: how many may run at the same time.
        seconds: how long probes took when they last ran, by name, as far as the history knows.
    """

    made_of: Ingredients
    accel: str = "auto"
    fresh_guest: bool = False
    guests: int = 1
    seconds: Mapping[str, float] = msgspec.field(default_factory=dict)


class RequestSummary(Record, frozen=True, kw_only=True):
    """What was asked for, known before anything is built: by it runs of many nights are compared.

    Attributes:
        kernel: the source without its version, see `harness.kernel.specs.SourceSpec.line`.
        series: the series without its version, see `harness.kernel.specs.SeriesSpec.line`.
        first: how many of the series' patches were to be applied; None for all.
        extra: patches on top: paths of files, or numbers of patches of the series.
        features: of the configuration, in order, without the base.
        probes: globs over probe names; empty for all, or for none where kselftests are asked for.
        touched: a series, of which those are run that look at what it changes; empty for none.
        kselftests: the kernel's own tests, by words like ``mm``.
        build_only: whether only the kernel was to be built.
    """

    kernel: str
    series: str = "none"
    first: int | None = None
    extra: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    touched: str = ""
    kselftests: tuple[str, ...] = ()
    build_only: bool = False


class HgmSupport(Record, frozen=True, kw_only=True):
    """Whether the kernel that ran has high-granularity mapping, as it answered itself.

    Attributes:
        present: True or False; None before it was asked.
        evidence: what the kernel answered, such as ``MADV_SPLIT: EINVAL``.
    """

    present: bool | None = None
    evidence: str = ""


class StageTime(Record, frozen=True, kw_only=True):
    """How long one stage took.

    Attributes:
        name: ``kernel``, ``image``, ``kselftest``, ``probes``, ``accel``, ``guest``, ``verdict``.
        seconds: wall time.
    """

    name: str
    seconds: float


class RunRecord(Record, frozen=True, kw_only=True):
    """The whole of ``result.json``.

    It is rewritten, whole and atomically, whenever something becomes known. Until the run's last
    write its verdict and outcome say that it was cut, so that a run that was killed is on record as
    such.

    Attributes:
        schema: `SCHEMA`.
        verdict: see `Verdict`.
        outcome: how far it came and what stopped it; see `Outcome`.
        exit_code: what the command ended with; 3 while the verdict is CUT.
        reason: one line.
        error_seconds: wall time of the program that failed, where it is a make that did not build
            the kernel; else 0.
        stage: the stage that was under way when this was written; ``done`` at the end; ``kernel``
            too where it was only to be built.
        started: UTC, ISO 8601.
        seconds: wall time so far.
        harness: version of this program.
        command: the argv that reproduces the run.
        request: what was asked for; None for a replay, and in records of older versions.
        expect: what the kernel was expected to be.
        strict: whether known issues fail the run.
        promises: what became of each promise that a probe asked about, by huge-page size.
        known_issues: those that the kernel has by its version, of which a probe ran the test.
        kernel: None before the kernel is there.
        tried: what the kernel was to be made of, where it is not there; None before that is known.
        hgm: whether the kernel has the feature.
        accel: None before the choice was made.
        machine: what was booted.
        hugepages: asked and got.
        qemu: QEMU's command line; empty before it was started.
        qemu_version: such as ``7.2.22``.
        image: key of the guest image.
        guests: how each guest came to be, in the order they were started.
        run_dir: absolute path of the run directory.
        probes: in the order they ran; one that was selected and did not run is LOST.
        left_out: what ``--touched`` left out, names and families of probes.
        splats: what the kernel reported outside of any probe, and is its own fault.
        machine_splats: what it reported there, and is the machine's: before init, as another kernel
            did on this machine; or a lack of progress, while the host was busy.
        stalled: where it reported a lack of progress outside of any probe.
        stages: how long each stage took.
        notes: lines that a reader of the result should see.
        timeout_scale: how many times longer than where the budgets were measured the slowest guest
            took for the same work; budgets are multiplied by it. 0 before it was measured.
    """

    schema: int = SCHEMA
    verdict: Verdict = "CUT"
    outcome: Outcome = Outcome.CUT
    exit_code: int = 3
    reason: str = ""
    error_seconds: float = 0.0
    stage: str = "start"
    started: str = ""
    seconds: float = 0.0
    harness: str = ""
    command: tuple[str, ...] = ()
    request: RequestSummary | None = None
    expect: Profile = REPORT
    strict: bool = False
    kernel: KernelSummary | None = None
    tried: KernelParts | None = None
    hgm: HgmSupport = HgmSupport()
    promises: tuple[PromiseState, ...] = ()
    known_issues: tuple[IssueState, ...] = ()
    accel: AccelChoice | None = None
    machine: MachineSpec | None = None
    hugepages: PoolSummary | None = None
    qemu: tuple[str, ...] = ()
    qemu_version: str = ""
    image: str = ""
    guests: tuple[GuestOrigin, ...] = ()
    run_dir: str = ""
    probes: tuple[ProbeResult, ...] = ()
    left_out: tuple[str, ...] = ()
    splats: tuple[Splat, ...] = ()
    machine_splats: tuple[Splat, ...] = ()
    stalled: tuple[Stalled, ...] = ()
    stages: tuple[StageTime, ...] = ()
    notes: tuple[str, ...] = ()
    timeout_scale: float = 0.0

    @property
    def guest_seconds(self) -> float:
        """Return the wall time of the guests, their boots included."""
        return sum(stage.seconds for stage in self.stages if stage.name == "guest")

    @property
    def made_of(self) -> KernelSummary | KernelParts | None:
        """Return the kernel, or what it was to be made of; None where not even that is known."""
        return self.kernel or self.tried

    @property
    def boot_seconds(self) -> float:
        """Return the median wall time of the boots; 0 if no boot's is known."""
        boots = [each.seconds for each in self.guests if each.how == "booted" and each.seconds]
        return statistics.median(boots) if boots else 0.0

    def is_base_of(self, other: RunRecord) -> bool:
        """Return whether the other run's kernel is this one's source with patches applied."""
        one, two = self.made_of, other.made_of
        if one is None or two is None:
            return False
        same = bool(one.source.tree) and one.source.tree == two.source.tree
        return same and not one.series.patches and bool(two.series.patches)


class Known(TypedDict, total=False):
    """What becomes known of a run while it is under way: fields of `RunRecord`."""

    verdict: Verdict
    outcome: Outcome
    exit_code: int
    reason: str
    error_seconds: float
    stage: str
    seconds: float
    promises: tuple[PromiseState, ...]
    known_issues: tuple[IssueState, ...]
    kernel: KernelSummary
    tried: KernelParts | None
    hgm: HgmSupport
    accel: AccelChoice
    hugepages: PoolSummary
    qemu: tuple[str, ...]
    qemu_version: str
    image: str
    guests: tuple[GuestOrigin, ...]
    probes: tuple[ProbeResult, ...]
    splats: tuple[Splat, ...]
    machine_splats: tuple[Splat, ...]
    stalled: tuple[Stalled, ...]
    stages: tuple[StageTime, ...]
    notes: tuple[str, ...]
    timeout_scale: float
