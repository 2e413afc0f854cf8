# SPDX-License-Identifier: GPL-2.0-only
"""Everything that can end a run early, as one tree.

::

    HarnessError
    ├── UserError                exit 2: the caller can correct it
    │   ├── SpecError            a --kernel, --series, --hugepages ... of unknown form
    │   ├── SourceError          a kernel source that is absent, damaged, or not a kernel
    │   ├── SeriesError          a patch that is corrupt or does not apply
    │   ├── ConfigError          a requested symbol that this kernel cannot have
    │   ├── CompileError         a probe that does not compile
    │   │   └── KernelCompileError   a kernel that does not compile
    │   └── RecordError          a run directory that is absent or damaged
    └── InfrastructureError      exit 3: this host, or the connection to the guest, failed
        ├── ToolMissing          a host program that is not installed
        ├── CommandFailed        a program that ended with an unexpected exit code
        ├── DeadlineExpired      a time budget that ran out
        │   └── QmpSilent            QEMU's monitor did not answer in time
        ├── NoSpace              a file system that is full
        ├── AcceleratorError     --accel kvm on a host where KVM does not work
        ├── QemuError            QEMU did not start, died, or refused a command
        ├── BootError            the guest never became reachable
        │   ├── GuestSilent      nothing on its console
        │   ├── GuestPanicked    the kernel panicked before the first probe
        │   └── SshUnreachable   init ran, yet no SSH server answered
        ├── PoolShort            fewer huge pages than asked
        ├── GuestKilled          the host's OOM killer ended a guest's QEMU
        ├── SnapshotError        a saved guest that is damaged, or not fit to be saved
        ├── GuestLost            a guest that answered before and no longer does
        ├── StoreUnavailable     a history that cannot be reached, or is locked
        └── CampaignStopped      a step of a campaign that this host could not run

Each carries the `harness.records.outcome.Outcome` that it gives to a run; a stage that knows more
sets another one on the instance. A test that fails is not an error: it is a verdict, is kept in the
record, and makes exit code 1.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from harness.records.outcome import Outcome

#: The beginning of the message for an exception outside of this tree: a bug of the harness.
INTERNAL = "internal error, please report it"

# The directories of an absolute path; those that a guest has as well are left alone.
_DIRECTORIES = re.compile(
    r"(?<![\w.~)/-])~?/(?!(?:bin|dev|etc|lib|proc|probes|sbin|sys|usr)/)(?:[^/\s]+/)+(?=[^/\s])"
)


class HarnessError(Exception):
    """Root of the tree: a message of one line, and its evidence.

    Args:
        message: what was wrong and where, in one line without a full stop at the end.
        hint: what to do about it, in one line.
        command: the argv that failed, where a program was involved.
        log: the file with all of its output.
        console: the last lines of the guest's console, oldest first.
        seconds: wall time of ``command``; 0 where it is not recorded.
    """

    exit_code: ClassVar[int] = 3
    #: The outcome of a run that it ends.
    outcome: Outcome = Outcome.INFRASTRUCTURE

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        command: Sequence[str] = (),
        log: Path | None = None,
        console: Sequence[str] = (),
        seconds: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.command = tuple(command)
        self.log = log
        self.console = tuple(console)
        self.seconds = seconds

    def line(self) -> str:
        """Return the message in one line: what is wrong, where, and what to do."""
        parts = [" ".join(self.message.split())]
        if self.hint:
            parts.append(" ".join(self.hint.split()))
        if self.log is not None:
            parts.append(f"log: {self.log}")
        return "; ".join(parts)


def for_others(line: str) -> str:
    """Return what `HarnessError.line` returned for readers elsewhere: of files only their names."""
    return _DIRECTORIES.sub("", line)


class UserError(HarnessError):
    """The caller's mistake; ends with exit code 2."""

    exit_code = 2
    outcome = Outcome.USER_MISTAKE


class SpecError(UserError):
    """An argument whose form is not known."""


class SourceError(UserError):
    """A kernel source that is absent, damaged, or not a kernel."""


class SeriesError(UserError):
    """A patch that is corrupt or does not apply."""

    outcome = Outcome.PATCH_REFUSED


class ConfigError(UserError):
    """A requested configuration symbol that this kernel cannot have."""

    outcome = Outcome.CONFIG_REFUSED


class CompileError(UserError):
    """A probe that does not compile."""


class KernelCompileError(CompileError):
    """A kernel that does not compile."""

    outcome = Outcome.NOT_COMPILED


class RecordError(UserError):
    """A run directory that is absent or damaged."""


class InfrastructureError(HarnessError):
    """This host, or the connection to the guest, failed; ends with exit code 3."""


class ToolMissing(InfrastructureError):
    """A host program that is not installed."""


class CommandFailed(InfrastructureError):
    """A program that ended with an unexpected exit code."""


class DeadlineExpired(InfrastructureError):
    """A time budget that ran out."""


class QmpSilent(DeadlineExpired):
    """QEMU's monitor did not answer in time."""


class NoSpace(InfrastructureError):
    """A file system that is full."""


def no_space(error: OSError, path: Path | None = None) -> NoSpace | None:
    """Return the error for a file system or quota that is full; None for any other error.

    Args:
        error: the operating system's error.
        path: what was written; by default the file that the error names, if it names one.
    """
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return full_disk(f"no space left to write {path or error.filename or 'a file'}")


def full_disk(message: str, *, command: Sequence[str] = (), log: Path | None = None) -> NoSpace:
    """Return the error for a file system that is full, with what to do about it."""
    hint = "free some space, with `hgm cache prune` too, or choose another --runs-dir"
    return NoSpace(message, hint=hint, command=command, log=log)


def foreseen(error: Exception) -> HarnessError | None:
    """Return an exception as an error of this tree; None if it is a bug of the harness."""
    if isinstance(error, OSError):
        return no_space(error)
    return error if isinstance(error, HarnessError) else None


class AcceleratorError(InfrastructureError):
    """``--accel kvm`` on a host where KVM does not work."""


class QemuError(InfrastructureError):
    """QEMU did not start, died, or refused a command."""


class BootError(InfrastructureError):
    """The guest never became reachable."""


class GuestSilent(BootError):
    """The guest wrote nothing to its console."""

    outcome = Outcome.NOT_BOOTED


class GuestPanicked(BootError):
    """The kernel panicked before the first probe."""

    outcome = Outcome.NOT_BOOTED


class SshUnreachable(BootError):
    """The guest's init ran, yet no SSH server answered."""

    outcome = Outcome.NOT_BOOTED


class PoolShort(InfrastructureError):
    """The guest has fewer huge pages than were asked for."""


class GuestKilled(InfrastructureError):
    """The host's OOM killer ended a guest's QEMU."""


class SnapshotError(InfrastructureError):
    """A saved guest that is damaged, or one that is not fit to be saved."""


class GuestLost(InfrastructureError):
    """A guest that answered before and no longer does."""


class StoreUnavailable(InfrastructureError):
    """The history cannot be reached, or another process has it locked."""


class CampaignStopped(InfrastructureError):
    """A step of a campaign that this host could not run; the steps before it are kept."""
