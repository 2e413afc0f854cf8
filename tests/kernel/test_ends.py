# SPDX-License-Identifier: GPL-2.0-only
"""However a run ends, nothing is left running, and its record says what happened."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kernel import synthetic
from tests.kernel.conftest import STOCK, Run

PROBE = "baseline/memfd-map/1G"


class Harness:
    """A run under way, seen from outside."""

    def __init__(self, runs: Path, *words: str, cache: Path | None = None) -> None:
        self.runs = runs
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.cli", "run", "--runs-dir", str(runs), *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **({"HGM_CACHE": str(cache)} if cache else {})},
        )

    def record(self) -> dict[str, Any]:
        found = json.loads((self.runs / "latest" / "result.json").read_text())
        assert isinstance(found, dict)
        return found

    def await_true(self, condition: Callable[[], bool], seconds: float = 120.0) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if condition():
                    return
            except (FileNotFoundError, json.JSONDecodeError):
                pass  # the run directory is not there yet
            time.sleep(0.02)
        raise AssertionError("it did not come to that")

    def children(self) -> set[int]:
        """Return the processes that descend from the harness."""
        found: set[int] = set()
        todo = [self.process.pid]
        while todo:
            pid = todo.pop()
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                more = {int(each) for each in task.read_text().split()} - found
                found |= more
                todo += more
        return found


def alive(pids: set[int]) -> set[int]:
    def lives(pid: int) -> bool:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return stat.rpartition(")")[2].split()[0] not in "ZX"

    return {pid for pid in pids if lives(pid)}


def in_stage(harness: Harness, stage: str) -> bool:
    return bool(harness.record()["stage"] == stage)


def never_built(directory: Path) -> tuple[str, ...]:
    """Return the words for a kernel that no cache holds, however often this has been run."""
    directory.mkdir()
    more = f"extern int hgm_{uuid.uuid4().hex};"
    edit = synthetic.patch("include/linux/hugetlb.h", synthetic.source_text(STOCK), more)
    (directory / "0001-new.patch").write_text(edit)
    return ("--series", f"dir:{directory}")


STAGES: dict[str, Callable[[Harness], bool]] = {
    "build": lambda h: "CC" in (h.runs / "latest" / "build.log").read_text(),
    "boot": lambda h: in_stage(h, "guest") and bool(h.children()),
    "probe": lambda h: "begins" in (h.runs / "latest" / "serial.log").read_text(),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_leaves_no_process_and_a_readable_record(
    tmp_path: Path, stage: str, number: signal.Signals
) -> None:
    words = never_built(tmp_path / "series") if stage == "build" else ()
    harness = Harness(tmp_path / "runs", "--probe", PROBE, *words)
    harness.await_true(lambda: STAGES[stage](harness), seconds=600)
    children = harness.children()
    assert children
    os.kill(harness.process.pid, number)
    code = harness.process.wait(timeout=30)
    end = time.monotonic() + 5.0
    while alive(children) and time.monotonic() < end:
        time.sleep(0.05)
    assert alive(children) == set()
    record = harness.record()
    if number == signal.SIGKILL:
        assert (record["verdict"], record["exit_code"]) == ("CUT", 3)
        assert "killed" in record["reason"]
    else:
        assert code == 130
        assert (record["verdict"], record["exit_code"]) == ("INTERRUPTED", 130)
    assert [probe["status"] for probe in record["probes"]] == ["LOST"]


def processes_naming(word: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        if word in line:
            found.append(line)
    return found


@pytest.mark.parametrize("stage", ["fetch", "image", "compile"])
def test_a_run_killed_before_its_guest_leaves_a_cache_that_works(
    tmp_path: Path, hgm: Callable[..., Run], stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = Path(hgm("kernel", "build", "--log", os.devnull).out.strip())
    cache = tmp_path / "cache"
    words = () if stage == "fetch" else ("--kernel", f"image:{built}")
    reached: dict[str, Callable[[Harness], bool]] = {
        "fetch": lambda h: bool(list(cache.glob("tmp/*"))),
        "image": lambda h: in_stage(h, "image") and bool(list(cache.glob("tmp/*"))),
        "compile": lambda h: in_stage(h, "probes") and bool(h.children()),
    }
    harness = Harness(tmp_path / "runs", "--probe", "baseline/*/2M", *words, cache=cache)
    harness.await_true(lambda: reached[stage](harness))
    harness.process.kill()
    harness.process.wait()
    end = time.monotonic() + 5.0
    while processes_naming(str(cache)) and time.monotonic() < end:
        time.sleep(0.05)
    assert processes_naming(str(cache)) == []
    assert harness.record()["verdict"] == "CUT"
    monkeypatch.setenv("HGM_CACHE", str(cache))
    probe = "baseline/memfd-map/2M"
    again = hgm("run", "--kernel", f"image:{built}", "--accel", "tcg", "--probe", probe, "--json")
    assert again.code == 0, again.err
    assert list(cache.glob("tmp/*")) == [], "what the killed run left is swept"


def test_the_run_after_a_killed_one_works(hgm: Callable[..., Run]) -> None:
    run = hgm("run", "--probe", "baseline/memfd-map/2M", "--json")
    assert run.code == 0, run.err
