# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns over real kernels: a series is tried and bisected, killed on the way, and continued."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kernel import synthetic
from tests.kernel.conftest import STOCK, Run, command_line

Hgm = Callable[..., Run]

PROBE = "baseline/memfd-map/2M"


@pytest.fixture
def source_text() -> Callable[[str], str]:
    """Return a function that returns a file of the stock source."""
    return synthetic.source_text(STOCK)


@pytest.fixture
def small_series(tmp_path: Path, source_text: Callable[[str], str]) -> Path:
    """Write four patches of one line each; the third does not compile and the fourth fixes it.

    The first differs each time, so that no kernel with it is in the cache.
    """
    directory = tmp_path / "patches"
    directory.mkdir()
    for number, (file, line) in enumerate(
        [
            ("mm/init-mm.c", f"/* one: {time.time_ns()} */"),
            ("mm/debug.c", "/* two */"),
            ("mm/msync.c", "#error three"),
        ],
        1,
    ):
        (directory / f"{number:04}.patch").write_text(synthetic.patch(file, source_text, line))
    broken = (directory / "0003.patch").read_text()
    (directory / "0004.patch").write_text(synthetic.reverted(broken))
    return directory


def _json(run: Run) -> dict[str, Any]:
    found = json.loads(run.out)
    assert isinstance(found, dict)
    return found


def test_a_killed_series_try_continues(hgm: Hgm, small_series: Path, tmp_path: Path) -> None:
    words = ("series", "try", "--series", f"dir:{small_series}", "--probe", PROBE)
    runs = tmp_path / "runs"
    _kill_when(lambda: len(_finished(runs)) >= 2, *words, "--runs-dir", str(runs))
    before = _finished(runs)
    run = hgm(*words, "--runs-dir", str(runs), "--json")
    assert run.code == 1, run.err
    tried = _json(run)
    results = [step["result"] for step in tried["steps"]]
    assert results == ["probed", "probed", "probed", "no build", "probed"]
    assert tried["findings"][0].startswith("patch 3 (0003.patch) does not build: mm/msync.c")
    after = _finished(runs)
    assert before.items() <= after.items()  # what was finished was not done again
    assert _steps(after) == [f"{number:04}" for number in range(5)]


def _finished(runs: Path) -> dict[Path, int]:
    """Return when each finished run was written, in nanoseconds, by its record's path."""
    return {
        path: path.stat().st_mtime_ns
        for path in runs.glob("*-*/*/*/result.json")
        if not path.parent.is_symlink()
        and json.loads(path.read_text())["verdict"] not in ("CUT", "INTERRUPTED")
    }


def _steps(finished: dict[Path, int]) -> list[str]:
    return sorted(path.parents[1].name for path in finished)


def _kill_when(condition: Callable[[], bool], *words: str) -> None:
    """Start a command and kill it with SIGKILL, without a chance to clean up, on a condition."""
    process = subprocess.Popen(
        command_line(*words),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = time.monotonic() + 1200
    try:
        while not condition():
            assert process.poll() is None, "the command ended before the condition held"
            assert time.monotonic() < end, "the condition did not hold in time"
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()


def test_a_bisection_killed_in_a_build_names_the_patch_that_does_not_build(
    hgm: Hgm, small_series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the reproducer writes its log here
    runs = tmp_path / "runs"
    asked = ("--series", f"dir:{small_series}", "--first", "3", "--about", "build")
    words = ("bisect", *asked, "--runs-dir", str(runs))
    # The third patch does not build, and the kernel of the source alone is in the cache.
    _kill_when(lambda: _says(runs, "0001", "build.log", "  CC "), *words)
    before = _finished(runs)
    assert _steps(before) == ["0000", "0003"]

    found = _found(hgm(*words, "--json"), "0003.patch")
    assert "mm/msync.c" in found["diffstat"]
    assert "#error three" in found["evidence"]
    assert found["builds"] <= 4
    (broken,) = [each for each in found["evaluations"] if each["candidate"]["id"] == "0003"]
    assert 0 < broken["make_seconds"] < broken["seconds"]  # the make that failed counts
    after = _finished(runs)
    assert before.items() <= after.items()  # nothing was done twice
    assert _steps(after) == ["0000", "0001", "0002", "0003"]
    assert found["runs"] == len(after)
    # No guest is needed to know whether a kernel builds.
    assert found["guest_seconds"] == 0
    assert not list(runs.glob("bisect-*/*/2*/serial.log"))
    again = subprocess.run(found["commands"][0], capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "#error three" in again.stderr


def test_a_bisection_killed_in_a_guest_names_the_patch_that_fails_a_probe(
    hgm: Hgm, small_series: Path, source_text: Callable[[str], str], tmp_path: Path
) -> None:
    (small_series / "0003.patch").write_text(_refuses_mmap(source_text))
    (small_series / "0004.patch").unlink()  # it fixes the other third patch
    runs = tmp_path / "runs"
    asked = ("--series", f"dir:{small_series}", "--probe", PROBE)
    words = ("bisect", *asked, "--runs-dir", str(runs))
    _kill_when(lambda: _says(runs, "0000", "serial.log", "Linux version"), *words)
    before = _finished(runs)
    assert _steps(before) == ["0003"]

    found = _found(hgm(*words, "--json"), "0003.patch")
    assert found["evidence"].startswith(f"{PROBE}: FAIL")
    after = _finished(runs)
    assert before.items() <= after.items()  # nothing was done twice
    assert _steps(after) == ["0000", "0002", "0003"]
    assert found["runs"] == len(after)


def _refuses_mmap(text: Callable[[str], str]) -> str:
    """Return a patch with which no huge page is mapped."""
    place = "\tvma_len = (loff_t)(vma->vm_end - vma->vm_start);"
    refusal = "\tif (vma_len)\n\t\treturn -ENODEV;"
    return synthetic.patch("fs/hugetlbfs/inode.c", text, refusal, after=place)


def _found(run: Run, culprit: str) -> dict[str, Any]:
    assert run.code == 0, run.err
    found = _json(run)
    assert found["result"] == "found"
    assert found["suspects"][0]["name"] == culprit
    return found


def _says(runs: Path, step: str, file: str, words: str) -> bool:
    """Return whether a file of any run of a step contains these words."""
    found = runs.glob(f"bisect-*/{step}/2*/{file}")
    return any(words in path.read_text(errors="replace") for path in found)


def test_bisect_step_has_the_exit_codes_of_git_bisect_run(hgm: Hgm, tmp_path: Path) -> None:
    words = ("--series", "none", "--runs-dir", str(tmp_path / "runs"))
    assert hgm("bisect-step", *words, "--probe", PROBE).code == 0
    absent = hgm("bisect-step", *words, "--probe", "hgm/split/2M")
    assert (absent.code, absent.out.partition(":")[0]) == (0, "absent")
