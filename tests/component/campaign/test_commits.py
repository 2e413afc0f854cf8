# SPDX-License-Identifier: GPL-2.0-only
"""git's own bisection over a real repository, which it must not change."""

import subprocess
from pathlib import Path

import pytest

from harness.campaign import commits
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import SourceError
from harness.progress import Silent
from harness.workspace import Workspace

COMMITS = 12


def _git(repository: Path, *words: str) -> str:
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost.invalid"]
    done = subprocess.run(
        ["git", "-C", str(repository), *identity, *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "linux"
    path.mkdir()
    _git(path, "init", "-q")
    for number in range(COMMITS + 1):
        (path / "file").write_text(f"{number}\n")
        _git(path, "add", "file")
        _git(path, "commit", "-qm", f"commit {number}")
    return path


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Workspace(tmp_path / "cache"), Deadline.after(60, "a test"), Silent())


def _number(git_bisect: commits.GitBisect, commit: str) -> int:
    return int(git_bisect.candidate(commit).name.split()[1])


def _state(repository: Path) -> set[str]:
    return {str(path) for path in (repository / ".git").rglob("*")}


@pytest.mark.parametrize("culprit", [1, 7, COMMITS])
def test_the_culprit_is_named_and_the_repository_unchanged(
    repository: Path, tmp_path: Path, context: Context, culprit: int
) -> None:
    before = _state(repository)
    history = commits.history(repository, f"HEAD~{COMMITS}", "HEAD", context)
    clone = tmp_path / "clone"
    tested = 0
    with commits.bisection(history, clone, context) as git_bisect:
        while (commit := git_bisect.following()) is not None:
            tested += 1
            git_bisect.tell(commit, "bad" if _number(git_bisect, commit) >= culprit else "good")
        (found,) = git_bisect.suspects
        assert _number(git_bisect, found) == culprit
        assert _number(git_bisect, git_bisect.parent(found)) == culprit - 1
        assert "file | 2 +-" in git_bisect.diffstat(found)
        assert tested <= git_bisect.most_tests()
    assert not clone.exists()
    assert _state(repository) == before
    assert _git(repository, "status", "--porcelain") == ""


def test_begun_again_below_a_commit(repository: Path, tmp_path: Path, context: Context) -> None:
    history = commits.history(repository, f"HEAD~{COMMITS}", "HEAD", context)
    with commits.bisection(history, tmp_path / "clone", context) as git_bisect:
        for culprit in (9, 4):
            while (commit := git_bisect.following()) is not None:
                is_bad = _number(git_bisect, commit) >= culprit
                git_bisect.tell(commit, "bad" if is_bad else "good")
            (found,) = git_bisect.suspects
            assert _number(git_bisect, found) == culprit
            git_bisect.restart(git_bisect.parent_within(found), [history.old])
            left = [_number(git_bisect, each) for each in git_bisect.left()]
            assert left == list(range(1, culprit))
        patch = git_bisect.patch_file(git_bisect.candidate(found))
    assert patch.read_text().endswith("-3\n+4\n")


def test_skipped_commits_stay_suspects_oldest_first(
    repository: Path, tmp_path: Path, context: Context
) -> None:
    history = commits.history(repository, f"HEAD~{COMMITS}", "HEAD", context)
    with commits.bisection(history, tmp_path / "clone", context) as git_bisect:
        while (commit := git_bisect.following()) is not None:
            number = _number(git_bisect, commit)
            git_bisect.tell(commit, "skip" if number in (5, 6) else "bad" if number > 6 else "good")
        assert [_number(git_bisect, commit) for commit in git_bisect.suspects] == [5, 6, 7]


def test_a_clone_left_by_a_killed_process_is_replaced(
    repository: Path, tmp_path: Path, context: Context
) -> None:
    history = commits.history(repository, "HEAD~2", "HEAD", context)
    (tmp_path / "clone" / "objects").mkdir(parents=True)
    with commits.bisection(history, tmp_path / "clone", context) as git_bisect:
        assert git_bisect.following() is not None


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        ("HEAD", "HEAD~2", "is not before"),
        ("HEAD", "HEAD", "is not before"),
        ("nonesuch", "HEAD", "has no revision 'nonesuch'"),
        ("--all", "HEAD", "has no revision '--all'"),
    ],
)
def test_wrong_ends(
    repository: Path, tmp_path: Path, context: Context, good: str, bad: str, words: str
) -> None:
    def begin() -> None:
        history = commits.history(repository, good, bad, context)
        with commits.bisection(history, tmp_path / "clone", context):
            raise AssertionError("it began")

    with pytest.raises(SourceError, match=words):
        begin()


def test_no_repository(tmp_path: Path, context: Context) -> None:
    with pytest.raises(SourceError, match="is not a git repository"):
        commits.history(tmp_path, "a", "b", context)
