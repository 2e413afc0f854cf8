# SPDX-License-Identifier: GPL-2.0-only
"""Build directories of a slot: made empty, or as a copy of the nearest finished one."""

import os
from pathlib import Path

import pytest

from harness.context import Context
from harness.deadline import Deadline
from harness.errors import SourceError
from harness.kernel import worktree_pool as slots
from harness.kernel.build import MARKER
from harness.kernel.config import ASKED
from harness.kernel.git import Store
from harness.kernel.source import resolve
from harness.kernel.specs import parse_source
from harness.kernel.worktree_pool import Slot
from harness.progress import Silent


def tree_of(toy: Path, context: Context) -> str:
    return resolve(parse_source(f"tree:{toy}"), context).identity.tree


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
    left = tmp_path / f".build-{'c' * 16}.part"
    left.mkdir()
    (left / "vmlinux").touch()
    (left / ASKED).write_text("A\n")
    assert list(slot.build("c" * 64, "A\n", deadline).iterdir()) == []


def test_a_switch_keeps_what_was_built_whatever_ended_the_one_before(
    context: Context, toy: Path
) -> None:
    tree = tree_of(toy, context)
    slot = Slot.of(context.workspace, "test")
    slot.switch(tree, Store.of(context), context.deadline)
    built = finished(slot, "a" * 64, "A\n")
    (slot.source / "left-behind").touch()
    (slot.root / "switching").touch()
    slot.switch(tree, Store.of(context), context.deadline)
    assert (built / "vmlinux").read_text() == "a" * 64
    assert not (slot.source / "left-behind").exists()


def test_a_tree_that_would_lead_the_output_elsewhere_is_refused(
    context: Context, tmp_path: Path
) -> None:
    store, deadline = Store.of(context), context.deadline
    (tmp_path / "target").write_text("/")
    link = ["hash-object", "-w", str(tmp_path / "target")]
    entry = f"120000 blob {store.git(link, deadline).stdout.strip()}\t.build-0123456789abcdef\n"
    (tmp_path / "entries").write_text(entry)
    tree = store.git(["mktree"], deadline, stdin=tmp_path / "entries").stdout.strip()
    slot = Slot.of(context.workspace, "test")
    with pytest.raises(SourceError, match=r"'\.build-0123456789abcdef' at its top"):
        slot.switch(tree, store, deadline)
    assert not slot.source.exists()


def offer(slot: Slot, tree: str, context: Context) -> None:
    slot.switch(tree, Store.of(context), context.deadline)
    slot.offer(tree)


def nearest(lineage: str, tree: str, context: Context) -> Slot:
    return Slot.nearest(context.workspace, lineage, tree, Store.of(context), context.deadline)


def test_what_is_near_to_another_lineage_is_built_in_its_slot(
    context: Context, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = Slot.of(context.workspace, "package")
    offer(slot, tree_of(toy, context), context)
    (toy / "mm/other.c").write_text("int changed;\n")
    near = tree_of(toy, context)
    assert nearest("clone", near, context) == slot
    with context.workspace.lock(slot.lock, context.deadline, Silent()):
        assert nearest("clone", near, context) == Slot.of(context.workspace, "clone")
    monkeypatch.setattr(slots, "_NEAR", 0)
    assert nearest("clone", near, context) == Slot.of(context.workspace, "clone")


def test_a_lineage_with_a_slot_stays_in_it(context: Context, toy: Path) -> None:
    tree = tree_of(toy, context)
    own = Slot.of(context.workspace, "clone")
    for slot in (own, Slot.of(context.workspace, "package")):
        offer(slot, tree, context)
    assert nearest("clone", tree, context) == own


def test_a_slot_that_is_not_offered_is_not_shared(context: Context, toy: Path) -> None:
    tree = tree_of(toy, context)
    own, slot = (Slot.of(context.workspace, name) for name in ("clone", "package"))
    slot.switch(tree, Store.of(context), context.deadline)
    assert nearest("clone", tree, context) == own
    slot.offer("0" * 40)  # what the store does not have any more
    assert nearest("clone", tree, context) == own
    slot.offer(tree)
    assert nearest("clone", tree, context) == slot


def test_a_hand_in_the_work_tree_is_noticed_when_every_file_is_looked_at(
    context: Context, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tree_of(toy, context)
    (toy / "mm/other.c").write_text("int changed;\n")
    second = tree_of(toy, context)
    slot = Slot.of(context.workspace, "test")
    untouched, changed = slot.source / "scripts/run.sh", slot.source / "mm/other.c"

    def switch(tree: str) -> None:
        slot.switch(tree, Store.of(context), context.deadline)

    switch(first)
    changed.write_text("int spoilt;\n")
    switch(second)  # git finds what it must write over
    assert changed.read_text() == "int changed;\n"

    def age() -> None:
        os.utime(slot.root / "seen", (1, 1))

    for look_again in (age, (slot.root / "seen").unlink):
        untouched.write_text("spoilt, and longer than it was\n")
        switch(first)
        assert untouched.read_text() == "spoilt, and longer than it was\n"  # seen a moment ago
        assert changed.read_text() == "int other;\n"
        look_again()
        switch(second)
        assert untouched.read_text() == "#!/bin/sh\n"
        assert changed.read_text() == "int changed;\n"
    monkeypatch.setattr(slots, "boot_id", lambda: "the next boot of the host")
    untouched.write_text("torn by a power cut, say\n")
    switch(first)
    assert untouched.read_text() == "#!/bin/sh\n"


def test_what_stands_in_the_way_of_a_switch_is_written_over(context: Context, toy: Path) -> None:
    slot = Slot.of(context.workspace, "test")
    slot.switch(tree_of(toy, context), Store.of(context), context.deadline)
    (toy / "mm/new.c").write_text("int new;\n")
    (slot.source / "mm/new.c").write_text("somebody's\n")
    slot.switch(tree_of(toy, context), Store.of(context), context.deadline)
    assert (slot.source / "mm/new.c").read_text() == "int new;\n"
