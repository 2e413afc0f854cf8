# SPDX-License-Identifier: GPL-2.0-only
"""git's own bisection, in a bare clone of our own that shares the objects of the user's repository.

The user's repository is read, never written to: no ref, no work tree, no BISECT_LOG of theirs is
touched. The clone is thrown away; the runs of each commit stay in the campaign's directory.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness import command
from harness.campaign import strategy
from harness.campaign.search import Narrowed, Search, bounding
from harness.context import Context
from harness.errors import SourceError
from harness.kernel import git
from harness.kernel.user_repository import UserRepository
from harness.records.base import Record
from harness.records.campaign import Candidate, Evaluation, Term
from harness.workspace import atomic_write

_FOUND = re.compile(r"^([0-9a-f]{40,64}) is the first bad commit", re.MULTILINE)
# The harness's own configuration takes every blob for too large to look into.
_LARGE = "core.bigFileThreshold=512m"

#: Commits whose patches are searched for the functions of a trace: git prints as many in seconds.
_MOST_TRACED = 1000

_COMMIT = re.compile(r"^[0-9a-f]{40,64}$", re.MULTILINE)


class History(Record, frozen=True, kw_only=True):
    """Which commits are bisected.

    Attributes:
        repository: absolute path of a git repository or of its work tree.
        old: commit ID of the earlier end: good, or bad where the first good one is wanted.
        new: commit ID of the later end.
    """

    repository: str
    old: str
    new: str

    @property
    def path(self) -> Path:
        """Return the repository as a path."""
        return Path(self.repository)


def history(repository: Path, old: str, new: str, context: Context) -> History:
    """Return the history between two revisions.

    Raises:
        SourceError: if the repository or a revision does not exist.
    """
    where = repository.expanduser().absolute()
    theirs = UserRepository.open(where, f"--repo {repository}", SourceError, context)
    ends = [theirs.commit(revision) for revision in (old, new)]
    return History(repository=str(where), old=ends[0], new=ends[1])


def revision(history: History, word: str, context: Context) -> str:
    """Return the commit ID of a revision of a history's repository.

    Raises:
        SourceError: if there is no such revision.
    """
    return _theirs(history, context).commit(word)


def _theirs(history: History, context: Context) -> UserRepository:
    return UserRepository.open(history.path, f"--repo {history.path}", SourceError, context)


@dataclass
class GitBisect:
    """git's bisection under way.

    Attributes:
        history: what is bisected.
        clone: the repository of our own; patches are written beside it.
        theirs: the user's.
        suspects: the first bad commit, or all that it may be; empty until git is done.
    """

    history: History
    clone: Path
    theirs: UserRepository
    suspects: tuple[str, ...] = ()

    def start(self) -> None:
        """Tell git the two ends.

        Raises:
            SourceError: if the earlier end is not before the later one.
        """
        before = self.is_within(self.history.old, self.history.new)
        if self.history.old == self.history.new or not before:
            raise SourceError(
                f"commit {self.history.old[:12]} is not before {self.history.new[:12]}",
                hint="swap --good and --bad, or give their merge base as the earlier one",
            )
        # A bisection needs a HEAD.
        self._git("update-ref", "--no-deref", "HEAD", self.history.new, ok=(0,))
        self.restart(self.history.new)

    def restart(self, bad: str, skipped: Iterable[str] = ()) -> None:
        """Begin again, between the earlier end and a bad commit, with commits that are left out."""
        self.suspects = ()
        self._read(self._git("bisect", "start", "--no-checkout", bad, self.history.old))
        for commit in set(skipped) & set(self.left()):
            self.tell(commit, "skip")

    def left(self) -> tuple[str, ...]:
        """Return the commits that git may still call the first bad one, oldest first."""
        good = self._git("for-each-ref", "--format=^%(objectname)", "refs/bisect/good-*", ok=(0,))
        return self._listed("refs/bisect/bad", *good.stdout.split())

    def up_to(self, commit: str) -> tuple[Candidate, ...]:
        """Return the earlier end and all after it up to a commit, oldest first."""
        ids = (self.history.old, *self._listed(commit, f"^{self.history.old}"))
        return tuple(map(self.candidate, ids))

    def _listed(self, *words: str) -> tuple[str, ...]:
        listed = self._git("rev-list", "--reverse", "--topo-order", *words, ok=(0,))
        return tuple(listed.stdout.split())

    def is_within(self, commit: str, other: str) -> bool:
        """Return whether a commit is another one or an ancestor of it."""
        return self._git("merge-base", "--is-ancestor", commit, other).exit_code == 0

    def complete(self, commits: Iterable[str]) -> None:
        """Have the blobs that some commits change, of which a partial clone may lack some."""
        if self.theirs.is_partial:
            pairs = [(parent, commit) for commit in commits if (parent := self.parent(commit))]
            changed = (self.theirs.changed(*pair) for pair in pairs)
            self.theirs.complete({blob: path for each in changed for blob, path in each})

    def patch(self, commit: str) -> str:
        """Return what a commit changes as a patch; of a merge, against its first parent."""
        words = ("diff", "--binary", "--full-index", self.parent(commit), commit)
        return self._git("-c", _LARGE, *words, ok=(0,)).stdout

    def patch_file(self, commit: Candidate) -> Path:
        """Return a file with a commit's patch, which stays when the clone goes."""
        self.complete([commit.id])
        file = self.clone.with_name(f"{commit.id}.patch")
        atomic_write(file, self.patch(commit.id))
        return file

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

    def parent_within(self, commit: str) -> str:
        """Return a parent of a commit that has the earlier end in it, or that end."""
        old = self.history.old
        parents = self._git("rev-parse", f"{commit}^@", ok=(0,)).stdout.split()
        return next((each for each in parents if self.is_within(old, each)), old)

    def diffstat(self, commit: str) -> str:
        """Return what a commit changes, as git prints it."""
        self.complete([commit])
        show = ("show", "--stat=100", "--format=", commit)
        return self._git("-c", _LARGE, *show, ok=(0,)).stdout.rstrip()

    def most_tests(self) -> int:
        """Return how many commits are tested at most if all of them can be."""
        range_ = f"{self.history.old}..{self.history.new}"
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
        places = {commit: place for place, commit in enumerate(self._listed(self.history.new))}
        return tuple(sorted(listed, key=lambda commit: places.get(commit, 0)))

    def _git(self, *words: str, ok: Sequence[int] | None = None) -> command.Completed:
        environment, deadline = git.environment(self.clone), self.theirs.context.deadline
        return command.run(["git", *words], deadline, cwd=self.clone, env=environment, ok=ok)


#: A commit without the feature bounds the search from below, as a good one does.
_TOLD: dict[Term, Literal["good", "bad", "skip"]] = {
    "good": "good",
    "absent": "good",
    "bad": "bad",
    "untestable": "skip",
}


class Commits:
    """The candidates of a history: the commits between its ends, which git chooses from."""

    def __init__(self, git_bisect: GitBisect) -> None:
        self._git = git_bisect
        self.first = git_bisect.candidate(git_bisect.history.old)
        self.last = git_bisect.candidate(git_bisect.history.new)

    def most_tests(self) -> int:
        """Return how many are tested at most, if all can be and none is traced."""
        return self._git.most_tests()

    def texts(self) -> Iterator[tuple[Candidate, str]]:
        """Yield each with its patch, oldest first; none where there are too many, or no trees."""
        commits = self._git.up_to(self.last.id)[1:]
        if len(commits) > _MOST_TRACED:
            return
        try:
            self._git.complete(commit.id for commit in commits)
        except SourceError as error:
            self._git.theirs.context.progress.note(f"no suspects by trace: {error.message}")
            return
        for commit in commits:
            yield commit, self._git.patch(commit.id)

    def narrow(
        self, bounds: tuple[Evaluation, Evaluation], search: Search, on_top: tuple[Candidate, ...]
    ) -> Narrowed:
        """Have git choose between the earlier end and a bad one until none is left."""
        git_bisect, upper = self._git, bounds[1]
        seen = {each.candidate.id: each for each in bounds}
        git_bisect.restart(upper.candidate.id, search.skipped)
        while (commit := self._following(search, seen)) is not None:
            seen[commit] = search.evaluate(git_bisect.candidate(commit), on_top)
            bounds_search = commit in bounding(seen.values(), search)
            word = "good" if bounds_search else _TOLD[search.term(seen[commit])]
            git_bisect.tell(commit, word)
        suspects = tuple(map(git_bisect.candidate, git_bisect.suspects))
        first_bad = seen.get(suspects[-1].id, upper)
        return Narrowed(self._bound(suspects[0].id, seen, search), first_bad, suspects)

    def _following(self, search: Search, seen: Mapping[str, Evaluation]) -> str | None:
        """Return the commit to evaluate next: git's choice unless a suspect by trace is better."""
        chosen = self._git.following()
        if chosen is None or not search.traced:
            return chosen
        left = self._git.left()
        tried = strategy.by_trace(left, search.likely(seen.values()))
        if tried is None:
            return chosen
        new = (each for each in (self._git.parent(tried), tried) if each in left[:-1])
        return next((each for each in new if each not in seen), chosen)

    def _bound(
        self, suspect: str, seen: Mapping[str, Evaluation], search: Search
    ) -> Evaluation | None:
        """Return what was seen before a suspect: in its parent, or in a good commit that has it."""
        parent = self._git.parent(suspect)
        good = (each for each in seen.values() if search.term(each) == "good")
        return seen.get(parent) or next(
            (each for each in good if self._git.is_within(parent, each.candidate.id)), None
        )

    def before(self, candidate: Candidate) -> Candidate:
        """Return the parent of a commit that has the earlier end in it."""
        return self._git.candidate(self._git.parent_within(candidate.id))

    def up_to(self, candidate: Candidate) -> Sequence[Candidate]:
        """Return the earlier end and all after it up to another."""
        return self._git.up_to(candidate.id)


@contextlib.contextmanager
def bisection(history: History, clone: Path, context: Context) -> Iterator[GitBisect]:
    """Yield git's bisection of a history, just started, in a clone that is removed on the way out.

    Raises:
        SourceError: if the repository cannot be read, or an end is not before the other.
    """
    theirs = _theirs(history, context)
    shutil.rmtree(clone, ignore_errors=True)  # of a process that was killed
    try:
        git.create(clone, context.deadline)
        theirs.lend(clone)
        git_bisect = GitBisect(history, clone, theirs)
        git_bisect.start()
        yield git_bisect
    finally:
        shutil.rmtree(clone, ignore_errors=True)
