# SPDX-License-Identifier: GPL-2.0-only
"""Each way a boot can fail has an error of its own, leaves its evidence and no process.

The QEMU here is a fake (fake_qemu.py); tests/kernel boots real ones.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.context import Context
from harness.deadline import Deadline
from harness.errors import (
    BootError,
    GuestPanicked,
    GuestSilent,
    HarnessError,
    QemuError,
    SshUnreachable,
    ToolMissing,
)
from harness.progress import Silent
from harness.records.machine import AccelChoice
from harness.records.outcome import Outcome
from harness.vm import guest, qemu, spec
from harness.vm.guest import BootRequest, booted
from harness.vm.ssh import CommandOutput, Ssh
from harness.workspace import Workspace


def boot(request: BootRequest, tmp_path: Path, seconds: float = 20.0) -> HarnessError:
    run = tmp_path / "run"
    run.mkdir()
    with (
        pytest.raises(HarnessError) as caught,
        booted(
            request,
            run,
            context=Context(
                Workspace(tmp_path / "cache"), Deadline.after(seconds, "the boot"), Silent()
            ),
        ),
    ):
        pass
    assert list(Workspace(tmp_path / "cache").room("tmp").iterdir()) == []
    assert not processes_with(str(tmp_path)), "a QEMU was left behind"
    return caught.value


def processes_with(word: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has just ended
        if word in line and "qemu" in line and "pytest" not in line:
            found.append(line)
    return found


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "FIRST_BYTE_SECONDS", 1.0)
    monkeypatch.setattr(guest, "INIT_SECONDS", 1.5)
    monkeypatch.setattr(guest, "LOGIN_SECONDS", 1.5)
    monkeypatch.setattr("harness.vm.qemu._CONNECT_SECONDS", 3.0)


@pytest.mark.parametrize(
    ("mode", "kind", "outcome", "said"),
    [
        (
            "dies",
            QemuError,
            Outcome.INFRASTRUCTURE,
            "exit code 1: .*the fake dies at once",
        ),
        ("mute-qmp", QemuError, Outcome.INFRASTRUCTURE, "did not answer QMP's connect within"),
        ("refuses", QemuError, Outcome.INFRASTRUCTURE, "refused cont: the fake refuses"),
        ("silent", GuestSilent, Outcome.NOT_BOOTED, "no output on the guest"),
        (
            "panics",
            GuestPanicked,
            Outcome.NOT_BOOTED,
            "during boot: .*Unable to mount root fs",
        ),
        ("panics-late", GuestPanicked, Outcome.NOT_BOOTED, "during boot: .*to kill init!"),
        (
            "ends-late",
            BootError,
            Outcome.INFRASTRUCTURE,
            "ended during boot; last line on its console: hgm: init: SSH",
        ),
        (
            "stands-still",
            BootError,
            Outcome.NOT_BOOTED,
            "no progress during boot; last line on its console: Run /init",
        ),
        ("no-ssh", SshUnreachable, Outcome.NOT_BOOTED, "no SSH login.*hgm: init: no SSH server"),
    ],
)
def test_a_boot_that_fails_says_how(
    fake_qemu: Callable[[str], None],
    request_to_boot: BootRequest,
    tmp_path: Path,
    mode: str,
    kind: type[HarnessError],
    outcome: Outcome,
    said: str,
) -> None:
    fake_qemu(mode)
    error = boot(request_to_boot, tmp_path)
    assert type(error) is kind
    assert (error.exit_code, error.outcome) == (3, outcome)
    assert re.search(said, error.line())
    assert "\n" not in error.line()


def test_the_console_is_kept_when_the_guest_panics(
    fake_qemu: Callable[[str], None], request_to_boot: BootRequest, tmp_path: Path
) -> None:
    fake_qemu("panics")
    boot(request_to_boot, tmp_path)
    log = (tmp_path / "run" / "serial.log").read_text()
    assert log.startswith("Linux version")
    assert "end Kernel panic" in log


def test_a_guest_knows_how_long_it_took_from_qemus_start_to_the_login(
    fake_qemu: Callable[[str], None],
    request_to_boot: BootRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_qemu("lives")
    moments = [time.monotonic()]
    monkeypatch.setattr(guest, "_log_in", lambda *_: moments.append(time.monotonic()))
    monkeypatch.setattr(Ssh, "run", lambda *_, **__: CommandOutput(0, "", ""))
    monkeypatch.setattr(guest, "_pools", lambda *_: moments.append(time.monotonic()))
    monkeypatch.setattr(guest, "_await_shell", lambda _: None)
    deadline = Deadline.after(20, "the boot")
    context = Context(Workspace(tmp_path / "cache"), deadline, Silent())
    with booted(request_to_boot, tmp_path, context) as host:
        before, login, after = moments
        assert before < host.begun < login < host.begun + host.boot_seconds < after


def test_without_qemu_the_program_is_named(
    request_to_boot: BootRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    error = boot(request_to_boot, tmp_path)
    assert isinstance(error, ToolMissing)
    assert "qemu-system-x86_64" in error.line()
    assert "hgm doctor" in error.line()


@contextlib.contextmanager
def living_qemu(directory: Path) -> Iterator[qemu.Qemu]:
    accel = AccelChoice(name="tcg", reason="the test", cpu="max")
    limit = Deadline.after(10, "the start")
    with qemu.started(
        spec.machine((), arch_name="x86_64"), accel, qemu.BootFiles("/k"), directory, limit
    ) as machine:
        yield machine


def test_events_are_seen_by_who_waits_and_by_who_asks_later(
    fake_qemu: Callable[[str], None], tmp_path: Path
) -> None:
    fake_qemu("lives")
    limit = Deadline.after(10, "the events")
    with living_qemu(tmp_path) as machine:
        machine.resume(limit)
        found = machine.qmp.wait_event(lambda event: event["event"] == "RESUME", limit)
        assert found in machine.qmp.events()
    assert '"event": "RESUME"' in (tmp_path / "qmp.log").read_text()


def test_the_oom_killer_takes_a_guest_before_anything_else(
    fake_qemu: Callable[[str], None], tmp_path: Path
) -> None:
    fake_qemu("lives")
    with living_qemu(tmp_path) as machine:
        assert Path(f"/proc/{machine.process.pid}/oom_score_adj").read_text() == "1000\n"
