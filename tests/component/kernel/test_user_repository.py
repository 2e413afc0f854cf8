# SPDX-License-Identifier: GPL-2.0-only
"""What is said of a user's repository that git cannot read: real ones, each broken in one way."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.context import Context
from harness.errors import SeriesError, SourceError, UserError
from harness.kernel import series
from harness.kernel.source import resolve
from harness.kernel.specs import parse_series, parse_source
from tests.component.kernel.conftest import picture, run

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@t")


@pytest.fixture
def origin(repository: Path) -> Path:
    """The toy repository with three commits, tagged v1 to v3."""
    for number in (2, 3):
        (repository / "mm/other.c").write_text(f"int other{number};\n")
        run(*GIT, "commit", "-q", "-a", "-m", f"mm: {number}", cwd=repository)
        run("git", "tag", f"v{number}", cwd=repository)
    run("git", "config", "uploadpack.allowFilter", "true", cwd=repository)
    return repository


def object_file(repository: Path, revision: str) -> Path:
    name = run("git", "rev-parse", revision, cwd=repository).strip()
    path = repository / ".git/objects" / name[:2] / name[2:]
    path.chmod(0o644)
    return path


def partial(origin: Path, out: Path) -> None:
    run("git", "clone", "-q", "--filter=blob:none", f"file://{origin}", str(out), cwd=origin)


def shallow(origin: Path, out: Path) -> None:
    run("git", "clone", "-q", "--depth=2", f"file://{origin}", str(out), cwd=origin)


def borrows_from_nowhere(origin: Path, out: Path) -> None:
    run("git", "clone", "-q", "--shared", str(origin), str(out), cwd=origin)
    (out / ".git/objects/info/alternates").write_text("/nowhere/objects\n")


def without_a_commit(origin: Path, out: Path) -> None:
    shutil.copytree(origin, out)
    object_file(out, "v2").unlink()


def without_a_blob(origin: Path, out: Path) -> None:
    shutil.copytree(origin, out)
    object_file(out, "v2:mm/other.c").unlink()


def corrupt_blob(origin: Path, out: Path) -> None:
    shutil.copytree(origin, out)
    object_file(out, "v2:mm/other.c").write_bytes(b"junk")


def moved_away(origin: Path, out: Path) -> None:
    run("git", "worktree", "add", "-q", str(out), "v3", cwd=origin)
    origin.rename(origin.with_name("elsewhere"))


def a_file(origin: Path, out: Path) -> None:
    shutil.copy(origin / "Makefile", out)


def a_directory(origin: Path, out: Path) -> None:
    (out / "objects").mkdir(parents=True)


def nothing(origin: Path, out: Path) -> None:
    pass


def a_tree_called_v2(origin: Path, out: Path) -> None:
    shutil.copytree(origin, out)
    run("git", "tag", "-f", "v2", "v3^{tree}", cwd=out)


Break = Callable[[Path, Path], None]

#: How it is broken: what is said of `git:REPO@v2`, and the hint; `{0}` is its path.
SOURCE: dict[Break, tuple[str, str]] = {
    partial: (
        "{0} is a partial clone that lacks objects needed here",
        "`git -C {0} fetch --refetch --no-filter` fetches all of them",
    ),
    borrows_from_nowhere: (
        "{0} borrows objects from /nowhere/objects, which does not exist",
        "restore it, correct {0}/.git/objects/info/alternates, or clone again",
    ),
    without_a_commit: ("objects in {0} are missing or damaged: ", "`git -C {0} fsck`"),
    without_a_blob: ("objects in {0} are missing or damaged: ", "`git -C {0} fsck`"),
    corrupt_blob: ("objects in {0} are missing or damaged: ", "`git -C {0} fsck`"),
    moved_away: ("{0}/.git names ", "`git worktree repair`"),
    a_file: ("{0} is a file, not a git repository", "check the path"),
    a_directory: ("{0} is not a git repository", "check the path"),
    nothing: ("{0} does not exist", "check the path"),
    a_tree_called_v2: ("'v2' is a tree, not a commit", ""),
}

#: The same for `git:REPO@v1..v3`, where it is said otherwise.
SERIES: dict[Break, tuple[str, str]] = {
    **SOURCE,
    shallow: (
        "{0} has no revision 'v1', and it is a shallow clone",
        "`git -C {0} fetch --unshallow --tags` fetches the rest",
    ),
}
del SERIES[a_tree_called_v2]


def check(error: UserError, kind: str, out: Path, expected: tuple[str, str]) -> None:
    message, hint = (text.format(out) for text in expected)
    assert error.message.startswith(f"{kind} git:{out}@")
    assert f": {message}" in error.message
    assert hint in error.hint
    assert "\n" not in error.line()
    assert error.exit_code == 2


@pytest.mark.parametrize("how", SOURCE, ids=lambda how: how.__name__)
def test_source_in_a_broken_repository(
    how: Break, origin: Path, context: Context, tmp_path: Path
) -> None:
    out = tmp_path / "theirs"
    how(origin, out)
    before = picture(out) if out.exists() else {}
    with pytest.raises(SourceError) as refused:
        resolve(parse_source(f"git:{out}@v2"), context)
    check(refused.value, "--kernel", out, SOURCE[how])
    assert (picture(out) if out.exists() else {}) == before


@pytest.mark.parametrize("how", SERIES, ids=lambda how: how.__name__)
def test_series_in_a_broken_repository(
    how: Break, origin: Path, context: Context, tmp_path: Path
) -> None:
    out = tmp_path / "theirs"
    how(origin, out)
    before = picture(out) if out.exists() else {}
    with pytest.raises(SeriesError) as refused:
        series.read(parse_series(f"git:{out}@v1..v3"), context)
    check(refused.value, "--series", out, SERIES[how])
    assert (picture(out) if out.exists() else {}) == before


def test_series_that_begins_where_a_shallow_clone_ends(
    origin: Path, context: Context, tmp_path: Path
) -> None:
    out = tmp_path / "theirs"
    shallow(origin, out)
    run("git", "checkout", "-q", "--orphan", "other", cwd=out)
    run(*GIT, "commit", "-q", "-m", "unrelated", cwd=out)
    with pytest.raises(SeriesError, match=r"is a shallow clone that ends at [0-9a-f]{12}, within"):
        series.read(parse_series(f"git:{out}@other..v3"), context)
    with pytest.raises(SeriesError, match="has no parent, so it is not a patch"):
        series.read(parse_series(f"git:{out}@v3..other"), context)


def test_what_a_partial_and_a_shallow_clone_do_have_is_read(
    origin: Path, context: Context, tmp_path: Path
) -> None:
    wanted = resolve(parse_source(f"git:{origin}@v3"), context).identity.tree
    for how in (partial, shallow):
        how(origin, tmp_path / how.__name__)
        found = resolve(parse_source(f"git:{tmp_path}/{how.__name__}@v3"), context)
        assert found.identity.tree == wanted
    patches = series.read(parse_series(f"git:{tmp_path}/shallow@v2..v3"), context).patches
    assert [patch.name[13:] for patch in patches] == ["mm: 3"]


def test_repository_of_another_user_is_read(
    origin: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    plain = subprocess.run(["git", "log"], cwd=origin, capture_output=True, text=True, check=False)
    assert "dubious ownership" in plain.stderr
    assert resolve(parse_source(f"git:{origin}@v2"), context).identity.tree
    assert resolve(parse_source(f"tree:{origin}"), context).identity.tree
    assert len(series.read(parse_series(f"git:{origin}@v1..v3"), context).patches) == 2


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("git:file://{}/absent@v1", "git cannot fetch it: '{}/absent' does not appear to be a git"),
        ("git:file://{}@v9", "file://{} has no branch or tag 'v9'"),
        ("git:file://{}@" + "1" * 40, "upload-pack: not our ref"),
    ],
)
def test_url_that_cannot_be_fetched(
    spec: str, expected: str, origin: Path, context: Context
) -> None:
    with pytest.raises(SourceError) as refused:
        resolve(parse_source(spec.format(origin)), context)
    assert expected.format(origin) in refused.value.message
    assert "\n" not in refused.value.line()
