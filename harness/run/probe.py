# SPDX-License-Identifier: GPL-2.0-only
"""Runs one probe in a guest, keeps its output and how it ended; judging comes later."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, GuestLost, HarnessError
from harness.records.probe import Ending, ProbeEvidence, ProbeSpec
from harness.run import calibration
from harness.vm import hoststat
from harness.vm.guest import Guest

#: Where the guest's init finds the probes of this run.
GUEST_DIRECTORY = "/probes"

#: In the guest: marks a probe's begin and end in the kernel's log, and runs it in between.
RUNNER = "/bin/hgm-run"

#: In the guest: mounts the read-only disk, which Python probes need.
MOUNT_DISK = "/bin/hgm-disk"

#: In the guest: prints what the running kernel has, a ``key=value`` a line.
FEATURES = f"{GUEST_DIRECTORY}/features"

#: In the guest: prints the huge-page accounting, a ``key value`` a line; with ``run`` and a command
#: it runs that in the cgroup whose huge pages are counted.
COUNTERS = f"{GUEST_DIRECTORY}/counters"

#: Seconds that a probe gets to end after the kernel has said that something is stuck.
STALL_GRACE_SECONDS = 5.0

#: Seconds that one short command in the guest may take.
QUESTION_SECONDS = 60.0

# It takes 0.03 s, and the way there more; a guest that needs `calibration.MOST` times as long is
# as slow as any counts. One with its interrupts off never answers, and is looked at after so long.
_CALIBRATION_SECONDS = 10.0

# Of a process's name the kernel keeps 15 characters (TASK_COMM_LEN).
_NAME_LENGTH = 15

_FLUSH_SECONDS = 5.0

#: A guest is there to be harmed: without it, a probe that poisons memory or crashes is a skip.
MAY_HARM = "--yes-harm-this-machine"

#: What a probe is told whose checkpoints somebody answers; see ``docs/howto/writing-a-probe.md``.
LISTENING = ("--checkpoints", "host")


def argv(spec: ProbeSpec, timeout_scale: float = 1.0) -> tuple[str, ...]:
    """Return the command that runs a probe in the guest.

    Args:
        spec: the probe.
        timeout_scale: by how much it is to multiply its own limits.
    """
    source = Path(spec.source)
    arguments = (*spec.arguments, *(LISTENING if spec.checkpoints else ()))
    if timeout_scale > 1.0 and spec.rules == "ktap" and spec.language != "sh":
        arguments += ("--timeout-scale", f"{timeout_scale:g}")
    if spec.language == "python":
        # Without site and bytecode: halves Python's start under TCG, and no probe needs them.
        return ("python3", "-S", "-B", f"{GUEST_DIRECTORY}/{source.name}", *arguments)
    if spec.language == "sh":
        return (f"{GUEST_DIRECTORY}/{source.name}", *arguments)
    return (f"{GUEST_DIRECTORY}/{source.stem}", *arguments, MAY_HARM)


class Budget:
    """How long a probe may take: a `harness.vm.ssh.MovableDeadline`.

    When time is up, the timeout scale is measured again: a host that became busy meanwhile does not
    turn a probe into a hang. When the kernel says that something is stuck, the probe gets a moment
    to prove it wrong by ending.

    Args:
        seconds: what the catalogue allows.
        timeout_scale: by how much to multiply it, see `harness.run.calibration`.
        guest: the guest that the probe runs in.
        overall: the run's deadline, which no budget passes.
        what: what is waited for, for messages.
    """

    def __init__(
        self, seconds: float, timeout_scale: float, guest: Guest, overall: Deadline, what: str
    ) -> None:
        self._seconds, self._guest, self._overall, self._what = seconds, guest, overall, what
        self._began = time.monotonic()
        self._limit = Deadline.after(seconds * timeout_scale, what)
        self._given_up = False
        self.timeout_scale = timeout_scale
        self.stalled = False

    @property
    def limit(self) -> Deadline:
        """Return when the probe must have ended as things stand."""
        return self._limit if self._limit.at < self._overall.at else self._overall

    @property
    def seconds(self) -> float:
        """Return the seconds that the probe may take as things stand."""
        return self._seconds * self.timeout_scale

    def fileno(self) -> int:
        """Return what becomes readable when the kernel says that something is stuck."""
        return self._guest.stuck.fileno()

    def current(self) -> Deadline:
        """Return when the probe must have ended."""
        if self._overall.expired():
            return self._overall
        if self._guest.stuck.is_set() and not self.stalled:
            self.stalled = True
            moment = Deadline.after(STALL_GRACE_SECONDS * self.timeout_scale, self._what)
            self._limit = min(self._limit, moment, key=lambda limit: limit.at)
        elif self._limit.expired() and not self.stalled and not self._given_up:
            self._look_again()
        return self.limit

    def _look_again(self) -> None:
        """Move the limit if the guest has become slower; nothing more is given if it has not."""
        try:
            now = calibration.measure(
                self._guest.ssh, Deadline.after(_CALIBRATION_SECONDS, "the calibration")
            )
        except HarnessError:
            now = 0.0
        if now > self.timeout_scale:
            self.timeout_scale = now
            spent = time.monotonic() - self._began
            self._limit = Deadline.after(max(0.0, self.seconds - spent), self._what)
        else:
            self._given_up = True


def run_probe(
    guest: Guest,
    spec: ProbeSpec,
    directory: Path,
    deadline: Deadline,
    *,
    timeout_scale: float = 1.0,
    on_output: Callable[[bytes, Deadline], None] = lambda chunk, limit: None,
) -> ProbeEvidence:
    """Run a probe and return what is known about it before it is judged.

    Args:
        guest: a live guest that holds the probe.
        spec: the probe.
        directory: takes ``ktap`` and ``stderr``, byte for byte as they come.
        deadline: the run's; a probe that it cuts short did not hang, so DeadlineExpired is raised.
        timeout_scale: by how much to multiply its budget.
        on_output: takes its standard output as well, as it comes, with the time that is left; may
            raise GuestLost.
    """
    start, before = guest.now()
    guest.stuck.clear()
    budget = Budget(spec.budget, timeout_scale, guest, deadline, f"the probe {spec.name}")
    code: int | None = None
    detail = ""
    ended: Ending = "exit"
    with (
        (directory / "ktap").open("wb", buffering=0) as out,
        (directory / "stderr").open("wb", buffering=0) as err,
    ):

        def keep(chunk: bytes) -> None:
            out.write(chunk)
            on_output(chunk, budget.limit)

        try:
            answer = guest.ssh.run(
                [RUNNER, spec.name, COUNTERS, "run", *argv(spec, timeout_scale)],
                budget,
                on_stdout=keep,
                on_stderr=err.write,
            )
            code = answer.exit_code
            _flush_console(guest, spec, start)
        except DeadlineExpired as error:
            if deadline.expired():
                raise
            ended = "stalled" if budget.stalled else "budget"
            detail = "" if budget.stalled else error.message
            if not guest.heartbeat.confirm():
                ended, detail = "lost", guest.end_reason()
        except GuestLost as error:
            if not guest.died.is_set():
                guest.heartbeat.confirm()
            guest.drain_console()
            ended = "guest-died" if guest.paused_after_death else "lost"
            detail = guest.end_reason() or error.message
    guest.idle_since = guest.now()
    host = hoststat.load_between(before, guest.idle_since.sample)
    return ProbeEvidence(
        name=spec.name,
        rules=spec.rules,
        taints_guest=spec.taints_guest,
        without_series=spec.without_series,
        ended=ended,
        exit_code=code,
        seconds=host.seconds,
        budget=budget.seconds,
        console_from=start,
        console_to=guest.idle_since.console,
        detail=detail,
        program=Path(argv(spec)[0]).name[:_NAME_LENGTH],
        timeout_scale=budget.timeout_scale,
        host=host,
    )


def _flush_console(guest: Guest, spec: ProbeSpec, start: int) -> None:
    """Wait until all that the kernel said before the probe's end is on the console."""
    with contextlib.suppress(DeadlineExpired):
        guest.console.expect(
            rf"hgm: probe {re.escape(spec.name)} ends",
            Deadline.after(_FLUSH_SECONDS, "the console"),
            start=start,
        )
