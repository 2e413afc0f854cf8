# SPDX-License-Identifier: GPL-2.0-only
"""Series from git and by Message-ID, merged three ways, replaced, and checked as a whole."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.context import Context
from harness.deadline import Deadline
from harness.errors import InfrastructureError, SeriesError
from harness.kernel import series
from harness.kernel.git import Store
from harness.kernel.series.check import SeriesCheck, check
from harness.kernel.source import resolve
from harness.kernel.specs import parse_series, parse_source
from harness.kernel.worktree_pool import Worktree
from harness.progress import Silent
from harness.report import series_check
from harness.workspace import Workspace
from tests.component.kernel.conftest import picture, run

#: Enough on a host that is busy with guests.
_SECONDS = 900

DATA = Path(__file__).parents[2] / "data" / "mail"
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@t")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A cache of the test's own, and time for other programs."""
    return Context(Workspace(tmp_path / "cache"), Deadline.after(_SECONDS, "the test"), Silent())


def read(spec: str, context: Context, mail_from: str = "", resolve_from: str = "") -> series.Series:
    parsed = parse_series(spec, mail_from)
    return series.read(parsed, context, resolve_from=resolve_from)


def put(found: series.Series, toy: Path, context: Context, *, fuzz: bool = False) -> series.Patched:
    return series.apply(found, resolve(parse_source(f"tree:{toy}"), context), context, fuzz=fuzz)


def text(patched: series.Patched, path: str, context: Context) -> str | None:
    return Store.of(context).text(patched.identity.tree, path, context.deadline)


def commit(repository: Path, subject: str, **files: str) -> str:
    for name, contents in files.items():
        path = repository / name.replace("__", "/").replace("_c", ".c")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contents)
    run(*GIT, "add", "-A", cwd=repository)
    run(*GIT, "commit", "-q", "-m", subject, cwd=repository)
    return run("git", "rev-parse", "HEAD", cwd=repository).strip()


@pytest.fixture
def branch(repository: Path) -> Path:
    """The toy repository with a branch of two commits on top of v1; the work tree is at v1."""
    old = (repository / "mm/hugetlb.c").read_text()
    run("git", "checkout", "-q", "-b", "topic", cwd=repository)
    one = old.replace("line_20;", "twenty;")
    diff = "diff --git a/Makefile b/Makefile\n--- a/Makefile\n+++ b/Makefile\n@@ -1 +1 @@\n-x\n+y\n"
    commit(repository, f"mm: one\n\nA message with a diff in it:\n\n{diff}", mm__hugetlb_c=one)
    commit(repository, "mm: two", mm__hugetlb_c=one.replace("twenty;", "zwanzig;"), mm__b_c="b\n")
    run("git", "checkout", "-q", "v1", cwd=repository)
    return repository


def test_range_of_commits(branch: Path, context: Context) -> None:
    resolve(parse_source(f"tree:{branch}"), context)
    before = picture(branch)
    patched = put(read(f"git:{branch}@v1..topic", context), branch, context)
    assert picture(branch) == before
    assert [patch.name[13:] for patch in patched.identity.patches] == ["mm: one", "mm: two"]
    assert "int zwanzig;" in (text(patched, "mm/hugetlb.c", context) or "")
    wanted = run("git", "rev-parse", "topic^{tree}", cwd=branch).strip()
    assert patched.identity.tree == wanted


def test_range_ends_at_head(branch: Path, context: Context) -> None:
    run("git", "checkout", "-q", "topic", cwd=branch)
    assert len(read(f"git:{branch}@HEAD~1..", context).patches) == 1


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("git:{}@v1..absent", "has no revision 'absent'"),
        ("git:{}@topic..v1", "is empty: v1 is an ancestor of topic"),
        ("git:{}/mm@v1..topic", "is not a git repository"),
    ],
)
def test_invalid_range_is_refused(branch: Path, context: Context, spec: str, expected: str) -> None:
    with pytest.raises(SeriesError, match=expected):
        read(spec.format(branch), context)


def test_range_with_a_merge(branch: Path, context: Context) -> None:
    commit(branch, "beside", mm__c_c="c\n")
    run(*GIT, "merge", "-q", "--no-edit", "topic", cwd=branch)
    with pytest.raises(SeriesError, match=r"[0-9a-f]{12} is a merge, which is not a patch"):
        read(f"git:{branch}@v1..HEAD", context)


def test_range_in_a_linked_work_tree(branch: Path, context: Context, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    run("git", "worktree", "add", "-q", str(linked), "topic", cwd=branch)
    patched = put(read(f"git:{linked}@v1..HEAD", context), branch, context)
    assert patched.identity.tree == run("git", "rev-parse", "topic^{tree}", cwd=branch).strip()


def test_diff_settings_of_the_user_are_ignored(branch: Path, context: Context) -> None:
    for key, value in {
        "diff.noprefix": "true",
        "diff.mnemonicPrefix": "true",
        "diff.context": "0",
        "diff.external": "false",
        "color.ui": "always",
        "core.bigFileThreshold": "1",
    }.items():
        run("git", "config", key, value, cwd=branch)
    (branch / ".git/info/attributes").write_text("*.c -diff\n")
    patched = put(read(f"git:{branch}@v1..topic", context), branch, context)
    assert patched.identity.tree == run("git", "rev-parse", "topic^{tree}", cwd=branch).strip()


def test_registered_series_comes_after_the_one_it_applies_on(context: Context) -> None:
    below, both = (read(name, context).patches for name in ("hgm-6.12", "crashes-6.12"))
    assert [patch.name for patch in both] == [
        *(patch.name for patch in below),
        "0001-mm-crashes-on-purpose.patch",
    ]
    assert [patch.number for patch in both] == list(range(1, len(below) + 2))


def moved(repository: Path) -> None:
    """Put a line in front of the file and change one that is context for the topic branch."""
    path = repository / "mm/hugetlb.c"
    path.write_text("int before;\n" + path.read_text().replace("line_17;", "seventeen;"))


def test_three_way_merge_with_known_blobs(branch: Path, context: Context) -> None:
    found = read(f"git:{branch}@v1..topic", context)
    moved(branch)
    patched = put(found, branch, context)
    assert [(p.how, p.detail) for p in patched.identity.patches] == [
        ("3way", "mm/hugetlb.c"),
        ("3way", "mm/hugetlb.c"),
    ]
    merged = text(patched, "mm/hugetlb.c", context) or ""
    assert "int zwanzig;" in merged
    assert "int seventeen;" in merged


def test_patches_already_applied_change_nothing(branch: Path, context: Context) -> None:
    found = read(f"git:{branch}@v1..topic", context)
    run("git", "checkout", "-q", "topic~1", cwd=branch)
    patched = put(found.first(1), branch, context)
    (patch,) = patched.identity.patches
    assert (patch.how, patch.detail) == ("3way", "changes nothing: the tree has it already")


def test_no_blobs_no_merge(branch: Path, context: Context, tmp_path: Path) -> None:
    out = tmp_path / "patches"
    out.mkdir()
    for number, commits in enumerate(("v1..topic~1", "topic~1..topic"), 1):
        (out / f"{number}.patch").write_text(run("git", "diff", commits, cwd=branch))
    moved(branch)
    with pytest.raises(SeriesError, match=r"hunk 1 \(line 17\).*first 'int line_17;'"):
        put(read(f"dir:{out}", context), branch, context)
    fuzzy = put(read(f"dir:{out}", context), branch, context, fuzz=True)
    assert [patch.how for patch in fuzzy.identity.patches] == ["fuzz", "fuzz"]


def test_gitattributes_of_a_patch_do_not_resolve_a_conflict(branch: Path, context: Context) -> None:
    # merge=union would take both sides of any conflict.
    run("git", "checkout", "-q", "topic", cwd=branch)
    (branch / ".gitattributes").write_text("*.c merge=union\n")
    run("git", "add", "-f", ".gitattributes", cwd=branch)
    commit(branch, "mm: attributes")
    (branch / "mm/hugetlb.c").write_text(
        (branch / "mm/hugetlb.c").read_text().replace("zwanzig;", "vingt;")
    )
    commit(branch, "mm: three")
    found = read(f"git:{branch}@topic~2..topic", context)
    run("git", "checkout", "-q", "v1", cwd=branch)
    with pytest.raises(SeriesError, match=r"patch 2 '[0-9a-f]{12} mm: three' does not apply"):
        put(found, branch, context)


def test_three_way_merge_writes_nowhere_else(
    branch: Path, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git looks into the work tree for a file that is there twice, and would check it out."""
    run("git", "checkout", "-q", "--orphan", "twice", "v1", cwd=branch)
    commit(branch, "base")
    (branch / "hooks").mkdir()
    one = commit(branch, "first", hooks__post="one\n")
    run("git", "checkout", "-q", "--detach", "HEAD~1", cwd=branch)
    (branch / "hooks").mkdir(exist_ok=True)
    two = commit(branch, "second", hooks__post="two\n")
    found = series.Series(
        spec="git",
        patches=(
            *read(f"git:{branch}@{one}~1..{one}", context).patches,
            *read(f"git:{branch}@{two}~1..{two}", context).patches,
        ),
    )
    run("git", "checkout", "-q", "--detach", f"{one}~1", cwd=branch)
    bait = tmp_path / "bait"
    bait.mkdir()
    monkeypatch.chdir(bait)
    with pytest.raises(SeriesError, match="already exists in this tree"):
        put(found, branch, context)
    assert list(bait.iterdir()) == []
    assert not (Store.of(context).path / "hooks").exists()


def test_tree_with_a_link_in_a_directorys_place_is_checked_out_inside(
    toy: Path, context: Context, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    linked = tmp_path / "linked"
    run("cp", "-a", str(toy), str(linked), cwd=tmp_path)
    (linked / "sub").symlink_to(victim)
    (toy / "sub").mkdir()
    (toy / "sub/file").write_text("x")
    trees = [resolve(parse_source(f"tree:{each}"), context).identity.tree for each in (linked, toy)]
    worktree = Worktree.of(context.workspace, "test")
    for tree in (*trees, *trees):
        worktree.switch(tree, Store.of(context), context.deadline)
    assert list(victim.iterdir()) == []
    assert (worktree.source / "sub/file").read_text() == "x"


# By Message-ID.

NESTED = DATA / "nested-v1-v2.mbox"


def noise(number: int) -> bytes:
    return (
        f"From: X <x@example.org>\nSubject: [PATCH 1/2] other {number}\n"
        f"Message-ID: <noise{number}@example.org>\n\ndiff --git a/x b/x\n"
    ).encode()


@pytest.fixture
def mails(tmp_path: Path) -> list[bytes]:
    """The nested thread's messages among others."""
    out = tmp_path / "split"
    out.mkdir()
    run("git", "mailsplit", f"-o{out}", str(NESTED), cwd=tmp_path)
    thread = [file.read_bytes() for file in sorted(out.iterdir())]
    thread = [mail.split(b"\n", 1)[1] if mail.startswith(b"From ") else mail for mail in thread]
    return [noise(1), *thread, noise(2)]


def inbox_v2(mails: list[bytes], path: Path) -> Path:
    """Return a public-inbox of two epochs, as public-inbox-init -V2 lays them out."""
    for epoch, part in enumerate((mails[:3], mails[3:])):
        work = path / f"work{epoch}"
        work.mkdir(parents=True)
        run("git", "init", "-q", cwd=work)
        for mail in part:
            (work / "m").write_bytes(mail)
            commit(work, "a mail")
        run("git", "clone", "-q", "--bare", str(work), str(path / f"git/{epoch}.git"), cwd=path)
    return path


def inbox_v1(mails: list[bytes], path: Path) -> Path:
    work = path.with_name("work")
    work.mkdir()
    run("git", "init", "-q", cwd=work)
    for number, mail in enumerate(mails):
        (work / f"{number:02x}").mkdir()
        (work / f"{number:02x}/abcdef").write_bytes(mail)
    commit(work, "mails")
    run("git", "clone", "-q", "--bare", str(work), str(path), cwd=work)
    return path


def maildir(mails: list[bytes], path: Path) -> Path:
    for part in ("cur", "new", "tmp"):
        (path / part).mkdir(parents=True)
    for number, mail in enumerate(mails):
        (path / "cur" / f"{number}:2,").write_bytes(mail)
    return path


def mbox(mails: list[bytes], path: Path) -> Path:
    line = b"From mboxrd@z Thu Jan  1 00:00:00 1970\n"
    path.write_bytes(b"".join(line + mail + b"\n" for mail in mails))
    return path


@pytest.mark.parametrize("kind", [inbox_v2, inbox_v1, maildir, mbox])
def test_series_by_message_id_from_local_mail(
    kind: object, mails: list[bytes], context: Context, tmp_path: Path, toy: Path
) -> None:
    assert callable(kind)
    place = kind(mails, tmp_path / "mail")
    home = tmp_path / "home"
    home.mkdir()
    before = picture(tmp_path / "mail") if place.is_dir() else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        patch.chdir(tmp_path)
        found = read("lore:c2@example.org", context, str(place))
        first = read("lore:<p1@example.org>", context, str(place))
    assert [p.name for p in found.patches] == [
        "[PATCH v2 1/2] mm: part 1",
        "[PATCH v2 2/2] mm: part 2",
    ]
    assert found.notes == ("v2 (2 patches) is taken; also there: v1 (2 patches)",)
    assert [p.name for p in first.patches] == ["[PATCH 1/2] mm: part 1", "[PATCH 2/2] mm: part 2"]
    assert text(put(found, toy, context), "mm/new.c", context) == "int new;\nint newer;\n"
    assert list(home.iterdir()) == []
    assert before == (picture(tmp_path / "mail") if place.is_dir() else {})
    with pytest.raises(SeriesError, match=r"has no mail with the Message-ID <absent@example\.org>"):
        read("lore:absent@example.org", context, str(place))


@contextlib.contextmanager
def server(thread: bytes, asked: list[str]) -> Iterator[str]:
    """Serve a thread as public-inbox does, on a port of this host."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            there = "p1@example.org" in self.path or "p1%40example.org" in self.path
            self.send_response(200 if there else 404)
            self.end_headers()
            self.wfile.write(gzip.compress(thread) if there else b"no")

        def do_POST(self) -> None:
            self.send_error(404)

        do_HEAD = do_POST  # noqa: N815 - the name that the library looks for

        def log_message(self, format: str, *args: object) -> None:
            """Be quiet."""

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{web.server_port}/all"
    finally:
        web.shutdown()
        web.server_close()


def test_series_by_message_id_from_a_server(
    mails: list[bytes], context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    thread = mbox(mails[1:-1], tmp_path / "thread").read_bytes()
    asked: list[str] = []
    with server(thread, asked) as url:
        found = read("lore:p1@example.org", context, url)
        assert [p.name for p in found.patches] == [
            "[PATCH 1/2] mm: part 1",
            "[PATCH 2/2] mm: part 2",
        ]
        assert asked
        asked.clear()
        assert read("lore:p1@example.org", context, url) == found
        assert asked == []  # what has a Message-ID does not change
        with pytest.raises(SeriesError, match=r"has no mail with the Message-ID <q@example\.org>"):
            read("lore:q@example.org", context, url)
    with pytest.raises(InfrastructureError, match=r"q404%40.* cannot be fetched: .*refused"):
        read("lore:q404@example.org", context, url)


# Replacements, and the check of a whole series.


def series_check_of(box: str, toy: Path, context: Context, resolve_from: str = "") -> SeriesCheck:
    found = read(f"mbox:{DATA / box}", context, resolve_from=resolve_from)
    return check(found, resolve(parse_source(f"tree:{toy}"), context), context)


def ported(tmp_path: Path, toy: Path) -> Path:
    """Change what the first patch needs, and return a directory with a patch that fits again."""
    path = toy / "mm/hugetlb.c"
    path.write_text(path.read_text().replace("line_31;", "lane_31;"))
    box = (DATA / "no-cover.mbox").read_text().split("\nFrom ")[0]
    out = tmp_path / "ported"
    out.mkdir()
    (out / "0001-ported.patch").write_text(box.replace("int line_31", "int lane_31"))
    (out / "README").write_text("not a patch")
    return out


def test_resolve_replaces_and_the_record_says_so(
    toy: Path, context: Context, tmp_path: Path
) -> None:
    out = ported(tmp_path, toy)
    with pytest.raises(SeriesError, match="first 'int line_31;'"):
        put(read(f"mbox:{DATA}/in-order.mbox", context), toy, context)
    found = read(f"mbox:{DATA}/in-order.mbox", context, resolve_from=str(out))
    patched = put(found, toy, context)
    one, two = patched.identity.patches
    assert (one.name, one.how) == ("[PATCH 1/2] mm: part 1", "exact")
    assert one.resolved == f"{out}/0001-ported.patch"
    assert len(one.replaces) == 64
    assert one.replaces != one.digest
    assert (two.resolved, two.replaces) == ("", "")
    assert patched.identity.notes == (f"patch 1 is replaced by {out}/0001-ported.patch",)


def test_conflict_that_stops_a_build_is_shown(toy: Path, context: Context, tmp_path: Path) -> None:
    ported(tmp_path, toy)
    notes: list[str] = []

    class Listener(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    heard = Context(context.workspace, context.deadline, Listener())
    with pytest.raises(SeriesError, match=r"hunk 2 \(line 30\)"):
        put(read(f"mbox:{DATA}/in-order.mbox", heard), toy, heard)
    assert notes[0].startswith("mm/hugetlb.c, hunk 2 (line 30): the file has other lines")
    assert {"  -int line_31;", "  +int lane_31;"} <= set(notes)


def test_empty_or_absent_resolve_directory(context: Context, tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match="absent"):
        read(f"mbox:{DATA}/in-order.mbox", context, resolve_from=f"{tmp_path}/absent")
    with pytest.raises(SeriesError, match="has no replacements"):
        read(f"mbox:{DATA}/in-order.mbox", context, resolve_from=str(tmp_path))


def test_check_reports_every_patch(toy: Path, context: Context, tmp_path: Path) -> None:
    out = ported(tmp_path, toy)
    checked = series_check_of("in-order.mbox", toy, context)
    assert [patch.end for patch in checked.patches] == ["conflict", "depends"]
    assert [patch.needs for patch in checked.patches] == [(), (1,)]
    assert checked.tree == ""
    report = "\n".join(series_check.lines(checked))
    assert "mm/hugetlb.c, hunk 2 (line 30): the file has other lines" in report
    assert "-int line_31;" in report
    assert "+int lane_31;" in report
    assert report.endswith("give them with --resolve DIR")
    assert series_check.exit_code(checked) == 2
    again = series_check_of("in-order.mbox", toy, context, str(out))
    assert [patch.end for patch in again.patches] == ["exact", "exact"]
    assert [(c.path, c.added, c.removed) for p in again.patches for c in p.files] == [
        ("mm/hugetlb.c", 2, 1),
        ("mm/hugetlb.c", 1, 1),
        ("mm/new.c", 2, 0),
    ]
    assert again.tree
    assert "replaced by" in "\n".join(series_check.lines(again))
    assert series_check.exit_code(again) == 0


@pytest.mark.parametrize(
    ("box", "end"),
    [
        ("corrupt-hunk.mbox", "damaged"),
        ("climbs-out.mbox", "forbidden"),
        ("absent-file.mbox", "conflict"),
    ],
)
def test_check_tells_conflicts_from_damage(toy: Path, context: Context, box: str, end: str) -> None:
    checked = series_check_of(box, toy, context)
    assert [patch.end for patch in checked.patches] == [end]
    assert series_check.exit_code(checked) == 2


def test_check_refuses_what_the_whole_series_does(toy: Path, context: Context) -> None:
    checked = series_check_of("link-to-etc.mbox", toy, context)
    assert [patch.end for patch in checked.patches] == ["exact"]
    assert "leads out of the tree" in checked.forbidden
    assert checked.tree == ""
    assert series_check.exit_code(checked) == 2
