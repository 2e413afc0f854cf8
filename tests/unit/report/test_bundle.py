# SPDX-License-Identifier: GPL-2.0-only
"""A bundle of a run whose parts are small files; a real one is in tests/kernel/test_evidence.py."""

import shutil
import tarfile
from pathlib import Path

import msgspec
import pytest

from harness.campaign import replay
from harness.deadline import Deadline
from harness.errors import RecordError
from harness.records.base import from_json, to_json
from harness.records.kernel import ConfigIdentity, Kernel, SeriesIdentity, SourceIdentity
from harness.records.machine import AccelChoice, GuestImage, MachineSpec
from harness.records.probe import ProbeResult, ProbeSpec, Status
from harness.records.run import Ingredients, RunRecord
from harness.store import bundle
from harness.store.rundir import INGREDIENTS, RunStore
from harness.workspace import Workspace, file_digest


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run of one probe, with all its parts in place."""
    directory = tmp_path / "run"
    directory.mkdir()
    store = RunStore(directory, RunRecord(probes=(ProbeResult(name="a/b/2M", status="PASS"),)))
    (store.probe_directory("a/b/2M") / "vmcore").write_bytes(b"memory")
    parts = {name: tmp_path / name for name in ("bzImage", "config", "manifest.json", "split")}
    for path in parts.values():
        path.write_text(path.name)
    made_of = Ingredients(
        kernel=Kernel(
            key="k",
            release="6.12",
            image=str(parts["bzImage"]),
            config=str(parts["config"]),
            source=SourceIdentity(spec="image:x", kind="image", origin="x"),
            series=SeriesIdentity(spec="none"),
            configuration=ConfigIdentity(),
        ),
        image=GuestImage(key="i", initramfs="x", disk="y", manifest=str(parts["manifest.json"])),
        machine=MachineSpec(hugepages=(), memory=2**30),
        accel=AccelChoice(name="tcg", reason="x", cpu="max"),
        specs=(ProbeSpec(name="a/b/2M", shows="x", source="c/split.c", language="c"),),
        programs={"split": str(parts["split"])},
        digests={"split": file_digest(parts["split"])},
    )
    (directory / INGREDIENTS).write_bytes(to_json(made_of))
    return directory


def write(run_dir: Path, **options: bool) -> list[str]:
    target = run_dir.parent / "b.tar.xz"
    deadline = Deadline.after(60, "the test")
    workspace = Workspace(run_dir.parent / "cache")
    vmcores = options.get("vmcores", False)
    assert bundle.write(run_dir, target, workspace, deadline, vmcores=vmcores) == ()
    shutil.unpack_archive(target, run_dir.parent / "out")  # Debian 12's tarfile has no filters
    with tarfile.open(target) as archive:
        return archive.getnames()


def test_contents(run_dir: Path) -> None:
    names = write(run_dir)
    for name in (
        "b/replay.sh",
        "b/result.json",
        "b/kernel/bzImage",
        "b/kernel/config",
        "b/image/manifest.json",
        "b/programs/split",
        "b/source/c/split.c",
        "b/source/c/hgm_probe.h",
    ):
        assert name in names
    assert len(names) == len(set(names))
    assert not [name for name in names if name.endswith("vmcore")]
    assert "b/probes/a+b+2M/vmcore" in write(run_dir, vmcores=True)


def test_paths_are_relative_to_the_bundle(run_dir: Path) -> None:
    write(run_dir)
    unpacked = run_dir.parent / "out" / "b"
    made_of = from_json((unpacked / INGREDIENTS).read_bytes(), Ingredients)
    assert (unpacked / made_of.kernel.image).read_text() == "bzImage"
    assert {name: (unpacked / path).read_text() for name, path in made_of.programs.items()} == {
        "split": "split"
    }
    assert (unpacked / "replay.sh").stat().st_mode & 0o111


def test_a_run_whose_program_has_changed_cannot_be_bundled(run_dir: Path) -> None:
    (run_dir.parent / "split").write_text("edited")
    with pytest.raises(RecordError, match="which ran as split, has changed since"):
        write(run_dir)
    (run_dir.parent / "split").unlink()
    with pytest.raises(RecordError, match="is gone"):
        write(run_dir)
    assert not (run_dir.parent / "b.tar.xz").exists()


def test_a_run_without_a_guest_cannot_be_bundled(run_dir: Path) -> None:
    (run_dir / INGREDIENTS).unlink()
    with pytest.raises(RecordError, match=r"there is no .*ingredients\.json"):
        write(run_dir)
    (run_dir / INGREDIENTS).write_text("{}")
    with pytest.raises(RecordError, match="is damaged"):
        write(run_dir)


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [
        (("PASS", "HANG"), ("PASS", "HANG"), True),
        (("PASS", "HANG"), ("PASS", "PASS"), False),
        (("PASS", "PASS"), ("PASS",), False),
    ],
)
def test_a_replay_is_the_same_only_if_every_probe_is(
    then: tuple[Status, ...], now: tuple[Status, ...], same: bool
) -> None:
    def record(statuses: tuple[Status, ...]) -> RunRecord:
        probes = [
            ProbeResult(name=f"p{number}", status=status) for number, status in enumerate(statuses)
        ]
        return RunRecord(verdict="FAIL", probes=tuple(probes))

    one, other = record(then), record(now)
    assert replay.Replay(one, other, replay.compare(one, other), ()).same is same
    passed = msgspec.structs.replace(other, verdict="PASS")
    assert not replay.Replay(one, passed, replay.compare(one, passed), ()).same
