# SPDX-License-Identifier: GPL-2.0-only
"""A replay on a host where no machine starts: a fake QEMU that ends at once stands in for it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import msgspec
import pytest

from harness.campaign import replay
from harness.cli import evidence as cli
from harness.context import Context
from harness.deadline import Deadline
from harness.image import image
from harness.progress import Silent
from harness.records.base import to_json
from harness.records.kernel import ConfigIdentity, Kernel, SeriesIdentity, SourceIdentity
from harness.records.machine import AccelChoice, GuestImage, MachineSpec
from harness.records.outcome import Outcome
from harness.records.probe import ProbeResult, ProbeSpec
from harness.records.run import Ingredients, Profile, RunRecord
from harness.store import rundir
from harness.workspace import Workspace

FAKE = Path(__file__).parents[1] / "vm" / "fake_qemu.py"


STOCK = Profile(name="stock", lacks=("split",))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """An unpacked bundle of a run of one probe that passed."""
    directory = tmp_path / "bundle"
    directory.mkdir()
    for name in ("bzImage", "split"):
        (directory / name).write_text(name)
    made_of = Ingredients(
        kernel=Kernel(
            key="k",
            release="6.12",
            image="bzImage",
            source=SourceIdentity(spec="image:x", kind="image", origin="x"),
            series=SeriesIdentity(spec="none"),
            configuration=ConfigIdentity(),
        ),
        image=GuestImage(key="i", initramfs="", disk="", manifest=""),
        machine=MachineSpec(hugepages=(), memory=2**29),
        accel=AccelChoice(name="tcg", reason="x", cpu="max"),
        specs=(ProbeSpec(name="a/b/2M", shows="x", source="c/split.c", language="c"),),
        programs={"split": "split"},
        digests={"split": "0"},
    )
    record = RunRecord(
        verdict="PASS",
        outcome=Outcome.PROBES_RAN,
        exit_code=0,
        stage="done",
        expect=STOCK,
        probes=(ProbeResult(name="a/b/2M", status="PASS"),),
    )
    (directory / rundir.INGREDIENTS).write_bytes(to_json(made_of))
    (directory / rundir.RESULT).write_bytes(to_json(record))
    return directory


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with a guest image, and a QEMU that does not start."""
    programs = tmp_path / "bin"
    programs.mkdir()
    qemu = programs / "qemu-system-x86_64"
    qemu.write_text(FAKE.read_text().replace("#!/usr/bin/env python3", f"#!{sys.executable}", 1))
    qemu.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("FAKE_QEMU", "dies")
    monkeypatch.setenv("HGM_CACHE", str(tmp_path / "cache"))
    made = {name: tmp_path / name for name in ("initramfs", "disk", "manifest")}
    for path in made.values():
        path.write_bytes(b"")
    guest_image = GuestImage(key="i", **{name: str(path) for name, path in made.items()})
    monkeypatch.setattr(image, "obtain", lambda guest, context: guest_image)


def test_a_replay_without_qemu_is_recorded_as_any_run(bundle: Path, tmp_path: Path) -> None:
    context = Context(Workspace(tmp_path / "cache"), Deadline.after(60, "the test"), Silent())
    again = replay.replay(bundle, tmp_path / "runs", "", context)
    run_dir = (tmp_path / "runs" / "latest").resolve()
    record = rundir.load(run_dir)
    assert again.now == record
    assert (record.verdict, record.outcome) == ("ERROR", Outcome.INFRASTRUCTURE)
    assert "the fake dies at once" in record.reason
    assert (record.exit_code, again.exit_code) == (3, 3)
    assert record.command[-2:] == ("replay", str(bundle))
    assert (record.expect, record.started[:2]) == (STOCK, "20")
    assert [stage.name for stage in record.stages] == ["image", "accel", "guest"]
    assert [(probe.name, probe.status) for probe in record.probes] == [("a/b/2M", "LOST")]
    assert (run_dir / "junit.xml").exists()
    last = (run_dir / "reproduce.sh").read_text().splitlines()[-1]
    assert shlex.split(last)[-3:] == ["replay", str(bundle), "$@"]
    assert rundir.load_ingredients(run_dir).specs[0].name == "a/b/2M"


def test_its_exit_code_says_that_this_host_failed(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(bundle), "--runs-dir", str(tmp_path / "runs"), "--accel", "tcg"]
    assert cli.replay.main(words, standalone_mode=False) == 3
    assert "ERROR: " in capsys.readouterr().out
    assert rundir.load(tmp_path / "runs" / "latest").command[-2:] == ("--accel", "tcg")


@pytest.mark.parametrize(
    ("outcome", "verdict", "code"),
    [
        (Outcome.PROBES_RAN, "PASS", 0),
        (Outcome.PROBES_RAN, "FAIL", 1),
        (Outcome.NOT_BOOTED, "ERROR", 1),
        (Outcome.INTERRUPTED, "INTERRUPTED", 130),
    ],
)
def test_the_exit_code_of_a_replay(bundle: Path, outcome: Outcome, verdict: str, code: int) -> None:
    then = rundir.load(bundle)
    changed = {"outcome": outcome, "verdict": verdict, "exit_code": code}
    now = msgspec.structs.replace(then, **changed)
    assert replay.Replay(then, now, replay.compare(then, now), ()).exit_code == code
