# SPDX-License-Identifier: GPL-2.0-only
"""A user's repository: every kind is read, and one that cannot be is explained."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.campaign import commits
from harness.context import Context
from harness.errors import SeriesError, SourceError, UserError
from harness.kernel import series
from harness.kernel.git import Store
from harness.kernel.source import Source, resolve
from harness.kernel.specs import parse_series, parse_source
from harness.progress import Silent
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


def treeless(origin: Path, out: Path) -> None:
    run("git", "clone", "-q", "--filter=tree:0", f"file://{origin}", str(out), cwd=origin)


def shared(origin: Path, out: Path) -> None:
    run("git", "clone", "-q", "--shared", str(origin), str(out), cwd=origin)


def shared_by_a_relative_path(origin: Path, out: Path) -> None:
    shared(origin, out)
    listing = out / ".git/objects/info/alternates"
    listing.write_text(f"{os.path.relpath(origin / '.git/objects', out / '.git/objects')}\n")


def shared_twice(origin: Path, out: Path) -> None:
    shared(origin, out.with_name("between"))
    shared(out.with_name("between"), out)


def linked_work_tree(origin: Path, out: Path) -> None:
    run("git", "worktree", "add", "-q", str(out), "v1", cwd=origin)
    run("git", "checkout", "-q", "v2", cwd=out)


def bare(origin: Path, out: Path) -> None:
    run("git", "clone", "-q", "--bare", str(origin), str(out), cwd=origin)


def packed(origin: Path, out: Path) -> None:
    shutil.copytree(origin, out)
    run("git", "gc", "-q", "--aggressive", "--prune=now", cwd=out)


def another_branch_is_broken(origin: Path, out: Path) -> None:
    shutil.copytree(origin, out)
    (out / "mm/other.c").write_text("int lost;\n")
    run(*GIT, "commit", "-q", "-a", "-m", "lost", cwd=out)
    for revision in ("HEAD:mm/other.c", "HEAD:mm", "HEAD^{tree}"):
        object_file(out, revision).unlink()


def replaced(origin: Path, out: Path) -> None:
    shutil.copytree(origin, out)
    run("git", "replace", "v2", "v3", cwd=out)


def of_another_user(origin: Path, out: Path) -> None:
    shutil.copytree(origin, out)
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    for path in (out, *out.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)


def with_quotes_in_its_path(origin: Path, out: Path) -> None:
    strange = out.with_name('a "b" \\c:d')
    shutil.copytree(origin, strange)
    out.symlink_to(strange)


def borrows_from_nowhere(origin: Path, out: Path) -> None:
    shared(origin, out)
    (out / ".git/objects/info/alternates").write_text("/nowhere/objects\n")


def partial_of_nothing(origin: Path, out: Path) -> None:
    partial(origin, out)
    origin.rename(origin.with_name("elsewhere"))


def treeless_of_nothing(origin: Path, out: Path) -> None:
    treeless(origin, out)
    origin.rename(origin.with_name("elsewhere"))


def partial_without_a_remote(origin: Path, out: Path) -> None:
    partial(origin, out)
    run("git", "remote", "remove", "origin", cwd=out)


def without_a_commit(origin: Path, out: Path) -> None:
    shutil.copytree(origin, out)
    object_file(out, "v2").unlink()


def without_a_blob(origin: Path, out: Path) -> None:
    shutil.copytree(origin, out)
    object_file(out, "v2:mm/other.c").unlink()


def corrupt_blob(origin: Path, out: Path) -> None:
    shutil.copytree(origin, out)
    object_file(out, "v2:mm/other.c").write_bytes(b"junk")


def without_a_directory(origin: Path, out: Path) -> None:
    shutil.copytree(origin, out)
    object_file(out, "v2:mm").unlink()


def forged_blob(origin: Path, out: Path) -> None:
    shutil.copytree(origin, out)
    data = b"int evil;\n"
    packed_data = zlib.compress(b"blob %d\0" % len(data) + data)
    object_file(out, "v2:mm/other.c").write_bytes(packed_data)


def corrupt_pack(origin: Path, out: Path) -> None:
    packed(origin, out)
    name = run("git", "rev-parse", "v2:mm/other.c", cwd=out).strip()
    (pack,) = (out / ".git/objects/pack").glob("*.pack")
    listed = run("git", "verify-pack", "-v", str(pack.with_suffix(".idx")), cwd=out)
    (row,) = (row.split() for row in listed.splitlines() if row.startswith(name))
    data = bytearray(pack.read_bytes())
    start, size = int(row[4]), int(row[3])
    data[start + size // 2 : start + size] = bytes(size - size // 2)
    pack.chmod(0o644)
    pack.write_bytes(data)


def sha256(origin: Path, out: Path) -> None:
    shutil.copytree(origin, out)
    shutil.rmtree(out / ".git")
    run("git", "init", "-q", "--object-format=sha256", cwd=out)
    run("git", "add", "-A", cwd=out)
    run(*GIT, "commit", "-q", "-m", "one", cwd=out)
    run("git", "tag", "v1", cwd=out)
    run("git", "tag", "v2", cwd=out)


def bad_configuration(origin: Path, out: Path) -> None:
    shutil.copytree(origin, out)
    (out / ".git/config").write_text("[core\n")


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


Make = Callable[[Path, Path], None]

#: Repositories from which v2 can be read, all in their own way.
READABLE: tuple[Make, ...] = (
    *(partial, treeless, shared, shared_by_a_relative_path, shared_twice, linked_work_tree, bare),
    *(packed, another_branch_is_broken, replaced, of_another_user, with_quotes_in_its_path),
)

LOST = r"'mm/other.c' \(object [0-9a-f]{40}\) is missing or damaged"
LOST_TREE = r"'mm' \(object [0-9a-f]{40}\) is missing or damaged"

#: How it is broken: what is said of `git:REPO@v2`, a pattern, and the hint; `{0}` is its path.
SOURCE: dict[Make, tuple[str, str]] = {
    partial_of_nothing: (
        "{0}: " + LOST + "(, and so is 1 more)?; file://.*linux, of which it is a partial clone, "
        "did not send it: '.*' does not appear to be a git repository",
        "`git -C {0} fetch --refetch --no-filter` fetches all objects",
    ),
    treeless_of_nothing: (
        r"{0}: object [0-9a-f]{40} is missing or damaged; file://.*linux, of which ",
        "`git -C {0} fetch --refetch --no-filter` fetches all objects",
    ),
    partial_without_a_remote: ("{0}: " + LOST, "`git -C {0} fsck`"),
    borrows_from_nowhere: (
        "{0} borrows objects from /nowhere/objects, which does not exist",
        "restore it, correct {0}/.git/objects/info/alternates, or clone again",
    ),
    without_a_commit: (r"{0}: object [0-9a-f]{40} is missing or damaged", "`git -C {0} fsck`"),
    without_a_blob: ("{0}: " + LOST, "`git -C {0} fsck`"),
    without_a_directory: ("{0}: " + LOST_TREE, "`git -C {0} fsck`"),
    corrupt_blob: ("{0}: " + LOST, "`git -C {0} fsck`"),
    forged_blob: (
        "{0}: an object needed here has other contents than its name says",
        "`git -C {0} fsck`",
    ),
    corrupt_pack: ("{0}: " + LOST, "`git -C {0} fsck`"),
    sha256: ("{0} names its objects by sha256, not by SHA-1", "write --kernel tree:PATH"),
    bad_configuration: ("git cannot read {0}: bad config line 1 in file", "/.git/config"),
    moved_away: ("{0}/.git names ", "`git worktree repair`"),
    a_file: ("{0} is a file, not a git repository", "check the path"),
    a_directory: ("{0} is not a git repository", "check the path"),
    nothing: ("{0} does not exist", "check the path"),
    a_tree_called_v2: ("'v2' is a tree, not a commit", ""),
}

#: The same for `git:REPO@v1..v3`, where it is said otherwise.
SERIES: dict[Make, tuple[str, str]] = {
    **SOURCE,
    shallow: (
        "{0} has no revision 'v1', and it is a shallow clone",
        "`git -C {0} fetch --unshallow --tags` fetches the rest",
    ),
    without_a_directory: (r"{0}: object [0-9a-f]{40} is missing", "`git -C {0} fsck`"),
    treeless: (r"{0}: object [0-9a-f]{40} is missing", "`git -C {0} fetch --refetch --no-filter`"),
}
del SERIES[a_tree_called_v2], SERIES[treeless_of_nothing]


def check(error: UserError, kind: str, out: Path, expected: tuple[str, str]) -> None:
    pattern, hint = (text.replace("{0}", str(out)) for text in expected)
    assert error.message.startswith(f"{kind} git:{out}@")
    assert re.search(f": {pattern}", error.message), error.message
    assert hint in error.hint
    assert "\n" not in error.line()
    assert error.exit_code == 2


@pytest.mark.parametrize("how", SOURCE, ids=lambda how: how.__name__)
def test_source_in_a_broken_repository(
    how: Make, origin: Path, context: Context, tmp_path: Path
) -> None:
    out = tmp_path / "theirs"
    how(origin, out)
    before = picture(out) if out.exists() else {}
    with pytest.raises(SourceError) as refused:
        resolve(parse_source(f"git:{out}@v2"), context)
    check(refused.value, "--kernel", out, SOURCE[how])
    assert (picture(out) if out.exists() else {}) == before
    assert not list(Store.of(context).objects.glob("*/*.pack"))


@pytest.mark.parametrize("how", SERIES, ids=lambda how: how.__name__)
def test_series_in_a_broken_repository(
    how: Make, origin: Path, context: Context, tmp_path: Path
) -> None:
    out = tmp_path / "theirs"
    how(origin, out)
    before = picture(out) if out.exists() else {}
    with pytest.raises(SeriesError) as refused:
        series.read(parse_series(f"git:{out}@v1..v3"), context)
    check(refused.value, "series", out, SERIES[how])
    assert (picture(out) if out.exists() else {}) == before


@pytest.mark.parametrize("how", READABLE, ids=lambda how: how.__name__)
def test_every_kind_of_repository_is_read(
    how: Make, origin: Path, context: Context, tmp_path: Path
) -> None:
    out = tmp_path / "theirs"
    wanted = run("git", "rev-parse", "v2^{tree}", cwd=origin).strip()
    changes = run("git", "diff", "v1", "v2", cwd=origin).partition("@@")[2]
    how(origin, out)
    before = picture(out)
    found = resolve(parse_source(f"git:{out}@v2"), context)
    assert found.identity.tree == wanted
    if how is not treeless:
        (patch,) = series.read(parse_series(f"git:{out}@v1..v2"), context).patches
        assert patch.data.decode().partition("@@")[2] == changes
    assert picture(out) == before
    shutil.rmtree(out.resolve())
    origin.rename(origin.with_name("gone"))
    # All of it is in the store now, and sound.
    store = Store.of(context)
    store.git(["rev-list", "--objects", wanted], context.deadline)
    store.git(["fsck", "--full"], context.deadline)


def test_each_work_tree_has_its_own_head(origin: Path, context: Context, tmp_path: Path) -> None:
    linked_work_tree(origin, tmp_path / "theirs")
    for path, revision in ((origin, "v3"), (tmp_path / "theirs", "v2")):
        found = resolve(parse_source(f"git:{path}@HEAD"), context)
        commit = run("git", "rev-parse", revision, cwd=origin).strip()
        assert found.identity.origin == f"commit {commit}"
    (origin / "mm/link.c").unlink()
    here = resolve(parse_source(f"tree:{tmp_path}/theirs"), context)
    assert here.identity.tree == found.identity.tree
    assert here.identity.origin == f"{tmp_path}/theirs, commit {commit}"


def test_only_what_a_revision_needs_is_fetched(
    origin: Path, context: Context, tmp_path: Path
) -> None:
    partial(origin, tmp_path / "theirs")
    resolve(parse_source(f"git:{tmp_path}/theirs@v2"), context)
    # v1 is v2 with another blob in it; v3 is what the clone has checked out.
    resolve(parse_source(f"git:{tmp_path}/theirs@v1"), context)
    resolve(parse_source(f"git:{tmp_path}/theirs@v3"), context)
    store = Store.of(context)
    listed = store.git(
        ["cat-file", "--batch-all-objects", "--batch-check=%(objecttype)"], context.deadline
    ).stdout.split()
    assert "commit" not in listed
    assert listed.count("blob") == len(run("git", "ls-files", cwd=origin).splitlines()) + 2


def test_the_hint_for_a_partial_clone_works(origin: Path, context: Context, tmp_path: Path) -> None:
    out = tmp_path / "theirs"
    partial(origin, out)
    run("git", "config", "remote.origin.url", "file:///nowhere", cwd=out)
    with pytest.raises(SourceError, match="file:///nowhere, of which"):
        resolve(parse_source(f"git:{out}@v2"), context)
    run("git", "config", "remote.origin.url", f"file://{origin}", cwd=out)
    run("git", "-C", str(out), "fetch", "--refetch", "--no-filter", cwd=out)
    run("git", "config", "remote.origin.url", "file:///nowhere", cwd=out)
    assert resolve(parse_source(f"git:{out}@v2"), context).identity.tree


def test_a_remote_is_not_a_program(origin: Path, context: Context, tmp_path: Path) -> None:
    out, ran = tmp_path / "theirs", tmp_path / "ran"
    partial(origin, out)
    for url in (f"ext::touch {ran}", f"--upload-pack=touch {ran}", f"-oProxyCommand=touch {ran}:x"):
        run("git", "config", "remote.origin.url", url, cwd=out)
        with pytest.raises(SourceError, match="did not send it"):
            resolve(parse_source(f"git:{out}@v2"), context)
    assert not ran.exists()


def test_nothing_in_a_configuration_is_run(origin: Path, context: Context, tmp_path: Path) -> None:
    ran, program = tmp_path / "ran", tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho "$0 $*" >>{ran}\nexit 1\n')
    program.chmod(0o755)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for hook in ("post-index-change", "reference-transaction", "post-checkout", "fsmonitor"):
        shutil.copy(program, hooks / hook)
    (origin / ".gitattributes").write_text("*.c filter=x diff=x merge=x\n")
    run("git", "add", "-f", ".gitattributes", cwd=origin)
    run(*GIT, "commit", "-q", "-m", "attributes", cwd=origin)
    # A signed commit: log.showSignature starts gpg.program for it.
    raw = run("git", "cat-file", "commit", "HEAD", cwd=origin).partition("\n\n")
    signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n abcd\n -----END PGP SIGNATURE-----"
    (tmp_path / "commit").write_text(f"{raw[0]}\n{signature}\n\n{raw[2]}")
    write = ("git", "hash-object", "-t", "commit", "-w", str(tmp_path / "commit"))
    run("git", "tag", "signed", run(*write, cwd=origin).strip(), cwd=origin)
    for name, value in {
        "core.fsmonitor": str(program),
        "core.hooksPath": str(hooks),
        "core.pager": str(program),
        "core.sshCommand": str(program),
        "core.alternateRefsCommand": str(program),
        "core.worktree": "/",
        "log.showSignature": "true",
        "gpg.program": str(program),
        "diff.external": str(program),
        "diff.x.textconv": str(program),
        "diff.x.command": str(program),
        "merge.x.driver": str(program),
        "filter.x.clean": str(program),
        "filter.x.smudge": str(program),
        "filter.x.process": str(program),
        "filter.x.required": "true",
        "uploadpack.packObjectsHook": str(program),
        "alias.rev-parse": f"!{program}",
    }.items():
        run("git", "config", name, value, cwd=origin)
    (origin / "mm/hugetlb.c").write_text("dirty\n")
    resolve(parse_source(f"tree:{origin}"), context)
    resolve(parse_source(f"git:{origin}@signed"), context)
    assert len(series.read(parse_series(f"git:{origin}@v3..signed"), context).patches) == 1
    history = commits.history(origin, "v1", "signed", context)
    with commits.bisection(history, tmp_path / "bisection", context) as git_bisect:
        while (commit := git_bisect.following()) is not None:
            git_bisect.tell(commit, "bad")
        git_bisect.diffstat(git_bisect.suspects[0])
        git_bisect.patch(git_bisect.suspects[0])
    assert not ran.exists(), ran.read_text()


@pytest.mark.parametrize("how", [partial, another_branch_is_broken, shallow, linked_work_tree])
def test_bisection_in_every_kind_of_repository(
    how: Make, origin: Path, context: Context, tmp_path: Path
) -> None:
    out = tmp_path / "theirs"
    how(origin, out)
    before = picture(out)
    history = commits.history(out, "v2" if how is shallow else "v1", "v3", context)
    with commits.bisection(history, tmp_path / "bisection", context) as git_bisect:
        while (commit := git_bisect.following()) is not None:
            git_bisect.tell(commit, "bad")
        (found,) = git_bisect.suspects
        assert "1 file changed" in git_bisect.diffstat(found)
        changed = [text for _, text in commits.Commits(git_bisect).texts()]
        assert all("+int other" in text for text in changed)
        assert len(changed) == (1 if how is shallow else 2)
    assert picture(out) == before


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


def test_a_shallow_clone_is_read(origin: Path, context: Context, tmp_path: Path) -> None:
    shallow(origin, tmp_path / "theirs")
    wanted = run("git", "rev-parse", "v3^{tree}", cwd=origin).strip()
    # The store's own shallow commits must not make those of a series parentless.
    resolve(parse_source(f"git:file://{origin}@v3"), context)
    assert resolve(parse_source(f"git:{tmp_path}/theirs@v3"), context).identity.tree == wanted
    (patch,) = series.read(parse_series(f"git:{tmp_path}/theirs@v2..v3"), context).patches
    assert patch.name[13:] == "mm: 3"
    assert b"+int other3;" in patch.data


def test_repository_of_another_user_is_read(
    origin: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    plain = subprocess.run(["git", "log"], cwd=origin, capture_output=True, text=True, check=False)
    assert "dubious ownership" in plain.stderr
    assert resolve(parse_source(f"git:{origin}@v2"), context).identity.tree
    assert resolve(parse_source(f"tree:{origin}"), context).identity.tree
    assert len(series.read(parse_series(f"git:{origin}@v1..v3"), context).patches) == 2


def submodule(origin: Path, out: Path) -> None:
    """Give the origin a submodule in drivers/own, and make a checkout of both."""
    own = origin.with_name("own")
    own.mkdir()
    (own / "own.c").write_text("int own;\n")
    (own / "blob.o").write_text("tracked, though ignored")
    run("git", "init", "-q", cwd=own)
    run("git", "add", "-f", "own.c", "blob.o", cwd=own)
    run(*GIT, "commit", "-q", "-m", "one", cwd=own)
    add = ("submodule", "--quiet", "add", "--", str(own), "drivers/own")
    run(*GIT, "-c", "protocol.file.allow=always", *add, cwd=origin)
    run(*GIT, "commit", "-q", "-m", "own", cwd=origin)
    run("git", "tag", "-f", "v2", cwd=origin)
    clone = ("clone", "-q", "--recurse-submodules", str(origin), str(out))
    run(*GIT, "-c", "protocol.file.allow=always", *clone, cwd=origin)


def in_tree(source: Source, context: Context) -> set[str]:
    listing = ["ls-tree", "-r", "--name-only", source.identity.tree]
    return set(Store.of(context).git(listing, context.deadline).stdout.splitlines())


def test_files_of_a_submodule_are_in_a_tree(origin: Path, context: Context, tmp_path: Path) -> None:
    out = tmp_path / "theirs"
    submodule(origin, out)
    (out / "drivers/own/new.c").write_text("int new;\n")
    (out / "drivers/own/new.o").write_text("object")
    before = picture(out)
    spec = parse_source(f"tree:{out}")
    found = in_tree(resolve(spec, context), context)
    inside = {name for name in found if name.startswith("drivers/own/")}
    assert inside == {f"drivers/own/{name}" for name in ("own.c", "blob.o", "new.c")}
    assert picture(out) == before
    # Edits are noticed, and a submodule may go.
    (out / "drivers/own/new.c").unlink()
    (out / "drivers/own/own.c").write_text("int changed;\n")
    changed = resolve(spec, context)
    assert found - in_tree(changed, context) == {"drivers/own/new.c"}
    assert Store.of(context).text(changed.identity.tree, "drivers/own/own.c", context.deadline) == (
        "int changed;\n"
    )
    shutil.rmtree(out / "drivers/own")
    assert not [name for name in in_tree(resolve(spec, context), context) if "own/" in name]


def test_a_submodule_is_not_in_a_revision_and_that_is_said(
    origin: Path, context: Context, tmp_path: Path
) -> None:
    submodule(origin, tmp_path / "theirs")
    notes: list[str] = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    noting = dataclasses.replace(context, progress=Notes())
    assert resolve(parse_source(f"git:{tmp_path}/theirs@v2"), noting).version == "6.12.7"
    (note,) = notes
    assert note.startswith("drivers/own is a submodule, and its files are not in the revision")


def test_a_submodule_can_be_the_source(repository: Path, context: Context, tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    run("git", "init", "-q", cwd=above)
    add = ("submodule", "--quiet", "add", "--", str(repository), "linux")
    run(*GIT, "-c", "protocol.file.allow=always", *add, cwd=above)
    wanted = run("git", "rev-parse", "v1^{tree}", cwd=repository).strip()
    for spec in (f"git:{above}/linux@v1", f"tree:{above}/linux"):
        assert resolve(parse_source(spec), context).identity.tree == wanted


def index_is_junk(path: Path) -> None:
    (path / ".git/index").write_bytes(b"junk")


def head_is_junk(path: Path) -> None:
    (path / ".git/HEAD").write_text("junk\n")


def is_a_file_of_junk(path: Path) -> None:
    shutil.rmtree(path / ".git")
    (path / ".git").write_bytes(b"\xff\xfe")


def is_nowhere(path: Path) -> None:
    shutil.rmtree(path / ".git")
    (path / ".git").write_text("gitdir: /nowhere/.git/worktrees/x\n")


def is_a_link_to_nowhere(path: Path) -> None:
    shutil.rmtree(path / ".git")
    (path / ".git").symlink_to("/nowhere")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (index_is_junk, "{0}/.git/index: index file smaller"),
        (head_is_junk, "git cannot read {0}: not a git repository"),
        (is_a_file_of_junk, "{0}/.git names "),
        (is_nowhere, "{0}/.git names /nowhere/.git/worktrees/x, which does not exist"),
        (is_a_link_to_nowhere, "{0} is not a git repository"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_tree_whose_git_cannot_be_read_is_an_error(
    repository: Path, context: Context, harm: Callable[[Path], None], words: str
) -> None:
    (repository / "mm/blob.o").write_text("tracked, though ignored")
    run("git", "add", "-f", "mm/blob.o", cwd=repository)
    harm(repository)
    with pytest.raises(SourceError) as refused:
        resolve(parse_source(f"tree:{repository}"), context)
    assert words.format(repository) in refused.value.message
    assert "\n" not in refused.value.line()
    assert refused.value.exit_code == 2


def with_a_split_index(path: Path) -> None:
    run("git", "update-index", "--split-index", cwd=path)


def with_a_sparse_index(path: Path) -> None:
    run("git", "sparse-checkout", "set", "--cone", "--sparse-index", "mm", cwd=path)


def with_sha256(path: Path) -> None:
    shutil.rmtree(path / ".git")
    run("git", "init", "-q", "--object-format=sha256", cwd=path)
    run("git", "add", "-A", cwd=path)
    run("git", "add", "-f", "mm/blob.o", cwd=path)


@pytest.mark.parametrize("how", [with_a_split_index, with_a_sparse_index, with_sha256])
def test_every_kind_of_index_is_read(
    repository: Path, context: Context, how: Callable[[Path], None]
) -> None:
    (repository / "mm/blob.o").write_text("tracked, though ignored")
    run("git", "add", "-f", "mm/blob.o", cwd=repository)
    run(*GIT, "commit", "-q", "-m", "blob", cwd=repository)
    how(repository)
    before = picture(repository)
    found = in_tree(resolve(parse_source(f"tree:{repository}"), context), context)
    assert {"mm/blob.o", "mm/hugetlb.c", "Makefile"} <= found
    # git updates the time of the other half of an index, and of trees in a sparse one.
    after = picture(repository)
    assert [(k, v[:2]) for k, v in after.items()] == [(k, v[:2]) for k, v in before.items()]


def test_a_path_that_is_too_long(context: Context) -> None:
    with pytest.raises(SourceError, match="File name too long") as refused:
        resolve(parse_source(f"git:/{'x' * 300}@v1"), context)
    assert "\n" not in refused.value.line()


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
