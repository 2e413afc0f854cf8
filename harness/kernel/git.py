# SPDX-License-Identifier: GPL-2.0-only
"""The git object store, in which every kernel source and every patched one is a tree.

git runs with the harness's own configuration only (the file ``gitconfig`` in this directory), and
every variable is set that could point it elsewhere: ``git rebase --exec`` and hooks export GIT_DIR
and friends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import command
from harness.context import Context
from harness.deadline import Deadline
from harness.workspace import atomic_write

_CONFIG = Path(__file__).with_name("gitconfig")

#: No attribute of a tree may change a byte between the work tree and the store, nor how a patch is
#: merged: with ``merge=union`` in a patch's own .gitattributes every merge would succeed.
_ATTRIBUTES = (
    "* -text -filter -ident -eol -working-tree-encoding -export-subst -export-ignore !merge\n"
)


def environment(git_dir: Path) -> dict[str, str]:
    """Return the variables that tie git to ``git_dir`` and to the harness's configuration."""
    return {
        "GIT_DIR": str(git_dir),
        "GIT_WORK_TREE": str(git_dir),
        "GIT_INDEX_FILE": str(git_dir / "no-index"),
        "GIT_CONFIG_GLOBAL": str(_CONFIG),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_PARAMETERS": "",
        "GIT_CONFIG_COUNT": "0",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": "",
        "GIT_NAMESPACE": "",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LITERAL_PATHSPECS": "0",
    }


def create(path: Path, deadline: Deadline) -> None:
    """Create a bare repository."""
    # That fails while GIT_WORK_TREE is set, even if empty.
    init = ["env", "-u", "GIT_WORK_TREE", "git", "init", "--quiet", "--bare", "--template="]
    command.run([*init, str(path)], deadline, env=environment(path))


def _alternate(path: Path) -> str:
    """Return a path as it is written in GIT_ALTERNATE_OBJECT_DIRECTORIES."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@dataclass(frozen=True)
class Store:
    """The bare repository ``sources.git`` of a cache.

    Attributes:
        path: where it is.
    """

    path: Path

    @classmethod
    def of(cls, context: Context) -> Store:
        """Return the cache's store, created if it does not exist."""
        workspace, deadline = context.workspace, context.deadline
        store = cls(workspace.cache / "sources.git")
        if not (store.path / "HEAD").exists():
            with workspace.unfinished("store") as new:
                create(new, deadline)
                (new / "info").mkdir(exist_ok=True)
                atomic_write(new / "info" / "attributes", _ATTRIBUTES)
                workspace.publish(new, store.path)
        attributes = store.path / "info" / "attributes"
        if attributes.read_text() != _ATTRIBUTES:  # a store made by an older version
            atomic_write(attributes, _ATTRIBUTES)
        return store

    @property
    def objects(self) -> Path:
        """Return its object directory."""
        return self.path / "objects"

    def environment(
        self, index: Path | None = None, work_tree: Path | None = None
    ) -> Mapping[str, str]:
        """Return git's variables for this store with an index and a work tree, where given."""
        variables = environment(self.path) | {"GIT_OBJECT_DIRECTORY": str(self.objects)}
        if index is not None:
            variables["GIT_INDEX_FILE"] = str(index)
        if work_tree is not None:
            variables["GIT_WORK_TREE"] = str(work_tree)
        return variables

    def git(
        self,
        arguments: Sequence[str],
        deadline: Deadline,
        *,
        index: Path | None = None,
        work_tree: Path | None = None,
        stdin: Path | None = None,
        ok: Sequence[int] | None = (0,),
    ) -> command.Completed:
        """Run git in the store; see `harness.command.run` for the errors."""
        return command.run(
            ["git", *arguments],
            deadline,
            cwd=work_tree,
            env=self.environment(index, work_tree),
            stdin=stdin,
            ok=ok,
        )

    def text(self, tree: str, path: str, deadline: Deadline) -> str | None:
        """Return the text of a file in a tree; None if there is no such file."""
        done = self.git(["cat-file", "blob", f"{tree}:{path}"], deadline, ok=None)
        return done.stdout if done.exit_code == 0 else None

    def quarantine(self, objects: Path) -> dict[str, str]:
        """Return git's variables for a program whose new objects must not be in the store yet."""
        return {
            **self.environment(),
            "GIT_OBJECT_DIRECTORY": str(objects),
            **self.borrowing(self.objects),
        }

    @staticmethod
    def borrowing(*directories: Path) -> dict[str, str]:
        """Return the variable that lets git read the objects in other object directories."""
        return {"GIT_ALTERNATE_OBJECT_DIRECTORIES": ":".join(map(_alternate, directories))}

    def admit(self, objects: Path) -> None:
        """Move the packs of a quarantine into the store, each pack before its index."""
        target = self.objects / "pack"
        target.mkdir(exist_ok=True)
        for suffix in ("pack", "idx"):
            for file in (objects / "pack").glob(f"*.{suffix}"):
                file.rename(target / file.name)
