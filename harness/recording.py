# SPDX-License-Identifier: GPL-2.0-only
"""Records a run from its beginning to its end, however it ends. There is no other way."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

import harness
from harness import host
from harness.errors import INTERNAL, HarnessError, foreseen
from harness.progress import Progress
from harness.records.machine import MachineSpec, PoolSummary
from harness.records.outcome import Outcome
from harness.records.probe import ProbeResult, ProbeSpec
from harness.records.run import Ingredients, Profile, RequestSummary, RunRecord, StageTime
from harness.report import files
from harness.store.history import background
from harness.store.rundir import RunStore, new_run_directory
from harness.vm import pool

_NOT_RUN = "it was not run"
_UNREAD = "broken pipe: the reader of the output has ended"
_BUILT = "the kernel is built; nothing else was asked for"


class Recording(RunStore):
    """A run under way: shows and times its stages, and keeps their results in its record.

    Args:
        run_dir: an existing directory.
        first: what is known before the run, see `first_record`; or the record of one that another
            host began.
        progress: is shown the stages.
    """

    def __init__(self, run_dir: Path, first: RunRecord, progress: Progress) -> None:
        super().__init__(run_dir, first)
        self._progress = progress
        self._stage = ""
        self._stage_began = time.monotonic()
        self._run_began = self._stage_began - first.seconds

    def begin(self, name: str, detail: str = "") -> None:
        """End the stage under way and begin another."""
        self.end_stage()
        self._stage, self._stage_began = name, time.monotonic()
        self.know(stage=name)
        self._progress.stage(name, detail)

    def end_stage(self) -> None:
        """Record how long the stage under way took."""
        if not self._stage:
            return
        now = time.monotonic()
        spent = StageTime(name=self._stage, seconds=round(now - self._stage_began, 3))
        self._stage = ""
        self.know(stages=(*self.record.stages, spent), seconds=round(now - self._run_began, 3))

    def will_run(self, ingredients: Ingredients) -> None:
        """Record the ingredients; the probes are LOST until they have been run."""
        self.expect(not_run(ingredients.specs))
        self.keep_ingredients(ingredients)

    def take_over(self, record: RunRecord) -> None:
        """Continue with the record of this run that another host has written."""
        with self.lock:
            self.record = msgspec.structs.replace(record, run_dir=self.record.run_dir)
            self.know()

    def built(self) -> None:
        """End a run that only had to build its kernel."""
        self.end(Outcome.BUILT_ONLY, "PASS", 0, _BUILT)

    def probed(self) -> None:
        """End a run whose probes were run with the judge's verdict."""
        from harness.judge import run_verdict  # a guest starts without it
        from harness.run import judging

        issues = judging.issues_of(self.record.kernel)
        ended = run_verdict.judge_run(self.record, issues)
        self.know(promises=ended.promises, known_issues=ended.known_issues)
        self.end(Outcome.PROBES_RAN, ended.verdict, ended.exit_code, ended.reason)

    def failed(self, error: Exception) -> None:
        """End a run that an error ended."""
        known = foreseen(error)
        if known is None:
            unread = isinstance(error, BrokenPipeError)
            reason = _UNREAD if unread else f"{INTERNAL}: {error!r}"
            self.end(Outcome.INFRASTRUCTURE, "ERROR", HarnessError.exit_code, reason)
            return
        self.note([f"console: {line}" for line in known.console])
        self.know(error_seconds=round(known.seconds, 3))
        self.end(known.outcome, "ERROR", known.exit_code, known.line())


@contextlib.contextmanager
def recorded(runs: Path, label: str, first: RunRecord, progress: Progress) -> Iterator[Recording]:
    """Make a run directory, and record what ends the run in it.

    An error or interrupt that ends the run becomes its verdict and is not raised, except for a bug
    of the harness, which is recorded and raised.

    Args:
        runs: where run directories live.
        label: part of the directory's name, for people.
        first: what is known before the run, see `first_record`.
        progress: is shown the stages.

    Raises:
        SpecError: if there can be no run directory.
        NoSpace: if the file system is full, so that nothing more can be recorded.
    """
    recording = Recording(new_run_directory(runs, label), first, progress)
    files.write_reproduce(recording)
    try:
        with ended(recording):
            yield recording
    finally:
        files.write_reproduce(recording)
        files.write_junit(recording)
        background.record(recording.record, progress)


@contextlib.contextmanager
def ended(recording: Recording) -> Iterator[None]:
    """Record what ends a run; an error of the tree and an interrupt are not raised."""
    try:
        yield
    except KeyboardInterrupt:
        recording.end(Outcome.INTERRUPTED, "INTERRUPTED", 130, "interrupted")
    except Exception as error:
        recording.failed(error)
        if foreseen(error) is None:
            raise
    finally:
        recording.end_stage()


def first_record(
    words: Sequence[str],
    machine: MachineSpec,
    expect: Profile,
    specs: Sequence[ProbeSpec],
    *,
    request: RequestSummary | None = None,
    strict: bool = False,
) -> RunRecord:
    """Return what is known of a run before it begins.

    Args:
        words: what `hgm` is given to do it again, see `harness.reproducer`.
        machine: what is to be booted.
        expect: what the kernel is expected to be.
        specs: the probes, as far as they are known.
        request: what was asked for; None for a replay.
        strict: whether known issues fail the run.
    """
    return RunRecord(
        reason="the run has not ended: it is under way, or was killed",
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        harness=harness.__version__,
        command=host.command_line(words),
        request=request,
        expect=expect,
        strict=strict,
        machine=machine,
        hugepages=PoolSummary(asked=pool.by_size(machine.hugepages)),
        probes=not_run(specs),
    )


def not_run(specs: Sequence[ProbeSpec]) -> tuple[ProbeResult, ...]:
    """Return the results of probes that have not been run."""
    return tuple(ProbeResult(name=each.name, status="LOST", reason=_NOT_RUN) for each in specs)
