# SPDX-License-Identifier: GPL-2.0-only
"""Captures the state of a guest whose probe hung, died or left a splat, or whose boot is stuck."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.deadline import Deadline
from harness.errors import CommandFailed, DeadlineExpired, HarnessError
from harness.evidence import symbols, vmcore
from harness.evidence.escalation import DECODED, SYMBOL_SECONDS, Escalation
from harness.judge import blame, dmesg
from harness.records.base import to_json
from harness.records.probe import Capture, CaptureStep, ProbeEvidence, Splat
from harness.run.prepare import Prepared
from harness.run.probe import QUESTION_SECONDS
from harness.store import rundir
from harness.store.rundir import CAPTURE, RunStore
from harness.vm.guest import Guest
from harness.workspace import atomic_write

_QUIET_SECONDS = 0.3
_LOGIN_SECONDS = 10.0

#: The first process, as the kernel prints its name.
_INIT = "init"


def locate_stall(prepared: Prepared, run_dir: Path, host: Guest) -> str:
    """Capture the state of a guest that makes no progress in boot; return where it is stuck."""
    prepared.context.progress.note("the guest makes no progress in boot: capturing its state")
    directory = run_dir / "boot"
    directory.mkdir(exist_ok=True)
    try:
        host.pause_on_death()
    except HarnessError:  # every step needs the monitor
        host.heartbeat.confirm()
        return "a QEMU whose monitor does not answer"
    escalation = Escalation(
        guest=host,
        kernel=prepared.kernel,
        run_dir=run_dir,
        directory=directory,
        console_from=host.console.start,
        policy=vmcore.policy(),
    )
    with host.heartbeat.suspended():
        capture = escalation.hang()
    atomic_write(directory / CAPTURE, to_json(capture))
    before = dmesg.scan(host.console.text(end=capture.console_from))
    return blame.of_hang(_INIT, host.console.text(capture.console_from), before, capture).where


def captured(
    prepared: Prepared, host: Guest, evidence: ProbeEvidence, store: RunStore, directory: Path
) -> tuple[ProbeEvidence, Capture | None]:
    """Capture the state of a guest whose probe hung, crashed or left a splat."""
    splats = dmesg.scan(host.console.text(evidence.console_from))
    if evidence.ended == "exit" and not splats:
        return evidence, None
    if (
        evidence.ended == "lost"
        and not splats
        and host.ssh.accepts_new_connection(_login(prepared))
    ):
        why = f"{evidence.detail}, and the guest answers another connection"
        return msgspec.structs.replace(evidence, detail=why), None
    escalation = Escalation(
        guest=host,
        kernel=prepared.kernel,
        run_dir=store.run_dir,
        directory=directory,
        console_from=evidence.console_from,
        policy=vmcore.policy(),
        timeout_scale=evidence.timeout_scale,
    )
    prepared.context.progress.note(
        f"{evidence.name}: capturing the guest's state ({evidence.ended})"
    )
    if evidence.ended == "exit":
        with contextlib.suppress(DeadlineExpired):  # the end of the splat
            host.console.wait_quiet(
                _QUIET_SECONDS,
                prepared.context.deadline.within(QUESTION_SECONDS, "a question to the guest"),
            )
        return evidence, escalation.splat()
    with host.heartbeat.suspended():
        if evidence.ended in ("budget", "stalled") or not host.died.is_set():
            capture = escalation.hang()
            # What the kernel said until the capture is not the capture's.
            return msgspec.structs.replace(evidence, console_to=capture.console_from), capture
        capture = escalation.crash()
    return msgspec.structs.replace(evidence, console_to=capture.console_to), capture


def locate_outside(prepared: Prepared, store: RunStore, splats: Sequence[Splat]) -> None:
    """Keep functions and lines of what the kernel reported outside of any probe."""
    if not splats or not prepared.kernel.vmlinux:
        return
    directory = store.run_dir / rundir.OUTSIDE
    directory.mkdir(exist_ok=True)
    path, names, result = directory / DECODED, {}, "ok"
    text = "".join(f"{line}\n" for splat in splats for line in splat.block)
    began = time.monotonic()
    try:
        limit = Deadline.after(SYMBOL_SECONDS, "reading the symbols")
        names = symbols.write_decoded(path, text, (), Path(prepared.kernel.vmlinux), limit)
    except (CommandFailed, DeadlineExpired) as error:
        result = error.message
    step = CaptureStep(
        name="symbols",
        result=result,
        file=str(path.relative_to(store.run_dir)),
        seconds=round(time.monotonic() - began, 3),
    )
    capture = Capture(why="splat", steps=(step,), symbols=names)
    store.write(f"{rundir.OUTSIDE}/{CAPTURE}", to_json(capture))


def _login(prepared: Prepared) -> Deadline:
    return prepared.context.deadline.within(_LOGIN_SECONDS, "another SSH login")
