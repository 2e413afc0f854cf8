# SPDX-License-Identifier: GPL-2.0-only
"""The state of a campaign: which of its steps were run, read from the run directories themselves.

::

    CAMPAIGN/STEP/STAMP-.../result.json    a run of that step

A step is one kernel with its probes. A run counts once it has reached a verdict; one that was cut
or interrupted is kept as evidence and repeated. So a campaign can be killed and continued.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from harness import pipeline
from harness.context import Context
from harness.errors import CampaignStopped, HarnessError, SpecError
from harness.records.outcome import Outcome
from harness.records.run import RunRecord
from harness.run.request import RunRequest
from harness.store import rundir
from harness.workspace import digest


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
        record = pipeline.run(request, self.directory / step, self._context)
        if record.outcome is Outcome.INTERRUPTED:
            raise KeyboardInterrupt
        if decided(record):
            return record
        if record.outcome is Outcome.USER_MISTAKE:
            raise SpecError(f"step {step}: {record.reason}")
        raise CampaignStopped(
            f"step {step}: {record.reason}",
            hint="fix that and repeat the command, which continues from here",
        )

    def once(self, step: str, request: RunRequest) -> RunRecord:
        """Return the first finished run of a step; run it now if there is none."""
        return next(iter(self.runs(step)), None) or self.run(step, request)


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
