# SPDX-License-Identifier: GPL-2.0-only
"""Guests of the ordinary kernel that hang, die or vanish: what is said, and what is kept.

The ways that need a kernel made for it are in tests/long/test_crashes.py.
"""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.context import Context
from harness.deadline import Deadline
from harness.evidence.escalation import Escalation
from harness.judge import starvation
from harness.records.base import from_json
from harness.records.probe import Capture, ProbeEvidence, ProbeResult, ProbeSpec
from harness.run import guests, judging, listener, other_kernel, prepare, subject
from harness.run.prepare import Prepared
from harness.run.probe import run_probe
from harness.store import rundir
from harness.vm import spec
from harness.vm.guest import Guest
from tests.kernel.conftest import Run, machines_left, probed

PANIC = "crash/panic"


def crash(kind: str, budget: float) -> ProbeSpec:
    return ProbeSpec(
        name=f"crash/{kind}",
        shows="",
        source="c/crash.c",
        language="c",
        arguments=(kind,),
        budget=budget,
    )


SPECS = (crash("panic", 20.0), crash("userfaultfd", 2.0), crash("loop", 2.0), crash("memory", 60.0))


@pytest.fixture
def prepared(hgm_subject: subject.Subject, hgm_context: Context, tmp_path: Path) -> Prepared:
    """The ordinary kernel with the program that breaks it."""
    return prepare.prepare(
        hgm_subject, SPECS, hgm_context, tmp_path, listener.NullListener(hgm_context.progress)
    )


def capture(run_dir: Path, probe: ProbeResult) -> Capture:
    return from_json((run_dir / probe.directory / rundir.CAPTURE).read_bytes(), Capture)


@pytest.mark.hgm_machine(hugepages="2M:8", memory="512M")
def test_another_kernel_is_booted_on_the_same_machine(prepared: Prepared, tmp_path: Path) -> None:
    said = other_kernel.boot(prepared, tmp_path)
    assert said.endswith("was booted on the same machine, for its splats before init"), said
    console = rundir.read_console(tmp_path, rundir.OTHER_SERIAL)
    assert re.search(rb"Linux version \S+-amd64 \(debian-kernel@lists\.debian\.org\)", console)
    assert b"hugepages=8" in console
    assert b"Run /init as init process" in console


@pytest.mark.hgm_machine(hugepages="2M:8", memory="512M")
@pytest.mark.hgm_probes("baseline/memfd-map/2M")
@pytest.mark.parametrize("also", [True, False], ids=["both", "alone"])
def test_a_splat_before_init_is_the_kernels_unless_another_has_it_too(
    hgm_prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, also: bool
) -> None:
    """Every kernel warns of this fan-out in rcu_init(), if it is asked for."""
    image, line = hgm_prepared.kernel.image, spec.kernel_command_line

    def asked(launch: spec.Launch) -> str:
        more = " rcutree.rcu_fanout_leaf=1" if also or launch.kernel == image else ""
        return line(launch) + more

    monkeypatch.setattr(spec, "kernel_command_line", asked)
    kept = probed(hgm_prepared, hgm_prepared.specs, tmp_path / "runs")
    record = kept.record
    assert [probe.status for probe in record.probes] == ["PASS"]
    (splat,) = record.machine_splats if also else record.splats
    assert re.match(r"WARNING: .*\bkernel/rcu/tree\.c:\d+", splat.title), splat.title
    assert len(record.splats) + len(record.machine_splats) == 1
    booted = "was booted on the same machine, for its splats before init"
    assert sum(note.endswith(booted) for note in record.notes) == 1, record.notes
    assert (record.verdict, record.exit_code) == (("PASS", 0) if also else ("FAIL", 1))
    if not also:
        assert record.reason.startswith(f"splat outside of any probe: {splat.title}; ")


@pytest.mark.hgm_machine(hugepages="2M:8", memory="512M")
def test_each_end_has_its_status_and_its_blame(prepared: Prepared, tmp_path: Path) -> None:
    kept = probed(prepared, SPECS, tmp_path / "runs")
    run_dir = kept.run_dir
    found = {probe.name.removeprefix("crash/"): probe for probe in kept.record.probes}
    assert {name: probe.status for name, probe in found.items()} == {
        "panic": "CRASH",
        "userfaultfd": "HANG",
        "loop": "HANG",
        "memory": "FAIL",
    }
    assert found["panic"].blame.startswith("sysrq_handle_crash")
    assert found["userfaultfd"].blame == "handle_userfault, state S"
    assert re.search(r"waiting for userfaultfd: crash\[\d+\]", found["userfaultfd"].reason)
    assert found["loop"].blame == "user mode, in the probe"
    assert [splat.kind for splat in found["memory"].splats] == ["out-of-memory"]
    for name in ("panic", "userfaultfd", "loop"):
        outcomes = {step.name: step.result for step in capture(run_dir, found[name]).steps}
        assert outcomes["registers"] == outcomes["vmcore"] == "ok", (name, outcomes)
        assert (run_dir / found[name].directory / "vmcore").stat().st_size > 2**20
    for probe in found.values():
        for file in probe.evidence:
            assert (run_dir / file).stat().st_size > 0
    lists = {step.name: step.result for step in capture(run_dir, found["userfaultfd"]).steps}
    assert lists["sysrq-w"] == lists["sysrq-l"] == lists["sysrq-t"] == "ok", lists
    again = judging.rejudge(run_dir)
    assert again.probes == kept.record.probes
    assert again.splats == ()
    assert kept.record.timeout_scale >= 1.0
    assert machines_left() == []


@pytest.mark.hgm_machine(hugepages="2M:8", memory="512M")
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, "QEMU ended with exit code 137"),
        (signal.SIGSTOP, r"is stopped \(state T\); its monitor has not answered for \d+ s"),
    ],
)
def test_a_qemu_that_is_killed_or_stopped_makes_the_probe_lost(
    prepared: Prepared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    said: str,
) -> None:
    def disturbed(guest: Guest, *arguments: object, **options: object) -> ProbeEvidence:
        threading.Timer(1.0, lambda: os.kill(guest.qemu.process.pid, number)).start()
        return run_probe(guest, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(guests, "run_probe", disturbed)
    kept = probed(prepared, [crash("loop", 120.0)], tmp_path / "runs")
    (found,) = kept.record.probes
    assert found.status == "LOST", found.reason
    assert re.search(said, found.reason)
    assert (kept.record.verdict, kept.record.exit_code) == ("ERROR", 3)
    assert found.seconds < 120.0, "it was the budget that ended it"
    (evidence,) = rundir.all_evidence(kept.run_dir)
    assert evidence.host is not None
    assert len(evidence.host.vcpus) == (2 if number == signal.SIGSTOP else 0)
    assert judging.rejudge(kept.run_dir).probes == kept.record.probes
    assert machines_left() == []


@pytest.mark.hgm_machine(hugepages="2M:8", memory="512M")
def test_a_stall_before_a_probe_is_not_the_probes(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note_stall = guests.note_stall

    def stalled(store: rundir.RunStore, console: str, guest: Guest) -> None:
        if not store.record.stalled:
            limit = Deadline.after(60.0, "the stall")
            line = "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:"
            guest.ssh.run(["sh", "-c", f"echo '<3>{line}' > /dev/kmsg"], limit, check=True)
            assert select.select([guest.stuck], [], [], 60.0)[0]
        note_stall(store, console, guest)

    monkeypatch.setattr(guests, "note_stall", stalled)
    monkeypatch.setattr(starvation, "STARVED", 2.0)
    monkeypatch.setattr("harness.run.probe.STALL_GRACE_SECONDS", 0.0)
    kept = probed(prepared, [crash("memory", 60.0)], tmp_path / "runs")
    (found,) = kept.record.probes
    assert (found.status, [splat.kind for splat in found.splats]) == ("FAIL", ["out-of-memory"])
    (span,) = kept.record.stalled
    assert len(span.host.vcpus) == 2
    assert kept.record.splats == ()
    assert "rcu-stall" in {splat.kind for splat in kept.record.machine_splats}
    monkeypatch.setattr(starvation, "STARVED", 0.0)
    assert judging.rejudge(kept.run_dir).splats == kept.record.machine_splats


@pytest.mark.hgm_machine(hugepages="2M:8", memory="512M")
def test_a_guest_that_another_monitor_pauses_is_lost(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def paused(guest: Guest, *arguments: object, **options: object) -> ProbeEvidence:
        limit = Deadline.after(60.0, "the pause")
        threading.Timer(1.0, lambda: guest.qmp.execute("stop", deadline=limit)).start()
        return run_probe(guest, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(guests, "run_probe", paused)
    (found,) = probed(prepared, [crash("loop", 120.0)], tmp_path / "runs").record.probes
    assert found.status == "LOST", found.reason
    assert "status paused" in found.reason


@pytest.mark.hgm_machine(hugepages="2M:8", memory="512M")
def test_an_nmi_works_where_sysrq_does_not(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Escalation, "_lists", lambda self: None)
    kept = probed(prepared, [crash("loop", 2.0)], tmp_path / "runs")
    run_dir = kept.run_dir
    (found,) = kept.record.probes
    assert (found.status, found.blame) == ("HANG", "user mode, in the probe")
    outcomes = {step.name: step.result for step in capture(run_dir, found).steps}
    assert outcomes["nmi"] == outcomes["vmcore"] == "ok", outcomes
    said = (run_dir / found.directory / "nmi.txt").read_text()
    assert "Kernel panic - not syncing: NMI: Not continuing" in said
    assert {"NMI backtrace for cpu 0", "NMI backtrace for cpu 1"} <= {
        match[0] for match in re.finditer(r"NMI backtrace for cpu \d", said)
    }


def test_a_bundle_unpacked_elsewhere_gives_the_same_verdict(
    hgm: Callable[..., Run], tmp_path: Path
) -> None:
    probe = "baseline/minor-fault-py/2M"
    words = ("--series", "none", "--hugepages", "2M:8", "--probe", probe)
    assert hgm("run", *words, "--json").code == 0
    archive = tmp_path / "b.tar.xz"
    made = hgm("bundle", str(tmp_path / "runs" / "latest"), "--output", str(archive))
    assert made.out.strip() == str(archive)
    shutil.unpack_archive(archive, tmp_path / "elsewhere")
    door = tmp_path / "hgm"
    door.write_text(f'#!/bin/sh\nexec {sys.executable} -m harness.cli "$@"\n')
    door.chmod(0o755)
    done = subprocess.run(
        [tmp_path / "elsewhere" / "b" / "replay.sh", "--runs-dir", str(tmp_path / "again")],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "HGM": str(door)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["PASS", probe]
    assert done.stdout.splitlines()[-1] == "PASS: the same"
