# SPDX-License-Identifier: GPL-2.0-only
"""The state of a campaign: which of its points were run, read from the run directories themselves.

::

    CAMPAIGN/POINT/STAMP-.../result.json    a run of that point

A run counts once it has reached a verdict. One that was cut or interrupted lies there as evidence
and is done again, so nothing is lost by a kill and nothing that was finished is done twice.
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
from harness.workspace import digest, readable

#: Outcomes that say something about the kernel of a run.
_OF_THE_KERNEL = frozenset(
    {
        Outcome.PROBES_RAN,
        Outcome.BUILT_ONLY,
        Outcome.NOT_COMPILED,
        Outcome.CONFIG_REFUSED,
        Outcome.NOT_BOOTED,
    }
)


class CampaignState:
    """The runs of one campaign.

    Args:
        directory: the campaign's own; made if it is not there.
        context: cache, deadline, progress.
    """

    def __init__(self, directory: Path, context: Context) -> None:
        self.directory = directory
        self._context = context
        rundir.make_directory(directory)

    def runs(self, point: str) -> tuple[RunRecord, ...]:
        """Return the finished runs of a point, oldest first."""
        found = sorted(path.parent for path in (self.directory / point).glob("*/result.json"))
        # One of the names is `latest`, which is another run's.
        records = [_read(path) for path in found if not path.is_symlink()]
        return tuple(record for record in records if record is not None and decided(record))

    def run(self, point: str, request: RunRequest) -> RunRecord:
        """Run a point, and return the record.

        Raises:
            KeyboardInterrupt: if the run was interrupted.
            SpecError: if what was asked for cannot be.
            CampaignStopped: if this host could not do it; the kernel is not to blame.
        """
        record = pipeline.run(request, self.directory / point, self._context)
        if record.outcome is Outcome.INTERRUPTED:
            raise KeyboardInterrupt
        if decided(record):
            return record
        if record.outcome is Outcome.USER_MISTAKE:
            raise SpecError(f"point {point}: {record.reason}")
        raise CampaignStopped(
            f"point {point}: {record.reason}",
            hint="correct that and give the same command again: it goes on from here",
        )

    def once(self, point: str, request: RunRequest) -> RunRecord:
        """Return the first finished run of a point, run now if there is none."""
        return next(iter(self.runs(point)), None) or self.run(point, request)


def _read(run_dir: Path) -> RunRecord | None:
    try:
        return rundir.load(run_dir)
    except HarnessError:
        return None


def counts(record: RunRecord) -> bool:
    """Return whether a run says something about its kernel."""
    return record.outcome in _OF_THE_KERNEL


def decided(record: RunRecord) -> bool:
    """Return whether a run says something about its point: it counts, or has no kernel to run."""
    return counts(record) or not applied(record)


def applied(record: RunRecord) -> bool:
    """Return whether the point's series could be put on its source."""
    return record.outcome is not Outcome.PATCH_REFUSED


def built(record: RunRecord) -> bool:
    """Return whether the point's kernel could be configured and compiled."""
    return record.outcome not in (Outcome.NOT_COMPILED, Outcome.CONFIG_REFUSED)


def booted(record: RunRecord) -> bool:
    """Return whether the point's kernel, if it was built, came up."""
    return record.outcome is not Outcome.NOT_BOOTED


def lack(record: RunRecord) -> Literal["", "no build", "no boot"]:
    """Return what a point's kernel lacks to be probed; nothing where it came up."""
    if not (applied(record) and built(record)):
        return "no build"
    return "" if booted(record) else "no boot"


@contextlib.contextmanager
def campaign(
    kind: str, label: str, identity: Sequence[object], runs: Path, context: Context
) -> Iterator[CampaignState]:
    """Open the directory of a campaign, the same for the same identity, and lock it.

    Args:
        kind: ``try`` or ``bisect``.
        label: what a person looks for in the name.
        identity: what two campaigns must share to be the same one; msgspec must be able to encode
            it.
        runs: where run directories are made.
        context: cache, deadline, progress.
    """
    key = digest(kind, msgspec.json.encode(identity))[:8]
    directory = runs.absolute() / f"{kind}-{readable(label)}-{key}"
    lock = f"campaigns/{digest(str(directory))[:16]}"
    with context.workspace.lock(lock, context.deadline, context.progress):
        yield CampaignState(directory, context)


def repeated(request: RunRequest, times: int) -> RunRequest:
    """Return the run that asks so often, each time in a guest of its own.

    What a boot decides would be one answer, however often one guest is asked.
    """
    return request if times == 1 else msgspec.structs.replace(request, repeat=times, alone=True)
