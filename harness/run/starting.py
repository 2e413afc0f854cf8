# SPDX-License-Identifier: GPL-2.0-only
"""Starts the guests of a run: boots them, or restores each from one that was saved after its boot.

A guest that cannot be restored is booted, and the run's record says why. After that the run
restores no other: what failed once mostly fails again, and costs more than a boot.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness import cache
from harness.deadline import Deadline
from harness.errors import GuestLost, HarnessError, PoolShort, SnapshotError, UserError, foreseen
from harness.image.overlay import OverlayFile
from harness.probes import compile as programs
from harness.records.machine import GuestOrigin
from harness.records.outcome import Outcome
from harness.records.probe import ProbeSpec
from harness.run.prepare import Prepared
from harness.run.probe import COUNTERS, GUEST_DIRECTORY, MOUNT_DISK, QUESTION_SECONDS
from harness.vm import snapshot
from harness.vm.guest import FACTS, BootRequest, Guest, booted

if TYPE_CHECKING:
    from harness.vm.snapshot import Snapshot

# A probe with so many bytes of huge pages gets a copy of a saved guest's memory, in 0.1 seconds. In
# one that is mapped, first writes to what was a hole take 2 seconds a GiB.
_MUCH = 1 << 26

_ALWAYS = frozenset(Path(source).stem for source in programs.ALWAYS)


@contextlib.contextmanager
def guest_with_probes(
    prepared: Prepared,
    directory: Path,
    *,
    disk: bool,
    monitor: str = "",
    accounting: bool = False,
) -> Iterator[Guest]:
    """Boot a guest that holds the prepared programs, its disk mounted if it is asked for.

    Args:
        prepared: all that it needs.
        directory: takes ``serial.log``, ``qmp.log`` and ``qemu.stderr``.
        disk: whether Python and the GNU tools are wanted.
        monitor: see `harness.vm.guest.BootRequest`.
        accounting: whether its facts are to end with its first huge-page accounting.

    Raises:
        HarnessError: if it was not reached, or has not what it should have.
    """
    request = _request(prepared, directory, prepared.programs, disk=disk, monitor=monitor)
    steps = (f"/bin/busybox cat {FACTS}", *((COUNTERS,) if accounting else ()))
    request = replace(request, ask=_in_one_command(steps, disk=disk))
    with _pinned(prepared), booted(request, directory, prepared.context) as host:
        yield host


def _in_one_command(steps: Sequence[str], *, disk: bool) -> tuple[str, ...]:
    """Return a command that mounts the disk, if it is wanted, and takes the steps; empty for none.

    Each command of its own costs a process of the SSH server and a shell. The last step replaces
    the shell: while the counters are read, a process more would be a page table more.
    """
    if disk:
        steps = (MOUNT_DISK, *steps)
    return ("sh", "-c", " && ".join((*steps[:-1], f"exec {steps[-1]}"))) if steps else ()


class FreshGuests:
    """Guests for one probe each, restored from a snapshot.

    Args:
        prepared: all that they need.
        directory: takes ``serial.log``, ``qmp.log`` and ``qemu.stderr``.
        stalled: is called with a guest that is not saved because its kernel reported a stall.
        killed: whether the harness, or the host's OOM killer, ended the last guest that was
            started; that says nothing about its snapshot.
        ask: returns the programs that a restored guest runs before its probe; what they print is
            its facts.
    """

    def __init__(
        self,
        prepared: Prepared,
        directory: Path,
        stalled: Callable[[Guest], None] = lambda guest: None,
        killed: Callable[[], bool] = lambda: False,
        ask: Callable[[], Sequence[str]] = lambda: (),
    ) -> None:
        self._prepared, self._directory, self._killed = prepared, directory, killed
        self._ask = ask
        self._to_save = replace(_request(prepared, directory, _ALWAYS, disk=True), stalled=stalled)
        self._key = snapshot.key_of(self._to_save)
        self._given_up = ""

    @contextlib.contextmanager
    def guest(self, probe: ProbeSpec) -> Iterator[tuple[Guest, GuestOrigin]]:
        """Yield a guest for a probe, and how it came to be.

        Raises:
            HarnessError: if it was neither restored nor booted, or has not what it should have.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(_pinned(self._prepared))
            started = None if self._given_up else self._restored(probe, stack)
            if started is None:
                host = stack.enter_context(
                    guest_with_probes(
                        self._prepared, self._directory, disk=probe.wants_disk, accounting=True
                    )
                )
                started = (
                    host,
                    GuestOrigin(how="booted", reason=self._given_up, seconds=host.boot_seconds),
                )
            yield started

    def _restored(
        self, probe: ProbeSpec, stack: contextlib.ExitStack
    ) -> tuple[Guest, GuestOrigin] | None:
        """Return a restored guest; None if there is none, and none will be."""
        context = self._prepared.context
        found: Snapshot | None = None
        try:
            found, reason = self._snapshot()
            needed = programs.needed_by(probe, self._prepared.programs)
            request = _request(self._prepared, self._directory, needed - _ALWAYS, disk=True)
            request = replace(request, ask=_in_one_command(self._ask(), disk=probe.wants_disk))
            stack.enter_context(cache.pin(found.home))
            mapped = sum(each.size * each.count for each in probe.pages) < _MUCH
            host = stack.enter_context(
                booted(request, self._directory, context, found.saved, mapped=mapped)
            )
        except (HarnessError, OSError) as raised:
            error = foreseen(raised)
            if (
                error is None
                or isinstance(error, (UserError, PoolShort))
                or (found is None and error.outcome is Outcome.NOT_BOOTED)
                or context.deadline.expired()
                or self._killed()
            ):
                raise
            if found is not None:
                snapshot.remove(found.home)
            what = "saved" if found is None else "restored"
            self._given_up = f"could not be {what}: {error.message}"
            context.progress.note(f"the guest {self._given_up}; it is booted")
            return None
        return host, GuestOrigin(
            how="restored", snapshot=found.key, reason=reason, seconds=host.boot_seconds
        )

    def _snapshot(self) -> tuple[Snapshot, str]:
        """Return the snapshot, and why it was made again if one was there."""
        context = self._prepared.context
        reason = ""
        try:
            found = snapshot.find(self._key, context.workspace)
        except SnapshotError as error:
            found, reason = None, f"{error.message}; it was made again"
            context.progress.note(reason)
        if found is not None:
            return found, ""
        with context.workspace.lock(f"snapshots/{self._key}", context.deadline, context.progress):
            found = snapshot.find(self._key, context.workspace)  # another process's
            if found is None:
                context.progress.note("the guest is saved after its boot")
                found = snapshot.make(self._to_save, self._key, self._directory, context)
        return found, reason


def _request(
    prepared: Prepared, directory: Path, names: Iterable[str], *, disk: bool, monitor: str = ""
) -> BootRequest:
    return BootRequest(
        kernel=prepared.kernel,
        image=prepared.image,
        machine=prepared.machine,
        accel=prepared.accel,
        files=tuple(
            OverlayFile(f"{GUEST_DIRECTORY}/{name}", prepared.programs[name], 0o755)
            for name in sorted(names)
        ),
        disk=disk,
        monitor=monitor,
        started=prepared.started,
        stuck=_is_stuck,
        locate_stall=functools.partial(_locate_stall, prepared, directory),
    )


def _is_stuck(line: str) -> bool:
    from harness.judge import dmesg

    return dmesg.is_stuck(line)


def _locate_stall(prepared: Prepared, directory: Path, host: Guest) -> str:
    from harness.run.capture import locate_stall

    return locate_stall(prepared, directory, host)


@contextlib.contextmanager
def _pinned(prepared: Prepared) -> Iterator[None]:
    with (
        cache.pin(Path(prepared.kernel.image).parent),
        cache.pin(Path(prepared.image.initramfs).parent),
    ):
        yield


@contextlib.contextmanager
def before_its_first_probe() -> Iterator[None]:
    """Treat a guest that is lost here as a kernel that does not boot."""
    try:
        yield
    except GuestLost as error:
        error.outcome = Outcome.NOT_BOOTED
        raise


def soon(prepared: Prepared) -> Deadline:
    """Return the deadline for a question to the guest."""
    return prepared.context.deadline.within(QUESTION_SECONDS, "a question to the guest")
