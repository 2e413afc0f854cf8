# SPDX-License-Identifier: GPL-2.0-only
"""One probe in one guest: run it, keep what it said, and note how it ended. Judging comes later."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, GuestLost
from harness.records import Ending, ProbeEvidence, ProbeSpec
from harness.vm.guest import Guest

#: Where the guest's init finds the probes of this run.
GUEST_DIRECTORY = "/probes"

#: In the guest: marks a probe's begin and end in the kernel's log, and runs it in between.
RUNNER = "/bin/hgm-run"

#: In the guest: mounts the read-only disk, which Python probes need.
MOUNT_DISK = "/bin/hgm-disk"

#: In the guest: prints what the running kernel has, a ``key=value`` a line.
FEATURES = f"{GUEST_DIRECTORY}/features"

_FLUSH_SECONDS = 5.0


#: What a probe is told whose checkpoints somebody answers; see ``docs/writing-a-probe.md``.
LISTENING = ("--checkpoints", "host")


def argv(spec: ProbeSpec) -> tuple[str, ...]:
    """Return the command that runs a probe in the guest."""
    source = Path(spec.source)
    arguments = (*spec.arguments, *(LISTENING if spec.checkpoints else ()))
    if spec.language == "python":
        # Without site and bytecode: halves Python's start under TCG, and no probe needs them.
        return ("python3", "-S", "-B", f"{GUEST_DIRECTORY}/{source.name}", *arguments)
    name = source.name if spec.language == "sh" else source.stem
    return (f"{GUEST_DIRECTORY}/{name}", *arguments)


def run_probe(
    guest: Guest,
    spec: ProbeSpec,
    directory: Path,
    deadline: Deadline,
    *,
    budget: float,
    on_output: Callable[[bytes, Deadline], None] = lambda chunk, limit: None,
) -> ProbeEvidence:
    """Run a probe and return what is known about it before anybody judges it.

    Args:
        guest: a live guest that holds the probe.
        spec: the probe.
        directory: takes ``ktap`` and ``stderr``, byte for byte as they come.
        deadline: the run's; a probe cut short by it is no hang, so DeadlineExpired leaves.
        budget: seconds the probe may take.
        on_output: takes its standard output as well, as it comes, with the time that is left; may
            raise GuestLost.
    """
    console = guest.console
    start, began = console.size, time.monotonic()
    limit = Deadline.after(budget, f"the probe {spec.name}")
    code: int | None = None
    detail = ""
    ended: Ending = "exit"
    with (
        (directory / "ktap").open("wb", buffering=0) as out,
        (directory / "stderr").open("wb", buffering=0) as err,
    ):
        nearer = deadline if deadline.at < limit.at else limit

        def keep(chunk: bytes) -> None:
            out.write(chunk)
            on_output(chunk, nearer)

        try:
            answer = guest.ssh.run(
                [RUNNER, spec.name, *argv(spec)],
                nearer,
                on_stdout=keep,
                on_stderr=err.write,
            )
            code = answer.exit_code
            _flush_console(guest, spec, start)
        except DeadlineExpired as error:
            if not limit.expired():
                raise
            ended, detail = "budget", error.message
        except GuestLost as error:
            guest.last_words()
            ended = "guest-died" if guest.died.rung else "lost"
            detail = error.message
    return ProbeEvidence(
        name=spec.name,
        rules=spec.rules,
        ended=ended,
        exit_code=code,
        seconds=time.monotonic() - began,
        budget=budget,
        console_from=start,
        console_to=console.size,
        detail=detail,
    )


def _flush_console(guest: Guest, spec: ProbeSpec, start: int) -> None:
    """Wait until all that the kernel said before the probe's end is on the console."""
    with contextlib.suppress(DeadlineExpired):
        guest.console.expect(
            rf"hgm: probe {re.escape(spec.name)} ends",
            Deadline.after(_FLUSH_SECONDS, "the console"),
            start=start,
        )
