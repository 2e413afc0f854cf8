# SPDX-License-Identifier: GPL-2.0-only
"""Thirty-one patches over a real kernel, a fault in one of them, and the culprit named.

Half an hour on two cores: `hgm test long` runs it; CI does not.
"""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.arch import host_arch
from harness.campaign import strategy
from harness.context import Context
from harness.deadline import Deadline
from harness.kernel.git import Store
from harness.kernel.obtain import KernelRequest, resolve_request
from harness.progress import Silent
from harness.workspace import Workspace
from tests.kernel import synthetic
from tests.kernel.conftest import STOCK, Run, hgm

__all__ = ["hgm"]

Hgm = Callable[..., Run]

TOTAL = 31

#: What every fork passes, in a file that the reference does not touch.
_IN_FORK = {"file": "kernel/fork.c", "after": "\toldmm = current->mm;"}


def _fork(statement: str, program: str = "fork") -> Callable[[Callable[[str], str]], str]:
    line = f'\tif (!strcmp(current->comm, "{program}"))\n\t\t{statement}'
    return lambda text: synthetic.patch(text=text, more=line, **_IN_FORK)


def _seeded(name: str) -> Callable[[Callable[[str], str]], str]:
    return lambda _: synthetic.seeded(name)


def _break(text: Callable[[str], str]) -> str:
    return synthetic.patch("mm/mlock.c", text, "#error deliberate")


@dataclass(frozen=True)
class SeededFault:
    """A fault: what makes its patch from the source, the predicate, the evidence."""

    patch: Callable[[Callable[[str], str]], str]
    predicate: tuple[str, ...]
    evidence: str


_SPLAT = ("--config", "debug", "--about", "splat", "--signature", "circular locking")

FAULTS = {
    "wrong result": SeededFault(
        _seeded("wrong-subpage-in-continue"), ("--probe", "hgm/continue-4k/2M"), "FAIL"
    ),
    "hang in fork": SeededFault(
        _fork("for (;;)\n\t\t\tcpu_relax();"),
        ("--probe", "hgm/fork/2M", "--status", "HANG"),
        "HANG",
    ),
    "crash": SeededFault(
        _fork("BUG();"),
        ("--probe", "hgm/fork/2M", "--signature", "kernel BUG at .*kernel/fork.c"),
        "CRASH",
    ),
    "lockdep splat": SeededFault(
        _seeded("lock-order-in-collapse"),
        (*_SPLAT, "--probe", "hgm/collapse/2M"),
        "circular locking",
    ),
    "build break": SeededFault(_break, ("--about", "build"), "#error deliberate"),
}


def _write(directory: Path, fault: SeededFault) -> int:
    text = synthetic.source_text(STOCK)
    return synthetic.write(directory, text, fault.patch(text), total=TOTAL)


def _found(run: Run) -> dict[str, Any]:
    """Return the result; its cost is in the report, which pytest shows with ``-s``."""
    assert run.code == 0, run.err
    found = json.loads(run.out)
    assert isinstance(found, dict)
    return found


def _took_few_builds(found: dict[str, Any]) -> None:
    # An evaluation is one kernel; `builds` leaves out those that did not compile.
    most = strategy.most_tests(TOTAL) + strategy.MISLED + 2
    assert found["builds"] <= len(found["evaluations"]) <= most


@pytest.mark.parametrize("name", FAULTS)
def test_the_faulty_patch_is_named(hgm: Hgm, tmp_path: Path, name: str) -> None:
    fault = FAULTS[name]
    culprit = _write(tmp_path / "series", fault)
    words = ("--series", f"dir:{tmp_path / 'series'}", "--runs-dir", str(tmp_path / "runs"))
    found = _found(hgm("bisect", *words, *fault.predicate, "--json"))
    assert found["suspects"][0]["id"] == f"{culprit:04}"
    assert fault.evidence in found["evidence"]
    _took_few_builds(found)


#: Faults in the 12th of 40 patches, of which the 30th switches the feature on; and what is put on
#: top of earlier ones to see them.
ENABLED_LATE = {
    "in the feature": (FAULTS["wrong result"], ["0030"]),
    "in fork, by a probe of the feature": (FAULTS["crash"], ["0030"]),
    "in fork": (
        SeededFault(
            _fork("BUG();", "fork_private"), ("--probe", "baseline/fork-private/2M"), "CRASH"
        ),
        [],
    ),
}


@pytest.mark.parametrize("name", ENABLED_LATE)
def test_the_patch_that_switches_the_feature_on_is_not_named(
    hgm: Hgm, tmp_path: Path, name: str
) -> None:
    fault, on_top = ENABLED_LATE[name]
    text = synthetic.source_text(STOCK)
    series = tmp_path / "series"
    synthetic.write_enabled_late(series, text, fault.patch(text), total=40, culprit=12, enabling=30)
    words = ("--series", f"dir:{series}", "--runs-dir", str(tmp_path / "runs"))
    found = _found(hgm("bisect", *words, *fault.predicate, "--json"))
    assert [each["id"] for each in found["suspects"]] == ["0012"]
    assert [each["id"] for each in found["enabling"]] == on_top
    assert fault.evidence in found["evidence"]


def test_the_faulty_commit_is_named(hgm: Hgm, tmp_path: Path) -> None:
    fault = FAULTS["wrong result"]
    culprit = _write(tmp_path / "series", fault)
    repository = _commits(tmp_path / "linux", tmp_path / "series")
    ends = ("--repo", str(repository), "--good", f"HEAD~{TOTAL}", "--bad", "HEAD")
    words = (*ends, "--runs-dir", str(tmp_path / "runs"), *fault.predicate)
    found = _found(hgm("bisect", *words, "--json"))
    names = (tmp_path / "series" / "series").read_text().split()
    assert found["suspects"][0]["name"] == names[culprit - 1]
    _took_few_builds(found)


def test_a_fault_that_shows_in_one_run_of_three_is_named(hgm: Hgm, tmp_path: Path) -> None:
    fault = SeededFault(_seeded("flaky-wrong-subpage"), ("--probe", "hgm/continue-4k/2M"), "FAIL")
    culprit = _write(tmp_path / "series", fault)
    words = ("--series", f"dir:{tmp_path / 'series'}", "--runs-dir", str(tmp_path / "runs"))
    found = _found(hgm("bisect", *words, *fault.predicate, "--confidence", "0.95", "--json"))
    assert found["suspects"][0]["id"] == f"{culprit:04}"
    assert found["confidence"]["reached"] >= 0.95


def _commits(repository: Path, series: Path) -> Path:
    """Make a bare repository whose first commit is the source and whose others are the patches."""
    deadline = Deadline.after(1200, "the source")
    context = Context(Workspace.default(), deadline, Silent())
    found = resolve_request(KernelRequest(source=STOCK, arch=host_arch().name), context=context)
    store = Store.of(context)
    subprocess.run(["git", "init", "-q", "--bare", str(repository)], check=True, timeout=60)
    alternates = repository / "objects" / "info" / "alternates"
    alternates.write_text(f"{store.path / 'objects'}\n")
    git = _Git(repository)
    git("read-tree", found.source.tree)
    commit = git("commit-tree", "-m", "the source", found.source.tree)
    for name in (series / "series").read_text().split():
        git("apply", "--cached", str(series / name))
        commit = git("commit-tree", "-m", name, "-p", commit, git("write-tree"))
    git("update-ref", "refs/heads/master", commit)
    git("symbolic-ref", "HEAD", "refs/heads/master")
    return repository


class _Git:
    """git in a bare repository with an index of its own."""

    def __init__(self, repository: Path) -> None:
        self._environment = {
            "GIT_DIR": str(repository),
            "GIT_INDEX_FILE": str(repository / "scratch-index"),
            "PATH": "/usr/bin:/bin",
            **{f"GIT_{who}_NAME": "nobody" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "nobody@localhost.invalid" for who in ("AUTHOR", "COMMITTER")},
        }

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words],
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        return done.stdout.strip()
