# SPDX-License-Identifier: GPL-2.0-only
"""Guests that run at the same time, on a real kernel, and what goes wrong with one of them."""

import dataclasses
import os
import select
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.progress import Silent
from harness.records.probe import ProbeSpec
from harness.records.run import RunRecord
from harness.run import judging, parallel
from harness.run.prepare import Prepared
from harness.vm import hoststat
from tests.kernel.conftest import machines_left, probed

pytestmark = pytest.mark.hgm_machine(hugepages="2M:8", memory="512M", cpus=1)

_PASSES = "echo 'KTAP version 1'; echo 1..1; sleep 1; echo 'ok 1 it ran'"
_CRASHES = "echo 'KTAP version 1'; sleep 2; echo c >/proc/sysrq-trigger"


def run(prepared: Prepared, texts: Sequence[str], directory: Path) -> RunRecord:
    """Run shell scripts as probes in two guests at the same time."""
    programs, specs = dict(prepared.programs), []
    for number, text in enumerate(texts):
        path = directory / f"p{number}"
        path.write_text(f"#!/bin/sh\n{text}\n")
        programs[path.name] = path
        specs.append(
            ProbeSpec(name=f"test/{path.name}", shows="", source=f"c/{path.name}.c", language="c")
        )
    both = dataclasses.replace(prepared, programs=programs, guests=2)
    return probed(both, specs, directory / "runs").record


class Shown(Silent):
    """Keeps what a terminal would show beside the number of probes that are done."""

    def __init__(self) -> None:
        self.units: list[str] = []

    def step(self, done: int, total: int | None, unit: str) -> None:
        self.units.append(unit)


def when_a_probe_runs(directory: Path, act: Callable[[], None]) -> threading.Thread:
    """Call a function in a thread once the first probe has printed something."""

    def wait() -> None:
        limit = Deadline.after(120, "the first probe")
        while not any(path.stat().st_size for path in directory.glob("runs/*/probes/*p0/ktap")):
            limit.check()
            select.select([], [], [], 0.1)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def kill_a_guest() -> None:
    os.kill(int(machines_left()[0]), signal.SIGKILL)


def statuses(record: RunRecord) -> list[str]:
    return [probe.status for probe in sorted(record.probes, key=lambda probe: probe.name)]


@pytest.fixture(autouse=True)
def _two_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small host have two guests: what is admitted has a test of its own."""
    monkeypatch.setattr(parallel, "admitted", lambda wanted, *_: (wanted, ""))


def test_each_guest_has_a_console_and_a_crash_harms_no_other(
    hgm_prepared: Prepared, tmp_path: Path
) -> None:
    shown = Shown()
    context = dataclasses.replace(hgm_prepared.context, progress=shown)
    prepared = dataclasses.replace(hgm_prepared, context=context)
    record = run(prepared, [_CRASHES, *[_PASSES] * 4], tmp_path)
    assert any(unit.count("test/p") == 2 for unit in shown.units), shown.units
    assert statuses(record) == ["CRASH", *["PASS"] * 4]
    assert len(record.guests) in (2, 3), "the crashed one is replaced while probes are left"
    assert all(0 < guest.seconds < record.seconds for guest in record.guests)
    run_dir = Path(record.run_dir)
    assert len(list(run_dir.glob("guests/2/serial.log"))) == 1
    judged = judging.judged_again(run_dir)
    assert statuses(judged) == statuses(record)
    (crash,) = (probe for probe in record.probes if probe.status == "CRASH")
    console = (run_dir / crash.splats[0].console).read_bytes()
    assert b"sysrq" in console[crash.splats[0].offset :]
    assert not machines_left()


def test_a_guest_that_the_oom_killer_ends_is_no_verdict(
    hgm_prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No test may make this host run out of memory: it ends the QEMU as the OOM killer does.
    killed: list[int] = []
    monkeypatch.setattr(hoststat, "oom_kills", lambda: len(killed))

    def kill() -> None:
        killed.append(1)
        kill_a_guest()

    thread = when_a_probe_runs(tmp_path, kill)
    slow = _PASSES.replace("sleep 1", "sleep 12")
    record = run(hgm_prepared, [slow, slow, _PASSES], tmp_path)
    thread.join()
    assert killed
    assert statuses(record) == ["PASS"] * 3
    assert any("OOM killer ended its guest; it is run again" in note for note in record.notes)
    assert not machines_left()


def test_a_guest_that_dies_otherwise_is_judged(hgm_prepared: Prepared, tmp_path: Path) -> None:
    thread = when_a_probe_runs(tmp_path, kill_a_guest)
    slow = _PASSES.replace("sleep 1", "sleep 12")
    record = run(hgm_prepared, [slow, slow], tmp_path)
    thread.join()
    assert sorted(statuses(record)) == ["LOST", "PASS"]


def test_an_interrupt_ends_every_guest(hgm_prepared: Prepared, tmp_path: Path) -> None:
    thread = when_a_probe_runs(tmp_path, lambda: os.kill(os.getpid(), signal.SIGINT))
    slow = _PASSES.replace("sleep 1", "sleep 30")
    record = run(hgm_prepared, [slow, slow, slow], tmp_path)
    thread.join()
    assert (record.verdict, record.exit_code) == ("INTERRUPTED", 130)
    assert statuses(record) == ["LOST"] * 3
    assert all(probe.reason == "it was not run" for probe in record.probes)
    assert not machines_left()
