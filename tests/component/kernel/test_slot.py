# SPDX-License-Identifier: GPL-2.0-only
"""Build directories of a slot: made empty, or as a copy of the nearest finished one."""

from pathlib import Path

from harness.deadline import Deadline
from harness.kernel.build import MARKER
from harness.kernel.config import ASKED
from harness.kernel.slot import Slot


def finished(slot: Slot, key: str, asked: str) -> Path:
    path = slot.build(key, asked, Deadline.after(60, "the test"))
    (path / ASKED).write_text(asked)
    (path / "vmlinux").write_text(key)
    return path


def test_the_first_is_empty_and_the_next_a_copy_of_the_nearest(tmp_path: Path) -> None:
    slot, deadline = Slot(tmp_path), Deadline.after(60, "the test")
    first = slot.build("a" * 64, "A\n", deadline)
    assert list(first.iterdir()) == []
    finished(slot, "a" * 64, "A\nB\n")
    finished(slot, "b" * 64, "X\nY\n")
    copy = slot.build("c" * 64, "A\nB\nC\n", deadline)
    assert (copy / "vmlinux").read_text() == "a" * 64
    assert (copy / "vmlinux").stat().st_mtime == (first / "vmlinux").stat().st_mtime
    (copy / "vmlinux").write_text("changed")
    assert (first / "vmlinux").read_text() == "a" * 64
    assert slot.build("c" * 64, "A\n", deadline) == copy
    assert (copy / "vmlinux").read_text() == "changed"


def test_what_is_not_finished_is_not_copied(tmp_path: Path) -> None:
    slot, deadline = Slot(tmp_path), Deadline.after(60, "the test")
    (finished(slot, "a" * 64, "A\n") / MARKER).touch()
    (slot.build("b" * 64, "A\n", deadline) / ASKED).write_text("A\n")
    left = tmp_path / "build" / f".{'c' * 16}.part"
    left.mkdir()
    (left / "vmlinux").touch()
    (left / ASKED).write_text("A\n")
    assert list(slot.build("c" * 64, "A\n", deadline).iterdir()) == []
