# SPDX-License-Identifier: GPL-2.0-only
"""A capture does not wait twice for a monitor that does not answer."""

import asyncio
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from harness.deadline import Deadline
from harness.evidence import escalation, vmcore
from harness.evidence.escalation import Escalation
from harness.records.kernel import ConfigIdentity, Kernel, SeriesIdentity, SourceIdentity
from harness.vm.console import Console
from harness.vm.guest import Guest
from harness.vm.qmp import Qmp

KERNEL = Kernel(
    key="0" * 64,
    release="6.12.0-fake",
    image="/bzImage",
    source=SourceIdentity(spec="image:fake", kind="image", origin="fake"),
    series=SeriesIdentity(spec="none"),
    configuration=ConfigIdentity(known=False),
)


class MuteQmp(Qmp):
    """A session whose other end takes commands and answers none; counts them."""

    def __init__(self, sock: socket.socket, log: Path) -> None:
        super().__init__(sock, log)
        self.asked: list[str] = []

    def execute(
        self, command: str, arguments: dict[str, object] | None = None, *, deadline: Deadline
    ) -> object:
        self.asked.append(command)
        return self._result(self.spawn(self._forever()), deadline, command)

    @staticmethod
    async def _forever() -> None:
        await asyncio.Event().wait()


SILENT = "not asked: QEMU's monitor does not answer"


@pytest.mark.parametrize(
    ("arch", "nmi"),
    [("x86_64", SILENT), ("aarch64", "this machine has no NMI: see the post-mortem")],
)
def test_after_one_silence_no_other_step_asks_the_monitor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arch: str, nmi: str
) -> None:
    monkeypatch.setattr(escalation, "_QMP_SECONDS", 0.2)
    monkeypatch.setattr(escalation, "_ANSWER_SECONDS", 0.2)
    ours, theirs = socket.socketpair()
    console_ours, console_theirs = socket.socketpair()
    console = Console(console_ours, tmp_path / "serial.log")
    qmp = MuteQmp(ours, tmp_path / "qmp.log")
    guest = SimpleNamespace(console=console, qmp=qmp, threads=(os.getpid(),))
    steps = Escalation(
        guest=cast(Guest, guest),
        kernel=msgspec.structs.replace(KERNEL, arch=arch),
        run_dir=tmp_path,
        directory=tmp_path,
        console_from=0,
        policy=vmcore.Policy(),
    )
    with theirs, console_theirs:
        capture = steps.hang()
        qmp.close()
        console.close()
    assert qmp.asked == ["human-monitor-command"]
    results = {step.name: step.result for step in capture.steps}
    assert results["registers"].startswith("QEMU did not answer QMP's human-monitor-command")
    assert (results["nmi"], results["vmcore"]) == (nmi, SILENT)
    assert results["sysrq-w"] == "neither a break nor the emergency shell got an answer"
    assert capture.vcpus == ()
