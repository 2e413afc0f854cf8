# SPDX-License-Identifier: GPL-2.0-only
"""A series of 40 patches on a source that has moved on, as `git am` and a porter would find it."""

from __future__ import annotations

import difflib
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.context import Context
from harness.errors import SeriesError
from harness.kernel.obtain import KernelRequest, check_series, obtain
from harness.kernel.series import read
from harness.kernel.series.check import SeriesCheck, changed
from harness.kernel.specs import parse_series
from harness.report import series_check
from tests.component.kernel.conftest import run

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@t")
LINES = 600

Edit = Callable[[str], str]

#: Conflicting patch: the line after which it adds one. It also changes the fourth line after that.
CONFLICTS = {7: 100, 18: 200, 30: 300}

#: Dependent patch: the conflicting ones that it needs, directly or not.
DEPENDENT = {9: (7,), 20: (18,), 21: (18,), 33: (7, 30)}

#: In the file of the conflicts, but far from them.
ELSEWHERE = 10

#: In a file that did not change.
EXACT = (1, 12, 16, 24, 27, 35, 40)


def conflicting(number: int) -> Edit:
    line = CONFLICTS[number]
    return lambda text: text.replace(
        f"int hard_{line};\n", f"int hard_{line};\nint added_{number};\n"
    ).replace(f"int hard_{line + 4};", f"int changed_{number};")


def renamed(*names: str) -> Edit:
    def edit(text: str) -> str:
        for name in names:
            assert f"int {name};" in text
            text = text.replace(f"int {name};", f"int {name}_again;")
        return text

    return edit


def edits(number: int) -> dict[str, Edit]:
    """Return what a patch of the series does to each file."""
    hard = "mm/hard.c"
    if number == 18:  # it also makes a file
        return {hard: conflicting(18), "mm/new.c": lambda _: "int new;\n"}
    if number in CONFLICTS:
        return {hard: conflicting(number)}
    special = {
        9: {hard: renamed("added_7")},
        20: {"mm/new.c": renamed("new")},
        21: {"mm/new.c": renamed("new_again")},
        33: {hard: renamed("added_7_again", "added_30")},
        ELSEWHERE: {hard: renamed("hard_20")},
    }
    name = "still" if number in EXACT else "moved"
    return special.get(number, {f"mm/{name}.c": renamed(f"{name}_{number * 10}")})


@pytest.fixture
def patches(repository: Path, tmp_path: Path) -> Path:
    """Return a directory with the series; the work tree is left as a source for it.

    In the source 25 patches are at an offset and three conflict: it has five more lines in front of
    ``mm/moved.c``, and in ``mm/hard.c`` another line in the context of each conflicting patch.
    """
    for name in ("still", "moved", "hard"):
        text = "".join(f"int {name}_{number};\n" for number in range(1, LINES))
        (repository / f"mm/{name}.c").write_text(text)
    run(*GIT, "add", "-A", cwd=repository)
    run(*GIT, "commit", "-q", "-m", "base", cwd=repository)
    run("git", "tag", "base", cwd=repository)
    for number in range(1, 41):
        for name, edit in edits(number).items():
            path = repository / name
            path.write_text(edit(path.read_text() if path.exists() else ""))
        run(*GIT, "add", "-A", cwd=repository)
        run(*GIT, "commit", "-q", "-m", f"mm: part {number}", cwd=repository)
    out = tmp_path / "patches"
    run("git", "format-patch", "-q", "-o", str(out), "base", cwd=repository)
    run("git", "checkout", "-q", "base", cwd=repository)
    moved, hard = repository / "mm/moved.c", repository / "mm/hard.c"
    moved.write_text("int before;\n" * 5 + moved.read_text())
    for line in CONFLICTS.values():
        hard.write_text(hard.read_text().replace(f"int hard_{line + 7};", f"int soft_{line + 7};"))
    return out


def port(patches: Path, tmp_path: Path) -> Path:
    """Return a directory with the conflicting patches, ported to the source by hand."""
    out = tmp_path / "ported"
    out.mkdir()
    for number, line in CONFLICTS.items():
        (old,) = patches.glob(f"{number:04}-*")
        text = old.read_text()
        assert f" int hard_{line + 7};\n" in text
        new = text.replace(f" int hard_{line + 7};\n", f" int soft_{line + 7};\n")
        (out / f"{number:04}-ported.patch").write_text(new)
    return out


def test_conflicts_are_told_from_offsets_and_from_what_depends_on_them(
    repository: Path, patches: Path, context: Context, make_log: Path, tmp_path: Path
) -> None:
    request = KernelRequest(source=f"tree:{repository}", series=f"dir:{patches}", arch="x86_64")
    checked = check_series(request, context)
    assert [patch.number for patch in checked.refused] == list(CONFLICTS)
    assert {patch.number: patch.needs for patch in checked.dependent} == DEPENDENT
    assert Counter(patch.end for patch in checked.patches) == {
        "offset": 25,
        "conflict": 3,
        "depends": 4,
        "exact": 8,
    }
    for patch, line in zip(checked.refused, CONFLICTS.values(), strict=True):
        assert patch.refusal
        (misfit,) = patch.refusal.misfits
        assert f"-int hard_{line + 7};" in misfit.difference
        assert f"+int soft_{line + 7};" in misfit.difference
    assert series_check.exit_code(checked) == 2
    report = list(series_check.lines(checked))
    rows = [line.split()[:2] for line in report if line.endswith(".patch")]
    assert [int(number) for number, _ in rows][:7] == [*CONFLICTS, *DEPENDENT]
    assert [how for _, how in rows][:7] == ["CONFLICT"] * 3 + ["depends"] * 4
    assert len(rows) == 40
    assert "3 of 40 do not apply: 7, 18, 30 " in report[-1]
    assert "; 9, 20, 21, 33 depend on them; " in report[-1]
    with pytest.raises(SeriesError, match=r"patch 7 .* does not apply: mm/hard\.c, hunk 1"):
        obtain(request, context=context, build_log=tmp_path / "build.log")
    assert make_log.read_text() == ""


def test_once_the_conflicts_are_ported_the_series_is_built_without_fuzz(
    repository: Path, patches: Path, context: Context, make_log: Path, tmp_path: Path
) -> None:
    request = KernelRequest(
        source=f"tree:{repository}",
        series=f"dir:{patches}",
        resolve=str(port(patches, tmp_path)),
        arch="x86_64",
    )
    checked = check_series(request, context)
    assert Counter(patch.end for patch in checked.patches) == {"offset": 25, "exact": 15}
    assert series_check.exit_code(checked) == 0
    kernel = obtain(request, context=context, build_log=tmp_path / "build.log")
    assert make_log.read_text()
    assert kernel.series.tree == checked.tree
    offsets = [patch for patch in kernel.series.patches if patch.how == "offset"]
    assert len(offsets) == 25
    assert {patch.detail.split(" hunk ")[0] for patch in offsets} == {"mm/moved.c"}
    assert all(patch.detail.endswith("(+5)") for patch in offsets)


def test_where_git_knows_the_blobs_of_the_base_it_merges(
    repository: Path, patches: Path, context: Context
) -> None:
    base = KernelRequest(source=f"git:{repository}@base", series=f"dir:{patches}", arch="x86_64")
    assert {patch.end for patch in check_series(base, context).patches} == {"exact"}
    # The blobs that the first patches were made from are now known, so that these are merged.
    request = KernelRequest(source=f"tree:{repository}", series=f"dir:{patches}", arch="x86_64")
    checked = check_series(request, context)
    assert [patch.number for patch in checked.refused] == []
    assert Counter(patch.end for patch in checked.patches)["3way"] > 25


def checked_series(toy: Path, tmp_path: Path, context: Context, *patches: str) -> SeriesCheck:
    out = tmp_path / "series"
    out.mkdir()
    for number, text in enumerate(patches, 1):
        (out / f"{number}.patch").write_text(text)
    return check_series(
        KernelRequest(source=f"tree:{toy}", series=f"dir:{out}", arch="x86_64"), context
    )


def test_a_patch_for_a_refused_copy_is_not_applied_to_the_original(
    toy: Path, context: Context, tmp_path: Path
) -> None:
    """Without the first patch, git would find the second one's lines at the top of the file."""
    path = toy / "mm/hugetlb.c"
    old = path.read_text().splitlines()
    one = [*old[:30], *old[4:16], *old[30:]]
    two = [*one[:36], "int again;", *one[37:]]
    assert one[36] == old[10]
    path.write_text(path.read_text().replace("int line_33;", "int lane_33;"))
    copies, changes = diff(old, one), diff(one, two)
    checked = checked_series(toy, tmp_path, context, copies, changes)
    assert [(patch.end, patch.needs) for patch in checked.patches] == [
        ("conflict", ()),
        ("depends", (1,)),
    ]
    shutil.rmtree(tmp_path / "series")
    (alone,) = checked_series(toy, tmp_path, context, changes).patches
    assert alone.end == "offset"


@pytest.mark.parametrize(
    ("first", "end"),
    [
        ("--- a/mm/hugetlb.c\n+++ b/mm/hugetlb.c\n@@ -1,9 +1,9 @@\n int x;\n", "damaged"),
        (
            "diff --git a/mm/hugetlb.c b/mm/hugetlb.c\nindex 0123456..789abcd 100644\n"
            "Binary files a/mm/hugetlb.c and b/mm/hugetlb.c differ\n",
            "conflict",
        ),
    ],
)
def test_a_conflict_after_a_patch_that_is_not_text_says_so(
    toy: Path, context: Context, tmp_path: Path, first: str, end: str
) -> None:
    old = (toy / "mm/hugetlb.c").read_text().splitlines()
    second = diff([*old[:30], "int gone;", *old[30:]], old)
    third = diff(old, [*old[:10], "int more;", *old[10:]])
    checked = checked_series(toy, tmp_path, context, first, second, third)
    assert [patch.end for patch in checked.patches] == [end, "conflict", "exact"]
    assert [patch.perhaps for patch in checked.patches] == [(), (1,), ()]
    assert "may depend on 1, left out" in "\n".join(series_check.lines(checked))


def diff(old: list[str], new: list[str]) -> str:
    """Return the patch of ``mm/hugetlb.c`` between two texts."""
    names = ("a/mm/hugetlb.c", "b/mm/hugetlb.c")
    return "\n".join(difflib.unified_diff(old, new, *names, lineterm="")) + "\n"


def test_the_files_that_a_series_changes_are_known_without_a_source(
    tmp_path: Path, context: Context
) -> None:
    for name, path in (("1.patch", "mm/a.c"), ("2.patch", "Documentation/b.rst")):
        text = f"--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-1\n+2\n"
        (tmp_path / name).write_text(f"From: t\nSubject: {name}\n\n{text}")
    spec = parse_series(f"dir:{tmp_path}")
    assert changed(read(spec, context), context) == ("Documentation/b.rst", "mm/a.c")
    (tmp_path / "3.patch").write_text("Subject: 3\n\n--- a/c\n+++ b/c\n@@ nothing\n")
    with pytest.raises(SeriesError, match=r"3\.patch: git cannot read which files it changes"):
        changed(read(spec, context), context)
