# SPDX-License-Identifier: GPL-2.0-only
"""Private work trees that go from one git tree to another, touching only what differs.

Each lineage of sources has a slot in the cache, or works in that of another that is much the same::

    trees/SLOT/src             the work tree
    trees/SLOT/src/.build-KEY  make's output directory for one set of fragments and one toolchain
    trees/SLOT/index           git's memory of the work tree
    trees/SLOT/offered         ID of the tree it holds, where other lineages may build there too
    trees/SLOT/seen            which boot of the host, and when, last saw every file to be as it was
    trees/SLOT/switching       there while a switch is under way

so that make finds everything as it left it and rebuilds what changed. A slot is used under its
lock only.

An output directory lies right in the work tree since Kbuild then names every source relative to it:
ccache need not look up what each of a thousand included files is called elsewhere, which was more
than half of what it cost, and what one slot compiled is good for all.
"""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from harness import command
from harness.cache import OUTPUT
from harness.deadline import Deadline
from harness.errors import CommandFailed, SourceError
from harness.kernel import fragments
from harness.kernel.build import MARKER
from harness.kernel.config import ASKED
from harness.kernel.git import Store
from harness.workspace import Workspace, atomic_write, boot_id, digest, newest_first

#: Files in which a tree may differ from the one that a slot holds to be built there: more than a
#: long series changes, and fewer than a stable kernel gets in half a year.
_NEAR = 500

#: For how many seconds a work tree of which every file was looked at is believed to be as it was.
#: What somebody's hand does to it while make runs is noticed no sooner.
_SEEN_SECONDS = 60.0


@dataclass(frozen=True)
class Slot:
    """One private work tree with its build directories.

    Attributes:
        root: its directory in the cache.
    """

    root: Path

    @classmethod
    def of(cls, workspace: Workspace, lineage: str) -> Slot:
        """Return the slot of a lineage; ``debian linux-source-6.12`` has one, a tree has one."""
        readable = re.sub(r"[^A-Za-z0-9.]+", "-", lineage)[-40:].strip("-")
        return cls(workspace.cache / "trees" / f"{readable}-{digest(lineage)[:8]}")

    @classmethod
    def nearest(
        cls, workspace: Workspace, lineage: str, tree: str, store: Store, deadline: Deadline
    ) -> Slot:
        """Return where to build a tree: its lineage's own slot, else one offered that is not far.

        A clone of a repository that was built before, or a package's source in a repository, need
        not be written out and built as a whole: that took 60 s where this takes 10. A slot that is
        in use is not waited for.
        """
        own = cls.of(workspace, lineage)
        if own.source.exists():
            return own
        others = newest_first(own.root.parent.glob("*/offered"))
        for slot in (cls(path.parent) for path in others):
            if not workspace.locked(slot.lock) and slot._is_near(tree, store, deadline):
                return slot
        return own

    def _is_near(self, tree: str, store: Store, deadline: Deadline) -> bool:
        try:
            held = (self.root / "offered").read_text()
        except FileNotFoundError:
            return False  # pruned a moment ago
        names = ["diff-tree", "-r", "--no-renames", "--name-only", "-z", held, tree]
        done = store.git(names, deadline, ok=None)
        return done.exit_code == 0 and done.stdout.count("\0") <= _NEAR

    @property
    def source(self) -> Path:
        """Return the work tree."""
        return self.root / "src"

    @property
    def lock(self) -> str:
        """Return the name of the lock that guards the slot."""
        return f"trees/{self.root.name}"

    def build(self, key: str, asked: str, deadline: Deadline) -> Path:
        """Return the build directory for a configuration key, made if it was not there.

        A new one begins as a copy of the finished one with the nearest configuration: Kbuild notes
        which objects depend on which symbol, and makes only those again that differ. A feature that
        adds a driver is built in a minute; one that changes every compilation costs no less.

        Args:
            key: made of all that kernels share that can be built in one directory.
            asked: the symbols that are asked for, a line each.
            deadline: when it must be there.
        """
        path = self.source / f"{OUTPUT}{key[:16]}"
        if not path.is_dir():
            self._copy_nearest(path, asked, deadline)
            path.mkdir(parents=True, exist_ok=True)
        return path

    def _copy_nearest(self, path: Path, asked: str, deadline: Deadline) -> None:
        finished = {
            str(each): (each / ASKED).read_text()
            for each in self.source.glob(f"{OUTPUT}*")
            if (each / "vmlinux").exists()
            and (each / ASKED).exists()
            and not (each / MARKER).exists()
        }
        source = fragments.nearest(asked, finished)
        if not source:
            return
        part = self.root / f"{path.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        command.run(["cp", "-a", "--reflink=auto", "--", source, str(part)], deadline)
        part.rename(path)

    def switch(self, tree: str, store: Store, deadline: Deadline) -> None:
        """Make the work tree hold exactly a git tree; files that are the same are not touched.

        Whether they are the same is asked of each, which takes 0.16 s, but not again within
        seconds: a bisection may look at a kernel in two.

        Raises:
            SourceError: if it has something where output directories lie.
        """
        _require_room(tree, store, deadline)
        index, marker = self.root / "index", self.root / "switching"
        self.source.mkdir(parents=True, exist_ok=True)
        index.with_name("index.lock").unlink(missing_ok=True)  # of a run that was killed
        shutil.rmtree(self.root / "build", ignore_errors=True)  # of an older program
        interrupted = marker.exists()
        marker.touch()
        if interrupted or not self._seen() or not self._update(tree, store, deadline):
            interrupted = self._reset(tree, store, deadline) or interrupted
        if interrupted:
            # What the interrupted switch had added, and this tree does not have.
            clean = ["clean", "-ffdxq", f"--exclude=/{OUTPUT}*"]
            store.git(clean, deadline, index=index, work_tree=self.source)
        marker.unlink()

    def _seen(self) -> bool:
        """Return whether every file was looked at a moment ago."""
        seen = self.root / "seen"
        return (
            seen.exists()
            and seen.read_text() == boot_id()
            and 0 <= time.time() - seen.stat().st_mtime < _SEEN_SECONDS
        )

    def _update(self, tree: str, store: Store, deadline: Deadline) -> bool:
        """Write the files in which a tree differs; return whether they were as git left them."""
        merge = ["read-tree", "-m", "-u", tree]
        index = self.root / "index"
        done = store.git(merge, deadline, index=index, work_tree=self.source, ok=None)
        return done.exit_code == 0

    def _reset(self, tree: str, store: Store, deadline: Deadline) -> bool:
        """Look at every file and write those that differ; return whether all were written anew."""
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
        """Let lineages without a slot build here what is near to ``tree``, which it holds now."""
        atomic_write(self.root / "offered", tree)


def _require_room(tree: str, store: Store, deadline: Deadline) -> None:
    """Refuse a tree that could lead make's output elsewhere by a link of its own."""
    top = store.git(["ls-tree", "--name-only", "-z", tree], deadline).stdout.split("\0")
    if taken := [name for name in top if name.startswith(OUTPUT)]:
        raise SourceError(
            f"the source has {taken[0]!r} at its top, where make's output directories lie",
            hint="no kernel has; look at the patch or the tree that brings it",
        )
