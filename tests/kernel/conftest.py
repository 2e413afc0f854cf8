# SPDX-License-Identifier: GPL-2.0-only
"""Real kernels only: nothing here is faked, and a test that did not run fails the session."""

import contextlib
import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pexpect
import pytest

from harness import pipeline
from harness.kernel import registry
from harness.recording import Recording, first_record, recorded
from harness.records.probe import ProbeSpec
from harness.records.run import REPORT
from harness.run.prepare import Prepared

#: The point release that the reference series was tested with: a newer one may not take it, and
#: stock and patched kernels are to come from one tree.
STOCK = f"debian:linux-source-6.12={registry.find('hgm-6.12').tested}"
OLDER = "debian:linux-source-6.1"

#: Why a probe may be skipped whatever the kernel: the default machine has one node.
MACHINE = "needs 2 NUMA nodes and the machine has 1 (--nodes)"

#: How a kernel says that it is older than what a baseline probe asks for.
_NOT_OFFERED = re.compile(r"[^:]+: (E[A-Z]+|features 0x[0-9a-f]+ are not offered)\Z")

#: The files that take longest; they are begun first, since one goes to one worker as a whole.
_LONGEST = ("test_run.py", "test_older.py")

_SECONDS = 3000


@dataclass(frozen=True)
class Run:
    """One `hgm` command that has ended."""

    code: int
    out: str
    err: str

    @property
    def record(self) -> dict[str, Any]:
        """The record that --json printed."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    def statuses(self) -> dict[str, str]:
        return {probe["name"]: probe["status"] for probe in self.record["probes"]}


def passed_or_not_offered(probe: dict[str, Any]) -> bool:
    """Whether a probe passed but for known issues, or the kernel is too old, by its own answer."""
    if probe["status"] == "KNOWN" and probe["name"].startswith("baseline/"):
        return bool(probe["known_issues"])
    if probe["status"] == "SKIP" and probe["name"].startswith(("baseline/", "hgm/rwp/")):
        return _NOT_OFFERED.match(probe["reason"]) is not None
    return bool(probe["status"] == "PASS")


def is_stock(run: Run, source: str) -> None:
    assert run.code == 0, run.err
    record = run.record
    assert (record["verdict"], record["exit_code"], record["schema"]) == ("PASS", 0, 2)
    assert record["kernel"]["source"]["spec"] == source
    version = re.match(r"debian:linux-source-([0-9.]+)", source)
    assert version
    assert record["kernel"]["release"].startswith(version[1])
    assert record["kernel"]["config"]["hgm"] is False
    assert record["hugepages"]["asked"] == record["hugepages"]["got"] == {"1G": 2, "2M": 64}
    assert record["accel"]["reason"]
    assert record["hgm"] == {"present": False, "evidence": "MADV_SPLIT: EINVAL"}
    for probe in record["probes"]:
        if probe["reason"] == MACHINE:
            assert probe["status"] == "SKIP", probe
        elif probe["name"].startswith("hgm/"):
            assert (probe["status"], probe["reason"]) == ("SKIP", "MADV_SPLIT: EINVAL"), probe
        else:
            assert passed_or_not_offered(probe), probe
    assert {name.rpartition("/")[2] for name in run.statuses()} == {"1G", "2M"}
    assert [each for each in record["known_issues"] if not each["seen"]] == []


def probed(prepared: Prepared, specs: Sequence[ProbeSpec], runs: Path) -> Recording:
    """Run probes that no catalogue names as `hgm run` would, and return the run's recording."""
    first = first_record(("run",), prepared.machine, REPORT, specs)
    with recorded(runs, "test", first, prepared.context.progress) as recording:
        pipeline.probe(prepared, specs, recording)
    return recording


def machines_left() -> list[str]:
    """The QEMUs that this process has started and that are still there."""
    found = []
    for task in Path("/proc/self/task").glob("*/children"):
        for pid in task.read_text().split():
            line = Path(f"/proc/{pid}/cmdline")
            found += [pid] if line.exists() and b"qemu" in line.read_bytes() else []
    return found


def command_line(*words: str) -> tuple[str, ...]:
    """Return an `hgm` command; a series that it names goes on `STOCK`, which takes it."""
    chosen = ("--kernel", STOCK) if "--series" in words and "--kernel" not in words else ()
    end = words.index("--") if "--" in words else len(words)
    return (sys.executable, "-m", "harness.cli", *words[:end], *chosen, *words[end:])


def _hgm(runs: Path, *words: str, typed: str | None = None) -> Run:
    """Run the command line as a person would, with run directories in a place of the test's.

    Args:
        runs: that place.
        words: of the command line.
        typed: its standard input; None for the test's own.
    """
    extra = ("--runs-dir", str(runs)) if words[0] == "run" else ()
    done = subprocess.run(
        command_line(*words, *extra),
        input=typed,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    sys.stderr.write(done.stderr)  # pytest shows both if the test fails
    sys.stdout.write(done.stdout)
    return Run(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def hgm(tmp_path: Path) -> Callable[..., Run]:
    """Run the command line, with run directories in the test's own place."""
    return functools.partial(_hgm, tmp_path / "runs")


@contextlib.contextmanager
def terminal(*words: str) -> Iterator["pexpect.spawn[Any]"]:
    """Run the command line on a terminal of 40 lines and 120 columns."""
    program, *arguments = command_line(*words)
    size = ("LINES", "COLUMNS")  # would be asked before the terminal
    env = {name: value for name, value in os.environ.items() if name not in size}
    child = pexpect.spawn(program, arguments, timeout=600, dimensions=(40, 120), env=env)
    try:
        yield child
    finally:
        child.close(force=True)


@pytest.fixture(scope="session")
def reference_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run every probe on the default kernel, once for all tests that look at it."""
    return _hgm(tmp_path_factory.mktemp("reference"), "run", "--json")


@pytest.fixture(scope="session")
def stock_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run every probe on the stock kernel, once for all tests that look at it."""
    return _hgm(tmp_path_factory.mktemp("stock"), "run", "--series", "none", "--json")


@pytest.fixture(scope="session", autouse=True)
def _built(request: pytest.FixtureRequest) -> None:
    """Build what every test boots before the first one, past pytest's capture: it takes minutes."""
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        build = ("kernel", "build", "--log", os.devnull)
        stock = (*build, "--kernel", STOCK, "--series", "none")
        for words in (build, stock, ("image", "build")):
            command = [sys.executable, "-m", "harness.cli", *words]
            subprocess.run(command, stdout=subprocess.DEVNULL, timeout=_SECONDS, check=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A skip is no pass: fail the session if a real-kernel test was left out."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and exitstatus == 0 and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
