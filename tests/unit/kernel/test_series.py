# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import pytest

from harness.errors import SeriesError
from harness.kernel.series import Mail, Patch, hunk_number, ordered, quilt_series, refusal

PATCH = """\
A subject

---
diff --git a/mm/a.c b/mm/a.c
--- a/mm/a.c
+++ b/mm/a.c
@@ -3,2 +3,2 @@ int a(void)
-x
+y
@@ -30 +30 @@
-x
+y
diff --git a/mm/b.c b/mm/b.c
--- a/mm/b.c
+++ b/mm/b.c
@@ -30,4 +30,4 @@
-x
+y
"""


def mail(subject: str, patch: bytes = b"diff --git a/x b/x\n") -> Mail:
    return Mail(subject=subject, patch=patch)


def test_quilt_series_has_comments_and_levels() -> None:
    text = "# head\n\none.patch\n  two.patch -p0 # why\nthree#3.patch -p2\n"
    assert quilt_series(text, "series") == (
        ("one.patch", 1),
        ("two.patch", 0),
        ("three#3.patch", 2),
    )


def test_reversed_patch_is_refused() -> None:
    with pytest.raises(SeriesError, match="series:1: option '-R'"):
        quilt_series("one.patch -R\n", "series")


@pytest.mark.parametrize(
    ("file", "line", "hunk"),
    [("mm/a.c", 3, 1), ("mm/a.c", 30, 2), ("mm/b.c", 30, 1), ("mm/a.c", 4, 0), ("mm/c.c", 3, 0)],
)
def test_hunk_is_counted_per_file(file: str, line: int, hunk: int) -> None:
    assert hunk_number(PATCH, file, line) == hunk


def test_hunk_at_strip_level_zero() -> None:
    assert hunk_number("--- mm/a.c\n+++ mm/a.c\n@@ -7,2 +7,2 @@\n", "mm/a.c", 7, strip=0) == 1


def test_refusal_names_patch_file_and_hunk() -> None:
    said = "error: patch failed: mm/a.c:30\nerror: mm/a.c: patch does not apply\n"
    line = refusal(Patch(name="0001-a.patch", data=PATCH.encode()), said).line()
    assert "'0001-a.patch' does not apply: mm/a.c, hunk 2 (line 30)" in line


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("error: corrupt patch at line 17\n", "is damaged: corrupt patch at line 17"),
        ("error: mm/q.c: does not exist in index\n", "mm/q.c: does not exist in index"),
        ('error: No valid patches in input (allow with "--allow-empty")\n', "No valid patches"),
    ],
)
def test_refusal_without_a_hunk(said: str, expected: str) -> None:
    assert expected in refusal(Patch(name="p", data=b""), said).line()


def test_mails_are_ordered_by_number() -> None:
    mails = [
        mail("[PATCH v2 2/10] b"),
        mail("[PATCH v2 0/10] cover", b""),
        *(mail(f"[PATCH v2 {n:02}/10] x{n}") for n in range(3, 11)),
        mail("Re: [PATCH v2 1/10] a"),
        mail("[PATCH v2 1/10] a"),
    ]
    names = [patch.name for patch in ordered(mails, "box")]
    assert names[:3] == ["[PATCH v2 1/10] a", "[PATCH v2 2/10] b", "[PATCH v2 03/10] x3"]
    assert len(names) == 10


def test_mails_without_numbers_stay_as_they_came() -> None:
    names = [patch.name for patch in ordered([mail("[PATCH] b"), mail("[PATCH] a")], "box")]
    assert names == ["[PATCH] b", "[PATCH] a"]


@pytest.mark.parametrize(
    ("subjects", "expected"),
    [
        (["[PATCH 1/3] a", "[PATCH 3/3] c"], "lacks patch 2 of 3"),
        (["[PATCH 1/2] a", "[PATCH 2/2] b", "[PATCH 2/2] b"], "has patch 2 twice"),
        (["[PATCH 1/1] a", "[PATCH v2 1/1] a"], "mixes revisions"),
        (["Re: [PATCH] a"], "holds no patches"),
        ([], "holds no patches"),
    ],
)
def test_incomplete_mailbox_is_refused(subjects: list[str], expected: str) -> None:
    with pytest.raises(SeriesError, match=expected):
        ordered([mail(subject) for subject in subjects], "box")
