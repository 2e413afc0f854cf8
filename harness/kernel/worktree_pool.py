# SPDX-License-Identifier: GPL-2.0-only
"""A pool of private work trees that switch from one git tree to another.

A switch writes only the files that differ, so make finds everything else as it left it and rebuilds
only what changed. Each lineage of sources has a work tree in the cache, or shares a similar one::

    trees/NAME/src             the work tree
    trees/NAME/src/.build-KEY  make's output directory for one set of requests and one toolchain
    trees/NAME/index           git's index of the work tree
    trees/NAME/offered         ID of the git tree that it holds, if other lineages may build there
    trees/NAME/seen            boot ID (and by its mtime, when) of the last check of every file
    trees/NAME/switching       exists during a switch

A work tree is used only under its lock.

An output directory is inside the work tree so that Kbuild names every source relative to it. Then
ccache need not map the path of each included file (more than half of its cost), and an object
compiled in one work tree is valid in all of them.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import command
from harness.cache import OUTPUT
from harness.deadline import Deadline
from harness.errors import CommandFailed, SourceError
from harness.kernel import fragments
from harness.kernel.git import Store
from harness.kernel.interrupted import MARKER
from harness.workspace import Workspace, atomic_write, boot_id, digest, newest_first

#: A tree may differ from the one in a shared work tree in this many files: more than a long series
#: changes, and fewer than a stable kernel changes in half a year.
_MOST_DIFFERING = 500

#: So many files are named to git at most; with more, reading the whole tree costs less.
_MOST_NAMED = 100

#: Seconds for which a work tree is trusted after every file was checked. A change made by hand
#: while make runs is noticed no sooner.
_SEEN_SECONDS = 60.0


@dataclass(frozen=True)
class Worktree:
    """One private work tree with its build directories.

    Attributes:
        root: its directory in the cache.
    """

    root: Path

    @classmethod
    def of(cls, workspace: Workspace, lineage: str) -> Worktree:
        """Return a lineage's own work tree; see `harness.kernel.source.Source.lineage`."""
        readable = re.sub(r"[^A-Za-z0-9.]+", "-", lineage)[-40:].strip("-")
        return cls(workspace.cache / "trees" / f"{readable}-{digest(lineage)[:8]}")

    @classmethod
    def nearest(
        cls, workspace: Workspace, lineage: str, tree: str, store: Store, deadline: Deadline
    ) -> Worktree:
        """Return where to build a tree: the lineage's own work tree, or a similar one offered.

        Switching a similar tree took 10 s where writing out and building a new one took 60 s. A
        work tree that is in use is not waited for.
        """
        own = cls.of(workspace, lineage)
        if own.source.exists():
            return own
        others = newest_first(own.root.parent.glob("*/offered"))
        for worktree in (cls(path.parent) for path in others):
            if not workspace.locked(worktree.lock) and worktree._is_near(tree, store, deadline):
                return worktree
        return own

    def _is_near(self, tree: str, store: Store, deadline: Deadline) -> bool:
        try:
            held = (self.root / "offered").read_text()
        except FileNotFoundError:
            return False  # pruned a moment ago
        names = ["diff-tree", "-r", "--no-renames", "--name-only", "-z", held, tree]
        done = store.git(names, deadline, ok=None)
        return done.exit_code == 0 and done.stdout.count("\0") <= _MOST_DIFFERING

    @property
    def source(self) -> Path:
        """Return the top of the work tree."""
        return self.root / "src"

    @property
    def lock(self) -> str:
        """Return the name of the lock that guards it."""
        return f"trees/{self.root.name}"

    def build(self, key: str, final: str, deadline: Deadline) -> Path:
        """Return the build directory for a configuration key, made if it does not exist.

        A new one starts as a copy of the finished one of the same architecture with the nearest
        configuration: Kbuild tracks which objects depend on which symbol and remakes only those
        that differ. A feature that adds a driver is built in a minute; one that changes every
        compilation costs as much as a full build.

        Args:
            key: hash of what all kernels built in that directory share.
            final: the final ``.config``.
            deadline: when it must exist.
        """
        path = self.source / f"{OUTPUT}{key[:16]}"
        if not path.is_dir():
            self._copy_nearest(path, final, deadline)
            path.mkdir(parents=True, exist_ok=True)
        return path

    def _copy_nearest(self, path: Path, final: str, deadline: Deadline) -> None:
        finished = {
            str(each): (each / ".config").read_text()
            for each in self.source.glob(f"{OUTPUT}*")
            if (each / "vmlinux").exists()
            and (each / ".config").exists()
            and not (each / MARKER).exists()
        }
        same = {at: text for at, text in finished.items() if _arch(text) == _arch(final)}
        source = fragments.nearest(final, same)
        if not source:
            return
        part = self.root / f"{path.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        command.run(["cp", "-a", "--reflink=auto", "--", source, str(part)], deadline)
        part.rename(path)

    def switch(self, tree: str, store: Store, deadline: Deadline) -> None:
        """Make the work tree hold exactly a git tree; files that do not differ are not touched.

        Checking every file takes 0.2 s and is skipped for `_SEEN_SECONDS` after the last check: a
        step of a bisection may take two seconds.

        Raises:
            SourceError: if the tree has a file where output directories are.
        """
        _require_room(tree, store, deadline)
        index, marker = self.root / "index", self.root / "switching"
        self.source.mkdir(parents=True, exist_ok=True)
        index.with_name("index.lock").unlink(missing_ok=True)  # of a run that was killed
        shutil.rmtree(self.root / "build", ignore_errors=True)  # of an older program
        interrupted = marker.exists()
        marker.touch()
        if interrupted or not (
            self._checked(store, deadline) and self._update(tree, store, deadline)
        ):
            interrupted = self._reset(tree, store, deadline) or interrupted
        if interrupted:
            # Files that the interrupted switch added and this tree does not have.
            clean = ["clean", "-ffdxq", f"--exclude=/{OUTPUT}*"]
            store.git(clean, deadline, index=index, work_tree=self.source)
        marker.unlink()

    def _checked(self, store: Store, deadline: Deadline) -> bool:
        """Return whether every file is as git left it, or was a moment ago."""
        seen = self.root / "seen"
        if (
            seen.exists()
            and seen.read_text() == boot_id()
            and 0 <= time.time() - seen.stat().st_mtime < _SEEN_SECONDS
        ):
            return True
        seen.unlink(missing_ok=True)
        # Unlike read-tree, this uses all cores.
        refresh = ["update-index", "--refresh"]
        same = self._git(refresh, store, deadline).exit_code == 0
        if same:
            seen.write_text(boot_id())
        return same

    def _update(self, tree: str, store: Store, deadline: Deadline) -> bool:
        """Write the files in which a tree differs, if these are few; return whether it is there.

        0.1 s, where read-tree takes 0.25 s and more: it reads every directory of the new tree.
        """
        differ = ["diff-index", "--cached", "--no-renames", "--name-only", "-z", tree]
        listed = self._git(differ, store, deadline)
        names = listed.stdout.split("\0")[:-1]
        if listed.exit_code != 0 or len(names) > _MOST_NAMED:
            return False
        if not names:
            return True
        restore = ["--literal-pathspecs", "restore", "--source", tree, "--staged", "--worktree"]
        done = self._git([*restore, "--", *names], store, deadline)
        return (
            done.exit_code == 0
            and self._git(["write-tree"], store, deadline).stdout.strip() == tree
        )

    def _git(self, arguments: Sequence[str], store: Store, deadline: Deadline) -> command.Completed:
        index = self.root / "index"
        return store.git(arguments, deadline, index=index, work_tree=self.source, ok=None)

    def _reset(self, tree: str, store: Store, deadline: Deadline) -> bool:
        """Check every file and write those that differ; return whether all had to be written."""
        index, seen = self.root / "index", self.root / "seen"
        seen.unlink(missing_ok=True)
        reset = ["read-tree", "--reset", "-u", tree]
        damaged = False
        try:
            store.git(reset, deadline, index=index, work_tree=self.source)
        except CommandFailed:
            # A damaged index; without one git writes every file.
            index.unlink(missing_ok=True)
            damaged = True
            store.git(reset, deadline, index=index, work_tree=self.source)
        seen.write_text(boot_id())
        return damaged

    def offer(self, tree: str) -> None:
        """Let lineages that have no work tree build here; ``tree`` is what it holds now."""
        atomic_write(self.root / "offered", tree)


def _require_room(tree: str, store: Store, deadline: Deadline) -> None:
    """Refuse a tree with a link of its own where make's output directory would be."""
    top = store.git(["ls-tree", "--name-only", "-z", tree], deadline).stdout.split("\0")
    if taken := [name for name in top if name.startswith(OUTPUT)]:
        raise SourceError(
            f"the source has {taken[0]!r} at its top, where make's output directories are created",
            hint="remove it from the tree or from the patch that adds it; no kernel has one",
        )


def _arch(config: str) -> str:
    """Return the architecture in the heading of a ``.config``: ``# Linux/x86 6.12.118 ...``."""
    return next(
        (line.split()[1] for line in config.splitlines() if line.startswith("# Linux/")), ""
    )
