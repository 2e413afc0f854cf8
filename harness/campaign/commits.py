# SPDX-License-Identifier: GPL-2.0-only
"""git's own bisection, in a bare clone of our own that shares the objects of the user's repository.

The user's repository is read, never written to: no ref, no work tree, no BISECT_LOG of theirs is
touched. The clone is thrown away; the runs of each commit stay in the campaign's directory.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness import command
from harness.campaign import strategy
from harness.deadline import Deadline
from harness.errors import CommandFailed, SourceError
from harness.kernel import git
from harness.kernel.user_repository import UserRepository
from harness.records.base import Record
from harness.records.campaign import Candidate

_FOUND = re.compile(r"^([0-9a-f]{40,64}) is the first bad commit", re.MULTILINE)
_COMMIT = re.compile(r"^[0-9a-f]{40,64}$", re.MULTILINE)


class History(Record, frozen=True, kw_only=True):
    """Which commits are bisected.

    Attributes:
        repository: absolute path of a git repository or of its work tree.
        good: commit ID of one without the fault.
        bad: commit ID of one with it.
    """

    repository: str
    good: str
    bad: str

    @property
    def path(self) -> Path:
        """Return the repository as a path."""
        return Path(self.repository)


def history(repository: Path, good: str, bad: str, deadline: Deadline) -> History:
    """Return the history between two revisions.

    Raises:
        SourceError: if the repository or a revision does not exist.
    """
    where = repository.expanduser().absolute()
    theirs = UserRepository.open(where, f"--repo {repository}", SourceError)
    ends = [theirs.commit(revision, deadline) for revision in (good, bad)]
    return History(repository=str(where), good=ends[0], bad=ends[1])


@dataclass
class GitBisect:
    """git's bisection under way.

    Attributes:
        history: what is bisected.
        clone: the bare clone.
        deadline: of the whole command.
        suspects: the first bad commit, or all that it may be; empty until git is done.
    """

    history: History
    clone: Path
    deadline: Deadline
    suspects: tuple[str, ...] = ()

    def start(self) -> None:
        """Tell git the two ends.

        Raises:
            SourceError: if the good one is not before the bad one.
        """
        ends = (self.history.bad, self.history.good)
        ancestor = self._git("merge-base", "--is-ancestor", self.history.good, self.history.bad)
        if self.history.good == self.history.bad or ancestor.exit_code != 0:
            raise SourceError(
                f"the good commit {self.history.good[:12]} is not before the bad one "
                f"{self.history.bad[:12]}",
                hint="exchange them, or give their merge base as the good one",
            )
        self._read(self._git("bisect", "start", "--no-checkout", *ends))

    def following(self) -> str | None:
        """Return the commit to evaluate next; None when git is done."""
        if self.suspects:
            return None
        return self._git("rev-parse", "--verify", "BISECT_HEAD", ok=(0,)).stdout.strip()

    def tell(self, commit: str, word: Literal["good", "bad", "skip"]) -> None:
        """Tell git whether a commit is good or bad, or to skip it."""
        self._read(self._git("bisect", word, commit))

    def candidate(self, commit: str) -> Candidate:
        """Return a commit with its subject."""
        shown = self._git("log", "-1", "--format=%s", commit, ok=(0,)).stdout.strip()
        return Candidate(id=commit, name=shown)

    def parent(self, commit: str) -> str:
        """Return a commit's first parent; empty where it has none."""
        done = self._git("rev-parse", "--verify", "--quiet", f"{commit}^")
        return done.stdout.strip() if done.exit_code == 0 else ""

    def diffstat(self, commit: str) -> str:
        """Return what a commit changes, as git prints it."""
        # The harness's own configuration takes every blob for too large to look into.
        show = ("-c", "core.bigFileThreshold=512m", "show", "--stat=100", "--format=", commit)
        return self._git(*show, ok=(0,)).stdout.rstrip()

    def most_tests(self) -> int:
        """Return how many commits are tested at most if all of them can be."""
        range_ = f"{self.history.good}..{self.history.bad}"
        total = int(self._git("rev-list", "--count", range_, ok=(0,)).stdout)
        return strategy.most_tests(total)

    def _read(self, done: command.Completed) -> None:
        """Take the suspects from git's output, if it is done."""
        if found := _FOUND.search(done.stdout):
            self.suspects = (found[1],)
        elif "could be any of" in done.stdout:
            self.suspects = self._oldest_first(_COMMIT.findall(done.stdout))
        elif done.exit_code != 0:
            raise command.failure(done)

    def _oldest_first(self, commits: Sequence[str]) -> tuple[str, ...]:
        words = ("rev-list", "--reverse", "--topo-order", "--no-walk=unsorted", *commits)
        listed = self._git(*words, ok=(0,)).stdout.split()
        order = self._git("rev-list", "--reverse", "--topo-order", self.history.bad, ok=(0,))
        places = {commit: place for place, commit in enumerate(order.stdout.split())}
        return tuple(sorted(listed, key=lambda commit: places.get(commit, 0)))

    def _git(self, *words: str, ok: Sequence[int] | None = None) -> command.Completed:
        environment = git.environment(self.clone)
        return command.run(["git", *words], self.deadline, cwd=self.clone, env=environment, ok=ok)


@contextlib.contextmanager
def bisection(history: History, clone: Path, deadline: Deadline) -> Iterator[GitBisect]:
    """Yield git's bisection of a history, just started, in a clone that is removed on the way out.

    Raises:
        SourceError: if the repository cannot be cloned, or good is not before bad.
    """
    shutil.rmtree(clone, ignore_errors=True)  # of a process that was killed
    # A clone cannot be made while a repository is named.
    make = ["env", "-u", "GIT_DIR", "-u", "GIT_WORK_TREE", "git", "clone", "--quiet", "--bare"]
    make += ["--shared", "--template=", "--", history.repository, str(clone)]
    try:
        command.run(make, deadline, env=git.environment(clone))
    except CommandFailed as error:
        raise SourceError(f"{history.repository} cannot be read: {error.message}") from error
    try:
        git_bisect = GitBisect(history, clone, deadline)
        git_bisect.start()
        yield git_bisect
    finally:
        shutil.rmtree(clone, ignore_errors=True)
