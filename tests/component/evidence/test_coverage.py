# SPDX-License-Identifier: GPL-2.0-only
"""Counts of a small program in place of a kernel's: real gcc, gcov and gcovr."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.context import Context
from harness.deadline import Deadline
from harness.errors import RecordError
from harness.evidence import coverage
from harness.progress import Silent
from harness.records.coverage import CountedFunction, Coverage
from harness.report import coverage as report
from harness.workspace import Workspace

HEADER = """\
static inline int twice(int x)
{
	return x + x;
}
"""

SOURCE = """\
#include "header.h"
/* <script>alert(1)</script> */
int minor(int x)
{
	return twice(x);
}
int missing(int x)
{
	return x - 1;
}
int poisoned(int x)
{
	return x + 1;
}
int main(int argc, char **argv)
{
	return argc == 1 ? minor(0) : missing(1);
}
"""


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Workspace(tmp_path / "cache"), Deadline.after(60, "the test"), Silent())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two guests whose kernel was compiled in a place that is gone."""
    return made(tmp_path, "-O0")


def made(tmp_path: Path, flag: str) -> Path:
    tree, built = tmp_path / "tree", tmp_path / "built"
    (tree / "mm").mkdir(parents=True)
    (built / "mm").mkdir(parents=True)
    (tree / "mm/header.h").write_text(HEADER)
    (tree / "mm/hugetlb.c").write_text(SOURCE)
    compile_: list[str | Path] = [
        "gcc",
        flag,
        "--coverage",
        "-c",
        tree / "mm/hugetlb.c",
        "-o",
        "mm/hugetlb.o",
    ]
    subprocess.run(compile_, cwd=built, check=True)
    subprocess.run(["gcc", "--coverage", "mm/hugetlb.o", "-o", "run"], cwd=built, check=True)
    kept = tmp_path / "run" / "coverage"
    (kept / "source/mm").mkdir(parents=True)
    shutil.copy(tree / "mm/hugetlb.c", kept / "source/mm")
    shutil.copy(built / "mm/hugetlb.gcno", kept / "source/mm")
    for number, words in enumerate(([], ["x"]), 1):
        subprocess.run([built / "run", *words], check=True)
        (kept / f"guest-{number}/mm").mkdir(parents=True)
        (built / "mm/hugetlb.gcda").rename(kept / f"guest-{number}/mm/hugetlb.gcda")
    shutil.rmtree(tree)
    shutil.rmtree(built)
    return kept.parent


def calls(found: Coverage) -> dict[str, int]:
    (source,) = found.sources
    return {each.name: each.calls for each in source.functions}


def test_the_guests_of_a_run_add_up(run: Path, context: Context) -> None:
    found = coverage.read([run], context)
    (source,) = found.sources
    assert source.path == "mm/hugetlb.c"  # and not the header, whose lines are in many objects
    assert source.functions[0] == CountedFunction(name="minor", line=3, calls=1)
    assert calls(found) == {"minor": 1, "missing": 1, "poisoned": 0, "main": 2}
    assert (source.lines, source.reached) == (8, 6)  # gcovr counts no lines of braces


def test_so_do_several_runs(run: Path, context: Context) -> None:
    assert calls(coverage.read([run, run], context))["main"] == 4


def test_so_do_runs_of_one_source_that_were_compiled_differently(
    run: Path, context: Context, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = made(tmp_path / "other", "-O1")
    assert calls(coverage.read([run, other], context))["main"] == 4


def test_runs_of_different_sources_do_not(run: Path, context: Context, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    (other / "coverage/source/mm/hugetlb.c").write_text(SOURCE.replace("x - 1", "x - 2"))
    with pytest.raises(RecordError, match="sources differ from"):
        coverage.read([run, other], context)


def test_the_text_says_what_is_not_reached(run: Path, context: Context) -> None:
    text = "\n".join(report.lines(coverage.read([run], context)))
    assert "mm/hugetlb.c       8        6  ( 75.0 %)          4        3" in text
    assert text.endswith("mm/hugetlb.c: no probe enters\n  poisoned")


def test_the_pages_have_each_line_and_no_markup_of_the_source(
    run: Path, context: Context, tmp_path: Path
) -> None:
    coverage.read([run], context, html=tmp_path / "pages")
    (page,) = (tmp_path / "pages").glob("index.hugetlb.c.*.html")
    assert "hugetlb.c" in (tmp_path / "pages/index.html").read_text()
    assert "alert(1)" in page.read_text()
    assert "<script>alert" not in page.read_text()


def test_paths_may_be_relative(
    run: Path, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert coverage.read([Path("run")], context, html=Path("pages")).sources
    assert (tmp_path / "pages/index.html").exists()


def test_a_run_without_counts_says_what_to_do(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "harness.cli", "coverage", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
