# SPDX-License-Identifier: GPL-2.0-only
"""The processes and files that a run left over are found."""

import sys
from pathlib import Path

import pytest

from harness import command
from harness.selfcheck.injection import actions, leftovers
from harness.selfcheck.injection.catalogue import Target


def test_processes_and_files_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "_SETTLE_SECONDS", 0.2)
    private = tmp_path / "private"
    for name in ("home", "tmp", "cwd"):
        (private / name).mkdir(parents=True)
    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    with command.start(argv, env={actions.MARK: "left-over"}) as process:
        target = Target(process, "left-over", tmp_path / "runs", private, tmp_path / "cache")
        (private / "tmp" / "x").touch()
        unfinished = tmp_path / "cache" / "tmp" / f"guest.{process.pid}.abcd"
        unfinished.mkdir(parents=True)
        part = tmp_path / "cache" / "accel" / f".choice.{process.pid}.abcd.part"
        part.parent.mkdir()
        part.touch()
        found = leftovers.find(tmp_path, target, ())
        assert str(process.pid) in str(found["processes"])
        assert set(found["files"]) == {str(private / "tmp" / "x"), str(unfinished), str(part)}
        found = leftovers.find(tmp_path, target, (process.pid + 1,))
        assert str(unfinished) in found["files"], "another process was killed, not its own"
    (private / "tmp" / "x").unlink()
    part.unlink()
    found = leftovers.find(tmp_path, target, (process.pid,))
    assert found == {"processes": (), "mounts": (), "files": ()}
    assert not unfinished.exists(), "the next run removes what a killed one left over"
