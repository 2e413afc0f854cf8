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

from harness import host, pipeline
from harness.context import Context
from harness.errors import CampaignStopped, HarnessError, SpecError, UserError
from harness.pipeline import RunRequest
from harness.records.run import RunRecord
from harness.reproducer import kernel_words, probe_words, subject_words
from harness.run.subject import Subject
from harness.store import rundir
from harness.workspace import digest, readable

#: Errors that say something about a point and not about this host, by stage.
_OF_THE_SERIES = ("kernel", ("SeriesError",))
_OF_THE_BUILD = ("kernel", ("CompileError", "ConfigError"))
_OF_THE_BOOT = ("guest", ("GuestPanicked", "GuestSilent", "SshUnreachable", "GuestLost"))

_UNFINISHED = ("CUT", "INTERRUPTED")


class CampaignState:
    """The runs of one campaign.

    Args:
        directory: the campaign's own; made if it is not there.
        context: cache, deadline, progress.
    """

    def __init__(self, directory: Path, context: Context) -> None:
        self.directory = directory
        self._context = context
        directory.mkdir(parents=True, exist_ok=True)

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
        if record.verdict == "INTERRUPTED":
            raise KeyboardInterrupt
        if decided(record):
            return record
        if record.stage == "kernel" and record.exit_code == UserError.exit_code:
            raise SpecError(f"point {point}: {record.reason}")
        raise CampaignStopped(
            f"point {point}: {record.reason}",
            hint="mend it and give the same command again: it goes on from here",
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
    if record.verdict in _UNFINISHED:
        return False
    return record.verdict != "ERROR" or not record.error or not (built(record) and booted(record))


def decided(record: RunRecord) -> bool:
    """Return whether a run says something about its point: it counts, or has no kernel to run."""
    return counts(record) or not applied(record)


def applied(record: RunRecord) -> bool:
    """Return whether the point's series could be put on its source."""
    return not _ended_by(record, *_OF_THE_SERIES)


def built(record: RunRecord) -> bool:
    """Return whether the point's kernel could be configured and compiled."""
    return not _ended_by(record, *_OF_THE_BUILD)


def booted(record: RunRecord) -> bool:
    """Return whether the point's kernel, if it was built, came up."""
    return not _ended_by(record, *_OF_THE_BOOT)


def _ended_by(record: RunRecord, stage: str, errors: tuple[str, ...]) -> bool:
    return record.stage == stage and record.error in errors


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


def request(subject: Subject, probes: Sequence[str], *, build_only: bool = False) -> RunRequest:
    """Return the run that a point is, with the command that does it again from anywhere.

    Args:
        subject: the point's kernel on its machine.
        probes: globs over probe names; all when empty.
        build_only: whether it is to be built and no more.
    """
    words = ("kernel", "build", *kernel_words(subject.kernel))
    if not build_only:
        # Of one of our own series, `hgm run` would expect HGM; a point is asked what it is.
        words = ("run", *subject_words(subject), *probe_words(probes), "--expect", "report")
    return RunRequest(
        subject=subject,
        probes=tuple(probes),
        build_only=build_only,
        command=host.command_line(words),
    )


def repeated(request: RunRequest, times: int) -> RunRequest:
    """Return the run that asks so often, each time in a guest of its own.

    What a boot decides would be one answer, however often one guest is asked.
    """
    if times == 1:
        return request
    words = (*request.command, "--repeat", str(times), "--alone")
    return msgspec.structs.replace(request, repeat=times, alone=True, command=words)
