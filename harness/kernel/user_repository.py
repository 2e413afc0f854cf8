# SPDX-License-Identifier: GPL-2.0-only
"""A git repository of the user's: read through git, never written to, and explained when it fails.

git must not fetch what a partial clone lacks: that would take the network and write to the
repository.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from harness import command
from harness.deadline import Deadline
from harness.errors import NoSpace, UserError
from harness.kernel.git import environment

_OBJECT_ID = re.compile(r"[0-9a-f]{40,64}\Z")
_MISSING = re.compile(
    r"promisor remote|unable to (?:read|unpack)|could not read|bad object"
    r"|missing (?:blob|tree|commit)|object info|is corrupt|repository corruption"
    r"|revision walk setup failed",
    re.IGNORECASE,
)
_PARTIAL = r"^(extensions\.partialclone|remote\..*\.promisor)$"


def git_dir(path: Path) -> Path | None:
    """Return the git directory (or gitfile) of a checkout or bare repository; None if neither."""
    if (path / ".git").exists():
        return path / ".git"
    return path if (path / "objects").is_dir() and (path / "HEAD").is_file() else None


def in_repository(
    directory: Path, arguments: list[str], deadline: Deadline, *, work_tree: Path | None = None
) -> command.Completed:
    """Run a git command that only reads; any exit code is accepted.

    Args:
        directory: the git directory.
        arguments: git's.
        deadline: when it must be done.
        work_tree: the top of the work tree, for a command that needs one.
    """
    # For a git that does not know GIT_NO_LAZY_FETCH (before 2.44).
    variables = {**environment(directory), "GIT_ALLOW_PROTOCOL": "none"}
    # The user's index; git finds it in the git directory, also in that of a linked work tree.
    del variables["GIT_INDEX_FILE"]
    if work_tree is not None:
        variables["GIT_WORK_TREE"] = str(work_tree)
    return command.run(["git", *arguments], deadline, env=variables, cwd=work_tree, ok=None)


@dataclass(frozen=True)
class UserRepository:
    """A repository that an argument names.

    Attributes:
        path: as the argument names it, absolute.
        git_dir: its git directory.
        argument: the argument, for messages: ``--kernel git:/linux@v6.12``.
        error: what is raised.
    """

    path: Path
    git_dir: Path
    argument: str
    error: type[UserError]

    @classmethod
    def open(cls, path: Path, argument: str, error: type[UserError]) -> UserRepository:
        """Return the repository at a path.

        Raises:
            UserError: an ``error``, if there is none.
        """
        found = git_dir(path)
        if found is None:
            what = "does not exist"
            if path.is_file():
                what = "is a file, not a git repository"
            elif path.exists():
                what = "is not a git repository"
            raise error(f"{argument}: {path} {what}", hint="check the path")
        if found.is_file():  # a linked work tree's
            target = Path(path, found.read_text(errors="replace").removeprefix("gitdir:").strip())
            if not target.exists():
                raise error(
                    f"{argument}: {found} names {target}, which does not exist",
                    hint="if its repository was moved, run `git worktree repair` there",
                )
        return cls(path, found, argument, error)

    def git(self, arguments: list[str], deadline: Deadline) -> str:
        """Return what a git command that only reads prints.

        Raises:
            UserError: if git fails, see `failure`.
        """
        done = in_repository(self.git_dir, arguments, deadline)
        if done.exit_code != 0:
            raise self.failure(done, deadline)
        return done.stdout

    def commit(self, revision: str, deadline: Deadline) -> str:
        """Return the commit ID that a revision means now.

        Raises:
            UserError: if there is no such revision, it is not a commit, or its object is missing.
        """
        options = ["rev-parse", "--verify", "--quiet", "--end-of-options"]
        done = in_repository(self.git_dir, [*options, f"{revision}^{{commit}}"], deadline)
        if done.exit_code == 0:
            return done.stdout.strip()
        named = in_repository(self.git_dir, [*options, revision], deadline).stdout.strip()
        if named and not _OBJECT_ID.match(revision):
            kind = in_repository(self.git_dir, ["cat-file", "-t", named], deadline)
            if kind.exit_code != 0:
                raise self.failure(kind, deadline)
            if kind.stdout.strip() not in ("commit", "tag"):
                raise self._error(f"{revision!r} is a {kind.stdout.strip()}, not a commit", "")
        if absent := self._absent_alternate(deadline):
            raise self._error(*absent)
        if self.is_shallow(deadline):
            raise self._error(
                f"{self.path} has no revision {revision!r}, and it is a shallow clone",
                self.command_hint("fetch --unshallow --tags", "fetches the rest"),
            )
        raise self._error(
            f"{self.path} has no revision {revision!r}",
            self.command_hint("log --oneline", "lists its commits"),
        )

    def failure(self, done: command.Completed, deadline: Deadline) -> UserError | NoSpace:
        """Return the error for a git that failed because of this repository."""
        error = command.failure(done)
        if isinstance(error, NoSpace):
            return error
        if absent := self._absent_alternate(deadline):
            return self._error(*absent)
        why = last_error(done.stderr)
        if not _MISSING.search(done.stderr):
            return self._error(f"git cannot read {self.path}: {why}", "")
        if in_repository(self.git_dir, ["config", "--get-regexp", _PARTIAL], deadline).stdout:
            return self._error(
                f"{self.path} is a partial clone that lacks objects needed here",
                self.command_hint("fetch --refetch --no-filter", "fetches all of them"),
            )
        return self._error(
            f"objects in {self.path} are missing or damaged: {why}",
            self.command_hint("fsck", "shows which; clone it again"),
        )

    def is_shallow(self, deadline: Deadline, commit: str = "") -> bool:
        """Return whether it is a shallow clone; with a commit, whether its history ends there."""
        boundary = self.objects(deadline).with_name("shallow")
        return boundary.is_file() and commit in boundary.read_text()

    def command_hint(self, arguments: str, does: str) -> str:
        """Return a hint with a git command to type."""
        return f"`git -C {shlex.quote(str(self.path))} {arguments}` {does}"

    def objects(self, deadline: Deadline) -> Path:
        """Return its object directory, absolute."""
        argv = ["rev-parse", "--git-path", "objects"]
        return Path(in_repository(self.git_dir, argv, deadline).stdout.strip()).absolute()

    def _absent_alternate(self, deadline: Deadline) -> tuple[str, str] | None:
        """Return message and hint if a repository that this one borrows objects from is gone."""
        objects = self.objects(deadline)
        listing = objects / "info" / "alternates"
        for line in listing.read_text().splitlines() if listing.is_file() else ():
            if line and not line.startswith(("#", '"')) and not (objects / line).is_dir():
                return (
                    f"{self.path} borrows objects from {line}, which does not exist",
                    f"restore it, correct {listing}, or clone again without --shared/--reference",
                )
        return None

    def _error(self, message: str, hint: str) -> UserError:
        return self.error(f"{self.argument}: {message}", hint=hint)


def last_error(stderr: str) -> str:
    """Return git's error in one line: the first ``fatal:`` of the remote's, else its own."""
    lines = [line.removeprefix("remote: ").strip() for line in stderr.splitlines()]
    for word in ("fatal: ", "error: "):
        for line in lines:
            if line.startswith(word):
                return line.removeprefix(word)
    return next((line for line in reversed(lines) if line), "git gave no reason")
