# SPDX-License-Identifier: GPL-2.0-only
"""The state of a campaign: which of its steps were run, read from the run directories themselves.

::

    CAMPAIGN/STEP/STAMP-.../result.json    a run of that step

A step is one kernel with its probes. A run counts once it has reached a verdict; one that was cut
or interrupted is kept as evidence and repeated. So a campaign can be killed and continued.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from harness import pipeline
from harness.context import Cluster, Context
from harness.errors import (
    CampaignStopped,
    DeadlineExpired,
    HarnessError,
    SpecError,
    UserError,
)
from harness.pipeline import BegunRun
from harness.records.outcome import Outcome
from harness.records.run import RunRecord
from harness.run.request import RunRequest
from harness.store import rundir
from harness.workspace import digest


class PlannedRun(NamedTuple):
    """A run of a step that is to be made.

    Attributes:
        step: the step's name.
        request: the run.
        seconds: what it may take, without waiting for a host; None for no limit of its own.
        limit: what has this limit, for messages.
        expected: seconds that its guests will take, as far as it is known.
    """

    step: str
    request: RunRequest
    seconds: float | None = None
    limit: str = ""
    expected: float = 0.0

    def within(self, context: Context) -> Context:
        """Return a context with the run's own limit."""
        if self.seconds is None:
            return context
        deadline = context.deadline.within(self.seconds, self.limit)
        return dataclasses.replace(context, deadline=deadline)


class CampaignState:
    """The runs of one campaign.

    Args:
        directory: the campaign's; created if it does not exist.
        context: cache, deadline, progress.
    """

    def __init__(self, directory: Path, context: Context) -> None:
        self.directory = directory
        self._context = context
        rundir.make_directory(directory)

    def runs(self, step: str) -> tuple[RunRecord, ...]:
        """Return the finished runs of a step, oldest first."""
        found = sorted(path.parent for path in (self.directory / step).glob("*/result.json"))
        # `latest` is a link to one of them.
        records = [_read(path) for path in found if not path.is_symlink()]
        return tuple(record for record in records if record is not None and decided(record))

    def run(self, step: str, request: RunRequest) -> RunRecord:
        """Run a step, and return the record.

        Raises:
            KeyboardInterrupt: if the run was interrupted.
            SpecError: if the request is wrong.
            CampaignStopped: if this host failed, and not the kernel.
        """
        ((_, result),) = self.run_each([PlannedRun(step, request)])
        return _raised(result)

    def once(self, step: str, request: RunRequest) -> RunRecord:
        """Return the first finished run of a step; run it now if there is none."""
        return next(iter(self.runs(step)), None) or self.run(step, request)

    def each_once(self, planned: Iterable[PlannedRun]) -> Iterator[tuple[PlannedRun, RunRecord]]:
        """Yield the first finished run of each step; those that are run now first, as they end.

        Raises:
            KeyboardInterrupt, SpecError, CampaignStopped: as `run`.
        """
        done: list[tuple[PlannedRun, RunRecord]] = []

        def missing() -> Iterator[PlannedRun]:
            for each in planned:
                runs = self.runs(each.step)
                if runs:
                    done.append((each, runs[0]))
                else:
                    yield each

        for each, result in self.run_each(missing()):
            yield each, _raised(result)
        yield from done

    def run_each(
        self, planned: Iterable[PlannedRun]
    ) -> Iterator[tuple[PlannedRun, RunRecord | UserError | CampaignStopped]]:
        """Make runs, and yield each with its record or why it has no result, as they end.

        Args:
            planned: is asked for the next run when there is a place for it, so that it can know
                the results before it.

        Raises:
            KeyboardInterrupt: if a run was interrupted.
            InfrastructureError: if no run can be made any more.
        """
        if self._context.cluster is not None:
            yield from self._run_on(self._context.cluster, planned)
            return
        for each in planned:
            try:
                record = pipeline.run(
                    each.request, self.directory / each.step, each.within(self._context)
                )
            except UserError as error:
                yield each, error
            else:
                yield each, _result(each.step, record)

    def _run_on(
        self, cluster: Cluster, planned: Iterable[PlannedRun]
    ) -> Iterator[tuple[PlannedRun, RunRecord | UserError | CampaignStopped]]:
        """Do as `run_each`, with guests on the hosts of a cluster; kernels are built here."""
        coming = iter(planned)
        away: dict[Path, tuple[PlannedRun, BegunRun]] = {}
        more = True
        try:
            while more or away:
                while more and len(away) < cluster.places():
                    each = next(coming, None)
                    if each is None:
                        more = False
                        break
                    result = self._begin(cluster, each, away)
                    if result is not None:
                        yield each, result
                for path, ended in self._ended(cluster, away).items():
                    each, begun = away.pop(path)
                    yield each, _result(each.step, begun.end(ended))
        except BaseException as error:
            cluster.cancel(away)
            for _, begun in away.values():
                begun.end(error)
            raise

    def _ended(
        self, cluster: Cluster, away: Collection[Path]
    ) -> Mapping[Path, RunRecord | HarnessError]:
        """Return runs that have ended; all of them if the campaign's time is over."""
        if not away:
            return {}
        try:
            return cluster.ended(away, self._context.deadline)
        except DeadlineExpired as error:
            cluster.cancel(away)
            return dict.fromkeys(away, error)

    def _begin(
        self, cluster: Cluster, each: PlannedRun, away: dict[Path, tuple[PlannedRun, BegunRun]]
    ) -> RunRecord | UserError | CampaignStopped | None:
        """Begin a run and give it away; return the result if it has ended before its guests."""
        context = each.within(self._context)
        try:
            begun = pipeline.begin(each.request, self.directory / each.step, context)
        except UserError as error:
            return error
        if begun.guests is None:
            return _result(each.step, begun.recording.record)
        path = begun.recording.run_dir
        away[path] = each, begun  # where an interrupt finds it
        try:
            left = self._context.deadline.remaining()
            seconds = min(each.seconds or left, left)
            cluster.submit(path, begun.guests, seconds, each.expected)
        except HarnessError as error:  # no host can run it
            del away[path]
            return _result(each.step, begun.end(error))
        return None


def _result(step: str, record: RunRecord) -> RunRecord | SpecError | CampaignStopped:
    """Return a run's record if it is a result, else the error that says why it is none."""
    if record.outcome is Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    if decided(record):
        return record
    if record.outcome is Outcome.USER_MISTAKE:
        return SpecError(f"step {step}: {record.reason}")
    return CampaignStopped(
        f"step {step}: {record.reason}",
        hint="fix that and repeat the command, which continues from here",
    )


def _raised(result: RunRecord | HarnessError) -> RunRecord:
    if isinstance(result, HarnessError):
        raise result
    return result


def _read(run_dir: Path) -> RunRecord | None:
    try:
        return rundir.load(run_dir)
    except HarnessError:
        return None


def counts(record: RunRecord) -> bool:
    """Return whether a run says something about its kernel."""
    return record.outcome.about_the_kernel


def decided(record: RunRecord) -> bool:
    """Return whether a run need not be repeated: it counts, or its series does not apply."""
    return counts(record) or not applied(record)


def applied(record: RunRecord) -> bool:
    """Return whether the series applied."""
    return record.outcome is not Outcome.PATCH_REFUSED


def built(record: RunRecord) -> bool:
    """Return whether the kernel could be configured and compiled."""
    return record.outcome not in (Outcome.NOT_COMPILED, Outcome.CONFIG_REFUSED)


def booted(record: RunRecord) -> bool:
    """Return whether the kernel, if it was built, booted."""
    return record.outcome is not Outcome.NOT_BOOTED


def lack(record: RunRecord) -> Literal["", "no build", "no boot"]:
    """Return why a run's kernel was not probed; empty if it booted."""
    if not (applied(record) and built(record)):
        return "no build"
    return "" if booted(record) else "no boot"


@contextlib.contextmanager
def campaign(
    kind: str, label: str, identity: Sequence[object], runs: Path, context: Context
) -> Iterator[CampaignState]:
    """Open the directory of a campaign, the same for the same identity, and lock it.

    Args:
        kind: one of `rundir.CAMPAIGNS`.
        label: part of the directory's name, for people.
        identity: what two campaigns must share to be the same one; msgspec must be able to encode
            it.
        runs: where run directories are made.
        context: cache, deadline, progress.
    """
    key = digest(kind, msgspec.json.encode(identity))[:8]
    directory = rundir.campaign_directory(runs, kind, label, key)
    lock = f"campaigns/{digest(str(directory))[:16]}"
    with context.workspace.lock(lock, context.deadline, context.progress):
        yield CampaignState(directory, context)


def repeated(request: RunRequest, times: int) -> RunRequest:
    """Return the run that repeats its probes so often, each time in a guest of its own.

    Repetitions in one guest would be a single sample of what is decided at boot.
    """
    return request if times == 1 else msgspec.structs.replace(request, repeat=times, alone=True)
