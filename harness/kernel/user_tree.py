# SPDX-License-Identifier: GPL-2.0-only
"""A user's own source tree: read into the store, never written to.

Its index and objects are in the cache, so reading it again costs a stat of each file: 0.3 s for the
86,691 files of 6.12, built in or not.
"""

from __future__ import annotations

import concurrent.futures
import os
from pathlib import Path

from harness.context import Context
from harness.deadline import Deadline
from harness.errors import CommandFailed, SourceError
from harness.kernel.git import Store
from harness.kernel.user_repository import UserRepository

_EXCLUDES = Path(__file__).with_name("tree-excludes")

#: The mode of a submodule in an index.
_SUBMODULE = "160000 "


def excludes(text: str) -> list[str]:
    """Return the patterns of an exclude file as options of ``git ls-files``."""
    lines = (line.strip() for line in text.splitlines())
    return [f"--exclude={line}" for line in lines if line and not line.startswith("#")]


def snapshot(path: Path, index: Path, repository: UserRepository | None, context: Context) -> str:
    """Return the git tree ID of a work tree as it is now, without its build products.

    It has all files that no .gitignore excludes, and all that the user's own git tracks, in its
    submodules too.

    Args:
        path: top of the tree.
        index: the cache's index for it; created by the first call.
        repository: the user's, if the tree is a checkout.
        context: cache, deadline, progress.

    Raises:
        SourceError: if a file, or the user's own index, cannot be read.
    """
    index.with_name(index.name + ".lock").unlink(missing_ok=True)  # of a run that was killed
    store, workspace, deadline = Store.of(context), context.workspace, context.deadline
    changed = ["ls-files", "-z", "--modified", "--deleted"]
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        listing = beside.submit(store.git, changed, deadline, index=index, work_tree=path)
        names = _listed(path, index, store, deadline)
        names |= set(listing.result().stdout.split("\0")) - {""}
    if repository is not None:
        ours = store.git(["ls-files", "-z"], deadline, index=index, work_tree=path)
        known = set(ours.stdout.split("\0"))
        tracked = _tracked(path, repository, store, context) - known
        names |= {name for name in tracked if os.path.lexists(path / name)}
    with workspace.unfinished("names") as room:
        todo = room / "names"
        todo.write_text("".join(f"{name}\0" for name in sorted(names)))
        update = ["update-index", "-z", "--add", "--remove", "--replace", "--stdin"]
        try:
            if names:
                store.git(update, deadline, index=index, work_tree=path, stdin=todo)
            done = store.git(["write-tree"], deadline, index=index, work_tree=path)
        except CommandFailed as error:
            raise SourceError(
                f"{path} cannot be read completely: {error.message}", hint="check its permissions"
            ) from error
    return done.stdout.strip()


def _listed(path: Path, index: Path | None, store: Store, deadline: Deadline) -> set[str]:
    """Return the files of a work tree that an index does not have and no .gitignore excludes."""
    listing = ["ls-files", "-z", "--others", *excludes(_EXCLUDES.read_text())]
    listing += ["--exclude-per-directory=.gitignore"]
    listed = store.git(listing, deadline, index=index, work_tree=path).stdout.split("\0")
    # A nested repository is listed as a directory.
    return {name for name in listed if name and not name.endswith("/")}


def _tracked(path: Path, repository: UserRepository, store: Store, context: Context) -> set[str]:
    """Return the files that the user's git tracks, and all of its checked-out submodules."""
    rows = repository.git(["ls-files", "-z", "--stage"], work_tree=path).stdout.split("\0")
    found = set()
    for entry, _, name in (row.partition("\t") for row in rows if row):
        if not entry.startswith(_SUBMODULE):
            found.add(name)
        elif os.path.lexists(path / name / ".git"):
            inside = UserRepository.open(
                path / name, repository.argument, repository.error, context
            )
            files = _listed(path / name, None, store, context.deadline)
            files |= _tracked(path / name, inside, store, context)
            found |= {f"{name}/{file}" for file in files}
    return found


def describe(path: Path, tree: str, repository: UserRepository | None) -> str:
    """Return a tree's path with its commit, and whether it differs from that, if git knows."""
    if repository is None:
        return str(path)
    done = repository.git(["rev-parse", "HEAD", "HEAD^{tree}"], ok=None)
    if done.exit_code != 0:
        return str(path)  # no commit yet
    commit, committed = done.stdout.split()
    return f"{path}, commit {commit}" + ("" if committed == tree else " with changes")
