# SPDX-License-Identifier: GPL-2.0-only
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import DeadlineExpired
from harness.progress import Silent
from harness.workspace import Workspace, atomic_write, digest


class Listener(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "cache")


def test_parts_of_a_digest_cannot_run_into_one_another() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("ab") == digest(b"ab")


def test_an_atomic_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def no_space(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_space)
    with pytest.raises(OSError, match="No space"):
        atomic_write(path, "new")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_what_is_not_published_goes_away(workspace: Workspace) -> None:
    with workspace.unfinished("kernel") as part:
        (part / "half").write_text("x")
        assert list(workspace.room("tmp").iterdir()) == [part]
    assert list(workspace.room("tmp").iterdir()) == []


def test_the_second_of_two_publishers_leaves_the_first_ones_work(workspace: Workspace) -> None:
    final = workspace.room("kernels") / "key"
    for text in ("first", "second"):
        with workspace.unfinished("kernel") as part:
            (part / "bzImage").write_text(text)
            workspace.publish(part, final)
    assert (final / "bzImage").read_text() == "first"


def test_the_sweep_removes_only_what_dead_processes_left(workspace: Workspace) -> None:
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    room = workspace.room("tmp")
    kept = {f"guest.{os.getpid()}.bb", "somebody's"}
    with subprocess.Popen(["true"]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        for name in {f"guest.{dead.pid}.aa", f"guest.{zombie.pid}.cc"} | kept:
            (room / name).mkdir()
        (room / f"lease.{dead.pid}.dd").write_bytes(b"a file")
        workspace.sweep()
        assert {each.name for each in room.iterdir()} == kept


def test_waiting_for_a_lock_is_noted_and_has_a_deadline(workspace: Workspace) -> None:
    program = (
        "import sys; from pathlib import Path; from harness.workspace import Workspace\n"
        "from harness.deadline import Deadline; from harness.progress import Silent\n"
        f"with Workspace(Path({str(workspace.cache)!r})).lock('tree', Deadline.after(9, 'it'), "
        "Silent()):\n    print('held', flush=True); sys.stdin.read()\n"
    )
    listener = Listener()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        limit = Deadline.after(0.3, "the lock")
        with pytest.raises(DeadlineExpired), workspace.lock("tree", limit, listener):
            pass
        assert listener.notes == ["waiting for another hgm process that is using tree"]
        holder.kill()
    with workspace.lock("tree", Deadline.after(5, "the lock"), listener):
        pass  # the lock died with its holder
