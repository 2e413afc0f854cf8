# SPDX-License-Identifier: GPL-2.0-only
"""The pool of work trees: build directories, switches, and sharing between lineages."""

import os
from pathlib import Path

import pytest

from harness.context import Context
from harness.deadline import Deadline
from harness.errors import SourceError
from harness.kernel import worktree_pool
from harness.kernel.git import Store
from harness.kernel.interrupted import MARKER
from harness.kernel.source import resolve
from harness.kernel.specs import parse_source
from harness.kernel.worktree_pool import Worktree
from harness.progress import Silent


def tree_of(toy: Path, context: Context) -> str:
    return resolve(parse_source(f"tree:{toy}"), context).identity.tree


def finished(worktree: Worktree, key: str, config: str) -> Path:
    path = worktree.build(key, config, Deadline.after(60, "the test"))
    (path / ".config").write_text(config)
    (path / "vmlinux").write_text(key)
    return path


def test_first_build_directory_is_empty_and_the_next_a_copy_of_the_nearest(tmp_path: Path) -> None:
    worktree, deadline = Worktree(tmp_path), Deadline.after(60, "the test")
    first = worktree.build("a" * 64, "A\n", deadline)
    assert list(first.iterdir()) == []
    finished(worktree, "a" * 64, "A\nB\n")
    finished(worktree, "b" * 64, "X\nY\n")
    copy = worktree.build("c" * 64, "A\nB\nC\n", deadline)
    assert (copy / "vmlinux").read_text() == "a" * 64
    assert (copy / "vmlinux").stat().st_mtime == (first / "vmlinux").stat().st_mtime
    (copy / "vmlinux").write_text("changed")
    assert (first / "vmlinux").read_text() == "a" * 64
    assert worktree.build("c" * 64, "A\n", deadline) == copy
    assert (copy / "vmlinux").read_text() == "changed"


def test_a_build_directory_of_another_architecture_is_not_copied(tmp_path: Path) -> None:
    worktree, deadline = Worktree(tmp_path), Deadline.after(60, "the test")
    x86, arm64 = (
        f"#\n# Linux/{name} 6.12.1 Kernel Configuration\nA\n" for name in ("x86", "arm64")
    )
    finished(worktree, "a" * 64, x86)
    assert list(worktree.build("b" * 64, arm64, deadline).iterdir()) == []
    assert (worktree.build("c" * 64, x86, deadline) / "vmlinux").exists()


def test_unfinished_build_directory_is_not_copied(tmp_path: Path) -> None:
    worktree, deadline = Worktree(tmp_path), Deadline.after(60, "the test")
    (finished(worktree, "a" * 64, "A\n") / MARKER).touch()
    (worktree.build("b" * 64, "A\n", deadline) / ".config").write_text("A\n")
    left = tmp_path / f".build-{'c' * 16}.part"
    left.mkdir()
    (left / "vmlinux").touch()
    (left / ".config").write_text("A\n")
    assert list(worktree.build("c" * 64, "A\n", deadline).iterdir()) == []


def test_switch_after_an_interrupted_one_keeps_build_directories(
    context: Context, toy: Path
) -> None:
    tree = tree_of(toy, context)
    worktree = Worktree.of(context.workspace, "test")
    worktree.switch(tree, Store.of(context), context.deadline)
    built = finished(worktree, "a" * 64, "A\n")
    (worktree.source / "left-behind").touch()
    (worktree.root / "switching").touch()
    worktree.switch(tree, Store.of(context), context.deadline)
    assert (built / "vmlinux").read_text() == "a" * 64
    assert not (worktree.source / "left-behind").exists()


def test_tree_with_a_link_named_like_an_output_directory_is_refused(
    context: Context, tmp_path: Path
) -> None:
    store, deadline = Store.of(context), context.deadline
    (tmp_path / "target").write_text("/")
    link = ["hash-object", "-w", str(tmp_path / "target")]
    entry = f"120000 blob {store.git(link, deadline).stdout.strip()}\t.build-0123456789abcdef\n"
    (tmp_path / "entries").write_text(entry)
    tree = store.git(["mktree"], deadline, stdin=tmp_path / "entries").stdout.strip()
    worktree = Worktree.of(context.workspace, "test")
    with pytest.raises(SourceError, match=r"'\.build-0123456789abcdef' at its top"):
        worktree.switch(tree, store, deadline)
    assert not worktree.source.exists()


def offer(worktree: Worktree, tree: str, context: Context) -> None:
    worktree.switch(tree, Store.of(context), context.deadline)
    worktree.offer(tree)


def nearest(lineage: str, tree: str, context: Context) -> Worktree:
    return Worktree.nearest(context.workspace, lineage, tree, Store.of(context), context.deadline)


def test_tree_similar_to_another_lineage_is_built_in_its_work_tree(
    context: Context, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worktree = Worktree.of(context.workspace, "package")
    offer(worktree, tree_of(toy, context), context)
    (toy / "mm/other.c").write_text("int changed;\n")
    near = tree_of(toy, context)
    assert nearest("clone", near, context) == worktree
    with context.workspace.lock(worktree.lock, context.deadline, Silent()):
        assert nearest("clone", near, context) == Worktree.of(context.workspace, "clone")
    monkeypatch.setattr(worktree_pool, "_MOST_DIFFERING", 0)
    assert nearest("clone", near, context) == Worktree.of(context.workspace, "clone")


def test_lineage_with_a_work_tree_stays_in_it(context: Context, toy: Path) -> None:
    tree = tree_of(toy, context)
    own = Worktree.of(context.workspace, "clone")
    for worktree in (own, Worktree.of(context.workspace, "package")):
        offer(worktree, tree, context)
    assert nearest("clone", tree, context) == own


def test_work_tree_that_is_not_offered_is_not_shared(context: Context, toy: Path) -> None:
    tree = tree_of(toy, context)
    own, worktree = (Worktree.of(context.workspace, name) for name in ("clone", "package"))
    worktree.switch(tree, Store.of(context), context.deadline)
    assert nearest("clone", tree, context) == own
    worktree.offer("0" * 40)  # what the store does not have any more
    assert nearest("clone", tree, context) == own
    worktree.offer(tree)
    assert nearest("clone", tree, context) == worktree


def test_manual_change_is_found_when_every_file_is_checked(
    context: Context, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tree_of(toy, context)
    (toy / "mm/other.c").write_text("int changed;\n")
    second = tree_of(toy, context)
    worktree = Worktree.of(context.workspace, "test")
    untouched, changed = worktree.source / "scripts/run.sh", worktree.source / "mm/other.c"

    def switch(tree: str) -> None:
        worktree.switch(tree, Store.of(context), context.deadline)

    switch(first)
    changed.write_text("int changed_by_hand;\n")
    switch(second)  # git finds what it must write over
    assert changed.read_text() == "int changed;\n"

    def age() -> None:
        os.utime(worktree.root / "seen", (1, 1))

    for look_again in (age, (worktree.root / "seen").unlink):
        untouched.write_text("edited, and longer than it was\n")
        switch(first)
        assert untouched.read_text() == "edited, and longer than it was\n"  # seen a moment ago
        assert changed.read_text() == "int other;\n"
        look_again()
        switch(second)
        assert untouched.read_text() == "#!/bin/sh\n"
        assert changed.read_text() == "int changed;\n"
    monkeypatch.setattr(worktree_pool, "boot_id", lambda: "the next boot of the host")
    untouched.write_text("torn by a power cut, say\n")
    switch(first)
    assert untouched.read_text() == "#!/bin/sh\n"


def test_untracked_file_in_the_way_of_a_switch_is_overwritten(context: Context, toy: Path) -> None:
    worktree = Worktree.of(context.workspace, "test")
    worktree.switch(tree_of(toy, context), Store.of(context), context.deadline)
    (toy / "mm/new.c").write_text("int new;\n")
    (worktree.source / "mm/new.c").write_text("in the way\n")
    worktree.switch(tree_of(toy, context), Store.of(context), context.deadline)
    assert (worktree.source / "mm/new.c").read_text() == "int new;\n"


def test_switch_writes_names_that_look_like_patterns_and_files_that_became_directories(
    context: Context, toy: Path
) -> None:
    worktree, store = Worktree.of(context.workspace, "test"), Store.of(context)
    (toy / "mm/was-a-file").write_text("file\n")
    (toy / "mm/[a]*.c").write_text("int one;\n")
    (toy / "mm/a1.c").write_text("int kept;\n")
    first = tree_of(toy, context)
    (toy / "mm/was-a-file").unlink()
    (toy / "mm/was-a-file").mkdir()
    (toy / "mm/was-a-file/inside.c").write_text("int inside;\n")
    (toy / "mm/[a]*.c").write_text("int two;\n")
    (toy / ":(top)odd\nname.c").write_text("int odd;\n")
    second = tree_of(toy, context)
    worktree.switch(first, store, context.deadline)
    kept = worktree.source / "mm/a1.c"
    written = kept.stat().st_mtime_ns
    for tree in (second, first, second):
        worktree.switch(tree, store, context.deadline)
        assert (worktree.source / "mm/was-a-file").is_dir() == (tree == second)
        assert (worktree.source / ":(top)odd\nname.c").exists() == (tree == second)
        assert (worktree.source / "mm/[a]*.c").read_text() == (
            "int two;\n" if tree == second else "int one;\n"
        )
        assert kept.stat().st_mtime_ns == written


def test_switch_to_a_tree_that_differs_in_many_files(context: Context, toy: Path) -> None:
    worktree, store = Worktree.of(context.workspace, "test"), Store.of(context)
    few = tree_of(toy, context)
    for number in range(worktree_pool._MOST_NAMED + 1):
        (toy / f"mm/many{number}.c").write_text(f"int many{number};\n")
    many = tree_of(toy, context)
    for tree, expected in ((few, 0), (many, worktree_pool._MOST_NAMED + 1), (few, 0)):
        worktree.switch(tree, store, context.deadline)
        assert len(list(worktree.source.glob("mm/many*.c"))) == expected
