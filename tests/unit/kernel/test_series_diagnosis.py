# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.kernel.series.diagnosis import Misfit, misfits, parse

FILE = "".join(f"int line_{number};\n" for number in range(1, 41))
PATCH = """\
A subject, and --- in its text

---
diff --git a/mm/a.c b/mm/a.c
--- a/mm/a.c
+++ b/mm/a.c
@@ -3,5 +3,5 @@ int a(void)
 int line_3;
 int line_4;
-int {old};
+int five;
 int line_6;
 int line_7;
@@ -20,3 +20,4 @@
 int line_20;
+int more;
 int line_21;
 int line_22;
diff --git a/mm/b.c b/mm/b.c
--- a/mm/b.c\t2024-01-01
+++ b/mm/b.c\t2024-01-01
@@ -1 +1 @@
-x
\\ No newline at end of file
+y
diff --git a/mm/new.c b/mm/new.c
--- /dev/null
+++ b/mm/new.c
@@ -0,0 +1,2 @@
+--- a/not/a/file
++++ b/not/a/file
"""


def test_files_and_hunks_are_counted() -> None:
    files = parse(PATCH.format(old="line_5"))
    assert [(file.path, len(file.hunks)) for file in files] == [
        ("mm/a.c", 2),
        ("mm/b.c", 1),
        ("mm/new.c", 1),
    ]
    assert files[0].hunks[1].old == ("int line_20;", "int line_21;", "int line_22;")
    assert files[1].hunks[0].old == ("x",)
    assert files[1].hunks[0].new == ("y",)


def test_huge_patch_is_not_diagnosed() -> None:
    line = "+x\n"
    patch = "--- a/x\n+++ b/x\n@@ -0,0 +1,{0} @@\n".format
    assert len(parse(patch(9) + line * 9)) == 1
    assert parse(patch(500_000) + line * 500_000) == ()


def test_strip_levels() -> None:
    text = "--- mm/a.c\n+++ mm/a.c\n@@ -7,1 +7,1 @@\n-a\n+b\n"
    assert parse(text, 0)[0].path == "mm/a.c"


def of(patch: str, text: str) -> list[Misfit]:
    return list(misfits(parse(patch)[0], text))


def test_patch_that_applies_has_no_misfits() -> None:
    assert of(PATCH.format(old="line_5"), FILE) == []
    assert of(PATCH.format(old="line_5"), "one\ntwo\n" + FILE) == []


def test_lines_that_differ_are_shown() -> None:
    (misfit,) = of(PATCH.format(old="fife"), FILE)
    assert (misfit.path, misfit.hunk, misfit.line) == ("mm/a.c", 1, 3)
    assert misfit.difference == (
        " int line_3;",
        " int line_4;",
        "-int fife;",
        "+int line_5;",
        " int line_6;",
        " int line_7;",
    )


def test_lines_that_differ_are_found_at_an_offset() -> None:
    text = "x\n" * 200 + FILE.replace("int line_4;\n", "int line_4;\nint inserted;\n")
    (misfit,) = of(PATCH.format(old="line_5"), text)
    assert "+int inserted;" in misfit.difference
    assert not any(line.startswith("-") for line in misfit.difference)


def test_applied_already() -> None:
    (misfit,) = of(
        PATCH.format(old="line_5"), FILE.replace("line_5;", "x;").replace("int x", "int five")
    )
    assert misfit.reason == "the file has these changes already"


def test_long_difference_is_cut() -> None:
    body = "".join(f"-gone {number}\n" for number in range(100))
    (misfit,) = of(f"--- a/x\n+++ b/x\n@@ -1,100 +0,0 @@\n{body}", FILE)
    assert misfit.difference[-1].endswith("lines more")
    assert len(misfit.difference) < 30


@pytest.mark.parametrize("line", ["", "\x0c", "\u2028", "\r"])
def test_only_line_feeds_end_lines(line: str) -> None:
    patch = f"--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n {line}b\n-c\n+d\n"
    assert of(patch, f"a\n{line}b\nc\n") == []


@given(st.text(alphabet="-+ @a,1\n\\", max_size=200))
def test_any_text_is_parsed(text: str) -> None:
    for file in parse("--- a/x\n+++ b/x\n" + text):
        list(misfits(file, text))
