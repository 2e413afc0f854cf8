# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import quopri
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.context import Context
from harness.errors import SeriesError
from harness.kernel import series
from harness.kernel.git import Store
from harness.kernel.series import applying
from harness.kernel.series.applying import ScratchIndex
from harness.kernel.series.patch import Patch
from harness.kernel.source import resolve
from harness.kernel.specs import parse_series, parse_source

PATCH = """\
--- a/mm/hugetlb.c
+++ b/mm/hugetlb.c
@@ -1,3 +1,3 @@
 int line_1;
-int line_2;
+int two;
 int line_3;
@@ -30,3 +30,3 @@
 int line_30;
-int {old};
+int other;
 int line_32;
"""
GOOD = PATCH.format(old="line_31")
ADDS = "--- /dev/null\n+++ b/{}\n@@ -0,0 +1 @@\n+int added;\n"


def patched(toy: Path, spec: str, context: Context) -> series.Patched:
    source = resolve(parse_source(f"tree:{toy}"), context)
    parsed = parse_series(spec)
    return series.apply(series.read(parsed, context), source, context)


def directory(tmp_path: Path, **patches: str) -> str:
    path = tmp_path / "patches"
    path.mkdir()
    for name, text in patches.items():
        (path / f"{name}.patch").write_text(text)
    return f"dir:{path}"


def test_sorted_patches_make_a_new_tree(toy: Path, context: Context, tmp_path: Path) -> None:
    spec = directory(
        tmp_path, b=PATCH.format(old="x").replace("x", "line_31"), a=ADDS.format("q.c")
    )
    result = patched(toy, spec, context)
    assert [patch.name for patch in result.identity.patches] == ["a.patch", "b.patch"]
    store = Store.of(context)
    text = store.text(result.identity.tree, "mm/hugetlb.c", context.deadline)
    assert text is not None
    assert "int two;" in text
    assert store.text(result.identity.tree, "q.c", context.deadline) == "int added;\n"
    assert patched(toy, spec, context) == result
    assert "int two;" not in (toy / "mm/hugetlb.c").read_text()


def test_patches_applied_before_are_not_applied_again(
    toy: Path, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adds = {name: ADDS.format(f"{name}.c") for name in "abcd"}
    source = resolve(parse_source(f"tree:{toy}"), context)
    whole = series.read(parse_series(directory(tmp_path, **adds)), context)
    put: list[str] = []
    real = ScratchIndex.put_each

    def seen(scratch: ScratchIndex, patches: Sequence[Patch], *, fuzz: bool = False) -> object:
        put.extend(patch.name for patch in patches)
        return real(scratch, patches, fuzz=fuzz)

    monkeypatch.setattr(ScratchIndex, "put_each", seen)
    made = [series.apply(whole.first(count), source, context) for count in (1, 3, 4)]
    assert put == ["a.patch", "b.patch", "c.patch", "d.patch"]
    assert [len(each.identity.patches) for each in made] == [1, 3, 4]

    other = tmp_path / "patches" / "b.patch"
    other.write_text(ADDS.format("other.c"))  # the patches after it have to be applied again
    put.clear()
    changed = series.apply(series.read(parse_series(whole.spec), context), source, context)
    assert put == ["b.patch", "c.patch", "d.patch"]
    store, tree = Store.of(context), changed.identity.tree
    there = [store.text(tree, f"{name}.c", context.deadline) for name in ("a", "b", "other", "d")]
    assert there == ["int added;\n", None, "int added;\n", "int added;\n"]


def test_scratch_index_starts_from_a_kept_index(
    toy: Path, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = resolve(parse_source(f"tree:{toy}"), context)
    whole = series.read(parse_series(directory(tmp_path, **LIFE)), context)
    began: list[str] = []
    real = ScratchIndex.git

    def seen(scratch: ScratchIndex, *arguments: str) -> str:
        began.extend(arguments[1:] if arguments[0] == "read-tree" else ())
        return real(scratch, *arguments)

    monkeypatch.setattr(ScratchIndex, "git", seen)
    base = source.identity.tree
    trees = [series.apply(whole.first(count), source, context).identity.tree for count in (1, 2, 3)]
    assert began == [base]
    for tree in (base, *trees):
        with ScratchIndex.on(tree, context) as scratch:
            (scratch.room / "patch").write_text(ADDS.format("more.c"))
            scratch.git("apply", "--cached", str(scratch.room / "patch"))
            assert scratch.tree() != tree
        with ScratchIndex.on(tree, context) as scratch:
            assert scratch.tree() == tree
    assert began == [base]
    monkeypatch.setattr(applying, "boot_id", lambda: "the next boot of the host")
    with ScratchIndex.on(trees[-1], context) as scratch:
        assert scratch.tree() == trees[-1]
    assert began == [base, trees[-1]]
    monkeypatch.setattr(applying, "_INDEXES_KEPT", 2)
    with ScratchIndex.on(base, context):
        pass
    assert len(list((context.workspace.cache / "sources").glob("index-*"))) == 2


#: One file through its life: each patch applies to the result of the one before.
LIFE = {
    "a": ADDS.format("q.c"),
    "b": "--- a/q.c\n+++ b/q.c\n@@ -1 +1,2 @@\n int added;\n+int more;\n",
    "c": "diff --git a/q.c b/r.c\nsimilarity index 100%\nrename from q.c\nrename to r.c\n",
    "d": "--- a/r.c\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-int added;\n-int more;\n",
    "e": ADDS.format("r.c"),
}


@pytest.mark.parametrize("misfit", [False, True])
def test_exact_patches_are_applied_by_one_git_with_the_same_result(
    toy: Path, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, misfit: bool
) -> None:
    offset = PATCH.format(old="line_31").replace("-30,3 +30,3", "-27,3 +27,3")
    patches = {**LIFE, "f": offset} if misfit else LIFE
    source = resolve(parse_source(f"tree:{toy}"), context)
    whole = series.read(parse_series(directory(tmp_path, **patches)), context)
    with ScratchIndex.on(source.identity.tree, context) as scratch:
        alone = [scratch.put(patch) for patch in whole.patches]
        tree = scratch.tree()
    put: list[str] = []
    real = ScratchIndex.put

    def seen(scratch: ScratchIndex, patch: Patch, *, fuzz: bool = False) -> object:
        put.append(patch.name)
        return real(scratch, patch, fuzz=fuzz)

    monkeypatch.setattr(ScratchIndex, "put", seen)
    with ScratchIndex.on(source.identity.tree, context) as scratch:
        together = list(scratch.put_each(whole.patches))
        assert scratch.tree() == tree
    assert together == alone
    assert put == [f"{name}.patch" for name in (patches if misfit else ())]


def test_quilt_series_decides(toy: Path, context: Context, tmp_path: Path) -> None:
    spec = directory(tmp_path, a="not a patch", b=GOOD)
    (tmp_path / "patches/series").write_text("# a.patch is not wanted\nb.patch\n")
    assert [patch.name for patch in patched(toy, spec, context).identity.patches] == ["b.patch"]
    (tmp_path / "patches/series").write_text("c.patch\n")
    with pytest.raises(SeriesError, match=r"names c\.patch, which does not exist"):
        patched(toy, spec, context)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            PATCH.format(old="absent"),
            r"'p\.patch' does not apply: mm/hugetlb\.c, hunk 2 \(line 30\)",
        ),
        ("\n".join(GOOD.splitlines()[:-2]) + "\n", r"'p\.patch' is damaged: corrupt patch"),
        ("hello\n", r"patch 1 'p\.patch' is damaged: No valid patches"),
        (GOOD.replace("hugetlb.c", "absent.c"), r"mm/absent\.c: does not exist"),
        (ADDS.format("../evil.c"), r"'p\.patch' does not apply: invalid path '\.\./evil\.c'"),
        (ADDS.format(".git/hooks/x"), "invalid path"),
        (ADDS.format("mm/link.c/x.c"), r"'p\.patch' does not apply"),
    ],
)
def test_refused_patch_is_named(
    toy: Path, context: Context, tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(SeriesError, match=expected):
        patched(toy, directory(tmp_path, p=text), context)


def test_empty_and_absent_series(toy: Path, context: Context, tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match="has no patches"):
        patched(toy, directory(tmp_path), context)
    for form in ("dir", "mbox"):
        with pytest.raises(SeriesError, match="absent"):
            patched(toy, f"{form}:{tmp_path}/absent", context)


def message(subject: str, body: str) -> str:
    return (
        f"From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\n"
        f"From: A <a@b>\nDate: Mon, 1 Jan 2024 00:00:00 +0000\nSubject: {subject}\n\n{body}\n"
    )


def test_mailbox_is_applied_in_its_order(toy: Path, context: Context, tmp_path: Path) -> None:
    again = GOOD.replace("int two;", "int zwei;").replace("-int line_2;", "-int two;")
    again = "\n".join(again.splitlines()[:7]) + "\n"
    box = tmp_path / "box"
    box.write_text(
        message("[PATCH 2/2] then", f"why\n---\n{again}")
        + message("[PATCH 0/2] cover", "words")
        + message("[PATCH 1/2] first", f"why\n---\n{GOOD}")
        + message("Re: [PATCH 1/2] first", "> words")
    )
    result = patched(toy, f"mbox:{box}", context)
    assert [patch.name for patch in result.identity.patches] == [
        "[PATCH 1/2] first",
        "[PATCH 2/2] then",
    ]
    text = Store.of(context).text(result.identity.tree, "mm/hugetlb.c", context.deadline)
    assert text is not None
    assert "int zwei;" in text


def test_saved_mails_in_an_encoding_are_decoded(
    toy: Path, context: Context, tmp_path: Path
) -> None:
    raw = quopri.encodestring(f"W\u00fcrde\n---\n{GOOD}".encode(), quotetabs=True).decode()
    head = "Content-Transfer-Encoding: quoted-printable\nSubject: [PATCH 1/1] a\n\n"
    patches = {"a": f"From: a\n{head}{raw}", "0-cover": "Subject: [PATCH 0/1] b\n\nwords\n"}
    assert GOOD not in patches["a"]
    result = patched(toy, directory(tmp_path, **patches), context)
    assert [patch.name for patch in result.identity.patches] == ["a.patch"]
