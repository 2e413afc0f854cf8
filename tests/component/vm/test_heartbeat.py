# SPDX-License-Identifier: GPL-2.0-only
"""A QEMU that stops answering is given up with what the host saw of it; a live one is not."""

import contextlib
import gc
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import command
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import QemuError
from harness.progress import Silent
from harness.records.machine import AccelChoice
from harness.records.outcome import Outcome
from harness.vm import guest, heartbeat, hoststat, qemu, spec
from harness.vm.guest import BootRequest, booted
from harness.vm.heartbeat import Heartbeat
from harness.workspace import Workspace

ACCEL = AccelChoice(name="tcg", reason="the test", cpu="max")

#: For what must not happen; what must happen is waited for longer.
A_WHILE = 1.0
LONG = 30.0


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick is a tenth of a second: 0.4 s for a stopped QEMU, 1 s for another silent one."""
    monkeypatch.setattr(heartbeat, "EVERY_SECONDS", 0.05)
    monkeypatch.setattr(heartbeat, "_TICK_SECONDS", 0.1)
    monkeypatch.setattr(heartbeat, "STOPPED_SECONDS", 4)
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 10)


@contextlib.contextmanager
def watched(tmp_path: Path) -> Iterator[tuple[qemu.Qemu, Heartbeat, threading.Event]]:
    """Yield a fake that runs, its heartbeat, and what is set when it is given up."""
    limit = Deadline.after(LONG, "the fake")
    files = qemu.BootFiles("/k")
    with qemu.started(
        spec.machine((), arch_name="x86_64"), ACCEL, files, tmp_path, limit
    ) as machine:
        given_up = threading.Event()

        def end() -> None:
            machine.process.kill()
            given_up.set()

        watch = Heartbeat(machine.qmp, machine.process.pid, end)
        with contextlib.suppress(QemuError):  # the fake that is killed by its `cont`
            machine.resume(limit)
        watch.start()
        yield machine, watch, given_up
        watch.stop()


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("stops", r"is stopped \(state T\); its monitor has not answered for [\d.]+ s"),
        ("wedges", r"is alive \(state S\); its monitor has not answered for 1 s"),
        ("pauses", r"does not run the guest \(status paused\), and the harness did not stop it"),
        ("closes", r"is alive \(state S\); QEMU closed QMP during query-status"),
    ],
)
def test_a_qemu_that_does_not_run_its_guest_is_given_up(
    fake_qemu: Callable[[str], None],
    tmp_path: Path,
    mode: str,
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake_qemu(mode)
    with watched(tmp_path) as (machine, watch, given_up):
        assert given_up.wait(LONG)
        assert re.match(rf"QEMU \(pid {machine.process.pid}\) {said}", watch.lost), watch.lost
        assert not watch.confirm()
        assert machine.process.wait(Deadline.after(LONG, "its end")) == 128 + 9
    gc.collect()
    assert [each.message for each in caplog.records if each.name == "asyncio"] == []


@pytest.mark.parametrize("mode", ["lives", "stops-for-a-moment"])
def test_a_live_qemu_is_not_given_up(
    fake_qemu: Callable[[str], None], tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "STOPPED_SECONDS", 100)  # this host may be busy
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 200)
    fake_qemu(mode)
    with watched(tmp_path) as (_, watch, given_up):
        assert not given_up.wait(A_WHILE)
        assert watch.confirm()
        assert watch.lost == ""


def test_a_qemu_that_is_gone_is_left_to_those_who_see_its_end(
    fake_qemu: Callable[[str], None], tmp_path: Path
) -> None:
    fake_qemu("is-killed")
    with watched(tmp_path) as (machine, watch, given_up):
        machine.console.wait_ended(Deadline.after(LONG, "the console's end"))
        assert not given_up.wait(A_WHILE)
        assert watch.lost == ""
        assert command.ended(machine.process.pid)


def test_what_the_harness_stops_itself_is_not_given_up(
    fake_qemu: Callable[[str], None], tmp_path: Path
) -> None:
    fake_qemu("pauses")
    with watched(tmp_path) as (_, watch, given_up):
        with watch.suspended():
            already = bool(watch.lost)
            assert given_up.wait(A_WHILE) == already
        assert given_up.wait(LONG)


@pytest.mark.parametrize("mode", ["stops", "wedges"])
def test_a_boot_whose_qemu_hangs_is_not_the_kernels_fault(
    fake_qemu: Callable[[str], None],
    request_to_boot: BootRequest,
    tmp_path: Path,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guest, "FIRST_BYTE_SECONDS", LONG)
    fake_qemu(mode)
    run = tmp_path / "run"
    run.mkdir()
    limit = Deadline.after(2 * LONG, "the boot")
    context = Context(Workspace(tmp_path / "cache"), limit, Silent())
    with pytest.raises(QemuError) as caught, booted(request_to_boot, run, context):
        pass
    assert caught.value.outcome == Outcome.INFRASTRUCTURE
    assert "its monitor has not answered" in caught.value.line()


def test_the_host_shows_a_process_and_its_cpu_time() -> None:
    assert hoststat.describe(os.getpid()).startswith("is alive (state ")
    assert hoststat.describe(2**22 + 1) == "has ended (state X)"
    before = hoststat.sample([threading.get_native_id(), 2**22 + 1])
    while hoststat.thread_time(threading.get_native_id()).ran < before.vcpus[0].ran + 0.05:
        pass
    after = hoststat.sample([threading.get_native_id(), 2**22 + 1])
    load = hoststat.load_between(before, after)
    (only,) = load.vcpus  # the other thread does not exist
    assert 0.05 <= only.ran <= load.seconds + 0.001
    assert only.waited >= 0
    share, unknown = hoststat.busy(before, after)
    assert share is not None
    assert 0 < share <= 1
    assert unknown is None
