# SPDX-License-Identifier: GPL-2.0-only
"""Every mailbox of tests/data/mail, and what becomes of it on the toy tree."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from harness.context import Context
from harness.errors import SeriesError
from harness.kernel import series
from harness.kernel.git import Store
from harness.kernel.source import resolve
from harness.kernel.specs import parse_series, parse_source
from harness.kernel.worktree_pool import Worktree
from tests.component.kernel.conftest import HUGETLB, picture, run

DATA = Path(__file__).parents[2] / "data" / "mail"

FIRST = HUGETLB.replace("line_2;", "two;", 1).replace("_31;\n", "_31;\nint more; /* = */\n")
BOTH = {"mm/hugetlb.c": FIRST.replace("two;", "zwei;"), "mm/new.c": "int new;\nint newer;\n"}

#: Mailbox: the files that it changes, as they are afterwards; None for one that is gone.
GOOD: dict[str, dict[str, str | None]] = {
    **{
        name: dict(BOTH)
        for name in (
            *("in-order.mbox", "wrong-order.mbox", "no-cover.mbox", "replies-and-trailers.mbox"),
            *("reply-with-a-diff.mbox", "reply-without-re.mbox", "question-with-a-diff.mbox"),
            *("cover-with-an-interdiff.mbox", "same-mail-twice.mbox", "quoted-printable.mbox"),
            *("base64.mbox", "base64-of-crlf.mbox", "encoded-folded-subject.mbox"),
            *("folded-headers.mbox", "crlf.mbox", "no-diffstat.mbox", "from-lines-in-bodies.mbox"),
            *("attachment.mbox", "with-html.mbox", "packed.mbox.gz", "nested-v1-v2.mbox"),
            *("resend.mbox", "escape-codes.mbox", "nul-bytes.mbox", "bogus-charset.mbox"),
        )
    },
    "latin1.mbox": {"mm/latin1.c": "/* M\ufffdller */\n"},  # its byte, which is not UTF-8
    "bare.eml": {"mm/hugetlb.c": FIRST},
    "plain.diff": {"mm/hugetlb.c": FIRST},
    "flowed.mbox": {"mm/hugetlb.c": FIRST},
    "offset.mbox": {"mm/hugetlb.c": FIRST},
    "absolute-path.mbox": {"etc/evil": "int added;\n"},  # in the tree, as git and patch -p1 do
    "link-inside.mbox": {"mm/up": "../Makefile"},
    "binary.mbox": {"logo.bin": "\x00\x01\x02\x03"},
    "modes-and-renames.mbox": {"scripts/run.sh": None, "scripts/go.sh": "#!/bin/sh\n"},
}

#: Mailbox: what the one line of the error has in it.
BAD = {
    "v3-incomplete.mbox": r"lacks patch 1 of 2 of v3",
    "two-series.mbox": r"has two series: '\[PATCH v2 1/1\] net: x' and '\[PATCH 0/2\] mm: a",
    "missing-part.mbox": r"lacks patch 2 of 3",
    "doubled-part.mbox": r"has patch 2 of 2 twice",
    "foreign-part.mbox": r"a part of another series: '\[PATCH 4/7\] mm: part 4', not one of the 2",
    "changed-copy.mbox": r"two different mails with the Message-ID <p1@example\.org>",
    "only-a-cover.mbox": r"has no patches",
    "only-replies.mbox": r"has no patches",
    "empty.mbox": r"is empty",
    "blank.mbox": r"is empty",
    "no-mail.mbox": r"has no patches",
    "cut-gzip.mbox.gz": r"is damaged: Compressed file ended",
    "corrupt-hunk.mbox": r"patch 1 .* is damaged: corrupt patch at line \d+",
    "truncated.mbox": r"patch 1 .* is damaged: corrupt patch at line \d+",
    "wrapped-lines.mbox": r"patch 1 .* is damaged: corrupt patch at line \d+",
    "tabs-lost.mbox": r"mm/hugetlb\.c, hunk 1 \(line 1\): .* first 'int  line_1;'",
    "other-base.mbox": r"mm/hugetlb\.c, hunk 2 \(line 30\): .* first 'int lane_31;'",
    "fuzz.mbox": r"mm/hugetlb\.c, hunk 2 \(line 30\): .* first 'int lane_30;'",
    "absent-file.mbox": r"mm/absent\.c: does not exist in this tree",
    "climbs-out.mbox": r"invalid path '\.\./evil\.c'",
    "climbs-out-inside.mbox": r"invalid path 'mm/\.\./\.\./evil\.c'",
    "good-and-climbing.mbox": r"invalid path '\.\./evil\.c'",
    "renames-out.mbox": r"invalid path '\.\./evil\.c'",
    "deletes-outside.mbox": r"\.\./victim: does not exist in index",
    "git-directory.mbox": r"invalid path '\.git/hooks/post-checkout'",
    "git-directory-cased.mbox": r"invalid path 'mm/\.GIT/config'",
    "link-to-etc.mbox": r"'Documentation/passwd' a symbolic link to '/etc/passwd'",
    "link-climbs.mbox": r"'mm/up' a symbolic link to '\.\./\.\./victim'",
    "link-climbs-through-link.mbox": r"'out' a symbolic link to 'here/\.\./victim'",
    "link-retargeted.mbox": r"'mm/link\.c' a symbolic link to '/etc/passwd'",
    "through-a-new-link.mbox": r"patch 2 .* 'up/evil\.c' is beyond a symbolic link",
    "through-an-old-link.mbox": r"'mm/link\.c/evil\.c' is beyond a symbolic link",
    "submodule.mbox": r"'sub' a submodule",
    "hooks-twice.mbox": r"patch 2 .* hooks/post-checkout: already exists in this tree",
    "binary-without-data.mbox": r"logo\.bin: does not exist in this tree",
}

#: Mailbox: a note that says what was left out or chosen.
NOTED = {
    "reply-without-re.mbox": "left out: '[PATCH] mm: a fix for part 1' replies to the series",
    "question-with-a-diff.mbox": "left out: 'how about this?' has a diff and no [PATCH]",
    "nested-v1-v2.mbox": "v2 (2 patches) is taken; also there: v1 (2 patches)",
    "resend.mbox": "v1 RESEND (2 patches) is taken; also there: v1 (2 patches)",
}

#: Mailbox: how its one patch applies, and where, if not exactly.
HOW = {"offset.mbox": ("offset", "mm/hugetlb.c hunk 2 at 30 (+3)")}

#: The same with --fuzz, for what is refused without it.
FUZZY = {"fuzz.mbox": ("fuzz", "mm/hugetlb.c hunk 2 with 1 line of context")}


@pytest.fixture(autouse=True)
def nothing_outside(
    toy: Path, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stand in a directory full of bait, as a user would, with a home of the test's own."""
    bait = tmp_path / "bait"
    for name in ("evil.c", "victim", "hooks/post-checkout", "mm/hugetlb.c", "config", "patch"):
        (bait / name).parent.mkdir(parents=True, exist_ok=True)
        (bait / name).write_text("precious\n")
    monkeypatch.chdir(bait)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "victim").write_text("precious\n")


def outside(tmp_path: Path, context: Context) -> dict[str, tuple[int, int, int]]:
    """Return a picture of all that is there but the two rooms of the cache that results go to."""
    rooms = [context.workspace.cache / room for room in ("sources.git/objects", "sources", "tmp")]
    skipped = tuple(f"{room}" for room in (context.workspace.cache, *rooms))
    own = tuple(f"{room}/" for room in rooms)
    found = picture(tmp_path)
    return {
        path: what
        for path, what in found.items()
        if path not in skipped and not path.startswith(own)
    }


def apply(box: Path, toy: Path, context: Context, *, fuzz: bool = False) -> series.Patched:
    source = resolve(parse_source(f"tree:{toy}"), context)
    return series.apply(
        series.read(parse_series(f"mbox:{box}"), context), source, context, fuzz=fuzz
    )


def changes(patched: series.Patched, toy: Path, context: Context) -> dict[str, str | None]:
    """Return the files in which the patched tree differs from the toy tree."""
    store, deadline = Store.of(context), context.deadline
    base = resolve(parse_source(f"tree:{toy}"), context).identity.tree
    argv = ["diff-tree", "-r", "-z", "--name-only", "--no-renames", base, patched.identity.tree]
    names = filter(None, store.git(argv, deadline).stdout.split("\0"))
    return {name: store.text(patched.identity.tree, name, deadline) for name in names}


def test_the_table_lists_every_mailbox() -> None:
    assert not GOOD.keys() & BAD.keys()
    assert {file.name for file in DATA.iterdir() if file.suffix != ".py"} - {"__pycache__"} == (
        GOOD.keys() | BAD.keys()
    )


def test_the_corpus_is_what_its_script_writes(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make", DATA / "make.py")
    assert spec is not None
    assert spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    out = tmp_path / "made"
    out.mkdir()
    make.write(out)
    for file in out.iterdir():
        assert file.read_bytes() == (DATA / file.name).read_bytes(), file.name


@pytest.mark.parametrize("name", GOOD)
def test_good_mailbox(name: str, toy: Path, context: Context, tmp_path: Path) -> None:
    resolve(parse_source(f"tree:{toy}"), context)
    before = outside(tmp_path, context)
    patched = apply(DATA / name, toy, context)
    assert changes(patched, toy, context) == GOOD[name]
    applied = {(patch.how, patch.detail) for patch in patched.identity.patches}
    assert applied == {HOW.get(name, ("exact", ""))}
    assert patched.identity.notes == tuple(filter(None, [NOTED.get(name)]))
    assert not any(c < " " for patch in patched.identity.patches for c in patch.name)
    assert outside(tmp_path, context) == before


@pytest.mark.parametrize("name", BAD)
def test_bad_mailbox(name: str, toy: Path, context: Context, tmp_path: Path) -> None:
    resolve(parse_source(f"tree:{toy}"), context)
    before = outside(tmp_path, context)
    with pytest.raises(SeriesError, match=BAD[name]) as refused:
        apply(DATA / name, toy, context)
    assert refused.value.hint
    assert outside(tmp_path, context) == before


@pytest.mark.parametrize("name", sorted(BAD.keys() - FUZZY.keys()))
def test_fuzz_applies_no_damaged_patch(
    name: str, toy: Path, context: Context, tmp_path: Path
) -> None:
    resolve(parse_source(f"tree:{toy}"), context)
    before = outside(tmp_path, context)
    with pytest.raises(SeriesError, match=BAD[name]):
        apply(DATA / name, toy, context, fuzz=True)
    assert outside(tmp_path, context) == before


@pytest.mark.parametrize("name", FUZZY)
def test_fuzz_is_allowed_and_recorded(name: str, toy: Path, context: Context) -> None:
    patched = apply(DATA / name, toy, context, fuzz=True)
    (patch,) = patched.identity.patches
    assert (patch.how, patch.detail) == FUZZY[name]
    text = changes(patched, toy, context)["mm/hugetlb.c"]
    assert text == FIRST


def test_latin1_byte_is_not_recoded(toy: Path, context: Context) -> None:
    patched = apply(DATA / "latin1.mbox", toy, context)
    worktree = Worktree.of(context.workspace, "test")
    worktree.switch(patched.identity.tree, Store.of(context), context.deadline)
    assert (worktree.source / "mm/latin1.c").read_bytes() == b"/* M\xfcller */\n"


def test_maildir(toy: Path, context: Context, tmp_path: Path) -> None:
    box = tmp_path / "Maildir"
    for part in ("cur", "new", "tmp"):
        (box / part).mkdir(parents=True)
    out = tmp_path / "split"
    out.mkdir()
    run("git", "mailsplit", f"-o{out}", str(DATA / "wrong-order.mbox"), cwd=tmp_path)
    for number, file in enumerate(sorted(out.iterdir())):
        shutil.copy(file, box / ("cur" if number else "new") / f"{number}.host:2,S")
    before = picture(box)
    assert changes(apply(box, toy, context), toy, context) == BOTH
    assert picture(box) == before
    with pytest.raises(SeriesError, match="is not a Maildir"):
        apply(tmp_path / "split", toy, context)
