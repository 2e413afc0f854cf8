# SPDX-License-Identifier: GPL-2.0-only
"""What a disturbed run leaves behind is found, each kind of it."""

import sys
from pathlib import Path

import pytest

from harness import command
from harness.context import Context
from harness.deadline import Deadline
from harness.progress import Silent
from harness.selfcheck.injection import actions, runner
from harness.selfcheck.injection.catalogue import Target
from harness.selfcheck.injection.runner import Prepared
from harness.workspace import Workspace


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    workspace = Workspace(tmp_path / "cache")
    context = Context(workspace, Deadline.after(60.0, "the test"), Silent())
    (tmp_path / "campaign").mkdir()
    return Prepared(tmp_path / "campaign", 1, (), context)


def left(prepared: Prepared, target: Target, *, killed: bool = False) -> dict[str, object]:
    return prepared._leftovers(target.private.parent, target, killed=killed)


def test_processes_and_files_that_are_left_are_found(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_SETTLE_SECONDS", 0.2)
    private = tmp_path / "private"
    for name in ("home", "tmp", "cwd"):
        (private / name).mkdir(parents=True)
    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    with command.start(argv, env={actions.MARK: "left-behind"}) as process:
        target = Target(process, "left-behind", tmp_path / "runs", private)
        (private / "tmp" / "x").touch()
        unfinished = tmp_path / "cache" / "tmp" / f"guest.{process.pid}.abcd"
        unfinished.mkdir(parents=True)
        part = tmp_path / "cache" / "accel" / f".choice.{process.pid}.abcd.part"
        part.parent.mkdir()
        part.touch()
        found = left(prepared, target)
        assert str(process.pid) in str(found["processes"])
        assert set(found["files"]) == {str(private / "tmp" / "x"), str(unfinished), str(part)}  # type: ignore[call-overload]
    (private / "tmp" / "x").unlink()
    part.unlink()
    found = left(prepared, target, killed=True)
    assert found == {"processes": (), "mounts": (), "files": ()}
    assert not unfinished.exists(), "the sweep of the next run removes what a killed one left"
