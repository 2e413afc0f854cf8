# SPDX-License-Identifier: GPL-2.0-only
"""A whole run, from the request to the judged record."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from harness import reproducer
from harness.arch import arch
from harness.context import Context
from harness.evidence import vmcore
from harness.image import image
from harness.kernel import obtain
from harness.probes import catalog, known_issues, touched
from harness.recording import Recording, first_record, not_run, recorded
from harness.records.probe import ProbeSpec
from harness.records.run import GuestsRequest, RunRecord
from harness.run import guests, parallel, prepare
from harness.run.prepare import Prepared
from harness.run.request import RunRequest
from harness.workspace import readable


def run(request: RunRequest, runs: Path, context: Context) -> RunRecord:
    """Do a run and return its record, which lies in its run directory as well.

    What ends a run early, an interrupt included, is the record's verdict and raises nothing.

    Args:
        request: what to do.
        runs: where run directories live.
        context: cache, deadline, progress.

    Raises:
        UserError: if the request has a mistake; no run directory is made then.
    """
    with _recorded(request, runs, context) as (recording, specs):
        if request.build_only:
            _build(request, context, recording)
        else:
            prepared, found = _prepare(request, specs, context, recording, elsewhere=False)
            probe(prepared, found, recording)
    return recording.record


@dataclass(frozen=True)
class BegunRun:
    """A run that is ready for its guests, which another host runs; or one that ended before.

    Attributes:
        recording: its record so far.
        guests: what the other host is to run; None if the run has ended.
    """

    recording: Recording
    guests: GuestsRequest | None
    _ending: contextlib.ExitStack

    def end(self, result: RunRecord | BaseException) -> RunRecord:
        """End the run as another host's record says, or by an error, and return its record."""
        with self._ending:
            if isinstance(result, BaseException):
                raise result
            self.recording.take_over(result)
            if self.guests is not None and result.accel is not None:
                made_of = msgspec.structs.replace(self.guests.made_of, accel=result.accel)
                self.recording.keep_ingredients(made_of)
        return self.recording.record


def begin(request: RunRequest, runs: Path, context: Context) -> BegunRun:
    """Do a run up to its guests; arguments and errors are those of `run`."""
    ending = contextlib.ExitStack()
    recording, specs = ending.enter_context(_recorded(request, runs, context))
    with ending:
        if request.build_only:
            _build(request, context, recording)
        else:
            prepared, found = _prepare(request, specs, context, recording, elsewhere=True)
            recording.expect(not_run(found))
            recording.end_stage()
            guests = GuestsRequest(
                made_of=prepare.ingredients(prepared, found),
                accel=request.subject.accel,
                fresh_guest=request.fresh_guest,
                guests=request.guests,
                seconds=prepared.seconds,
            )
            return BegunRun(recording, guests, ending.pop_all())
    return BegunRun(recording, None, ending)


@contextlib.contextmanager
def _recorded(
    request: RunRequest, runs: Path, context: Context
) -> Iterator[tuple[Recording, tuple[ProbeSpec, ...]]]:
    """Check a request and record its run; yield the recording and the probes known so far."""
    choice = _touched(request, check(request, context), context)
    context.workspace.sweep()
    subject = request.subject
    planned = catalog.repeated(choice.specs, request.repeat, alone=request.alone)
    first = first_record(
        reproducer.words(request),
        subject.machine,
        request.expect,
        planned,
        request=request.summary,
        strict=request.strict,
    )
    first = msgspec.structs.replace(first, left_out=choice.left_out)
    with recorded(runs, readable(subject.kernel.source), first, context.progress) as recording:
        recording.note([choice.note] if choice.note else [])
        yield recording, choice.specs


def _build(request: RunRequest, context: Context, recording: Recording) -> None:
    prepare.build(request.subject, context, recording.run_dir, recording)
    recording.built()


def _prepare(
    request: RunRequest,
    specs: tuple[ProbeSpec, ...],
    context: Context,
    recording: Recording,
    *,
    elsewhere: bool,
) -> tuple[Prepared, tuple[ProbeSpec, ...]]:
    """Return what the guests of a run need, and its probes in the order they run."""
    prepared = prepare.prepare(
        request.subject,
        specs,
        context,
        recording.run_dir,
        recording,
        request.kselftests,
        elsewhere=elsewhere,
    )
    found = catalog.repeated(prepared.specs, request.repeat, alone=request.alone)
    prepared = replace(prepared, fresh_guest=request.fresh_guest, guests=request.guests)
    if request.guests > 1:
        seconds = parallel.earlier_seconds(recording.run_dir, found)
        prepared = replace(prepared, seconds=seconds)
    return prepared, found


def probe(prepared: Prepared, specs: Sequence[ProbeSpec], recording: Recording) -> None:
    """Run probes in guests and record the verdict.

    Args:
        prepared: all that a guest needs.
        specs: the probes, in the order they run.
        recording: the run's.

    Raises:
        HarnessError: if a guest could not be booted; results so far are in the record.
    """
    recording.will_run(prepare.ingredients(prepared, specs))
    recording.begin("guest")
    guests.run_probes(prepared, specs, recording)
    recording.begin("verdict")
    recording.probed()


def check(request: RunRequest, context: Context) -> tuple[ProbeSpec, ...]:
    """Find the mistakes in a request that can be known before anything is fetched or built.

    Returns:
        The probes that are asked for; the kernel's own tests are known with its tree only.

    Raises:
        UserError: if there is one.
        InfrastructureError: if there is no guest image and none can be made.
    """
    vmcore.policy()
    known_issues.check(context.workspace)
    specs = () if request.build_only else _selected(request)
    if specs and not request.kselftests:
        guests.require_askable(specs, request.subject.machine)
    obtain.check_request(request.subject.kernel, context)
    if not request.build_only:
        image.check(arch(request.subject.machine.arch), context)
    return specs


def _selected(request: RunRequest) -> tuple[ProbeSpec, ...]:
    known = catalog.load(sizes=catalog.sizes(request.subject.machine, request.probes))
    if not request.kselftests:
        features = request.subject.kernel.features
        return catalog.select(known, request.probes, features)
    from harness.probes import selftests  # which a run without them does without

    selftests.require_source(request.kselftests, request.subject.kernel.source)
    return catalog.select(known, request.probes) if request.probes else ()


def _touched(request: RunRequest, specs: tuple[ProbeSpec, ...], context: Context) -> touched.Choice:
    """Return the probes that look at what ``--touched`` names; all of them without it."""
    if not request.touched or not specs:
        return touched.Choice(specs)
    from harness.kernel import series  # a run without it does without these modules
    from harness.kernel.series import check as series_check
    from harness.kernel.specs import parse_series

    spec = parse_series(request.touched, request.touched_from)
    files = series_check.changed(series.read(spec, context), context)
    return touched.choose(specs, request.touched, files, catalog.touches())
