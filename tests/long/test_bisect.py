# SPDX-License-Identifier: GPL-2.0-only
"""Thirty-one patches over a real kernel, a fault in one of them, and the culprit named.

Half an hour on two cores: `hgm test long` runs it; CI does not.
"""

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.deadline import Deadline
from harness.kernel.git import Store
from harness.kernel.obtain import KernelRequest, ingredients
from harness.progress import Silent
from harness.workspace import Workspace
from tests.kernel import synthetic
from tests.kernel.conftest import STOCK, Run, hgm

__all__ = ["hgm"]

Hgm = Callable[..., Run]

TOTAL = 31

#: Kind of fault: what is in the patch, and what is asked.
KINDS: dict[str, tuple[Path | str, tuple[str, ...]]] = {
    "build break": ("#error deliberate", ("--about", "build")),
}


def _write(directory: Path, fault: Path | str) -> int:
    return synthetic.write(directory, synthetic.source_text(STOCK), fault, total=TOTAL)


def _answer(run: Run) -> dict[str, Any]:
    found = json.loads(run.out)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_faulty_patch_is_named(hgm: Hgm, tmp_path: Path, kind: str) -> None:
    fault, question = KINDS[kind]
    culprit = _write(tmp_path / "series", fault)
    words = ("--series", f"dir:{tmp_path / 'series'}", "--runs-dir", str(tmp_path / "runs"))
    run = hgm("bisect", *words, *question, "--json")
    assert run.code == 0, run.err
    found = _answer(run)
    assert found["suspects"][0]["point"] == f"{culprit:04}"
    assert found["builds"] <= math.ceil(math.log2(TOTAL)) + 2


def test_the_faulty_commit_is_named(hgm: Hgm, tmp_path: Path) -> None:
    fault, question = KINDS["build break"]
    culprit = _write(tmp_path / "series", fault)
    repository = _commits(tmp_path / "linux", tmp_path / "series")
    ends = ("--repo", str(repository), "--good", f"HEAD~{TOTAL}", "--bad", "HEAD")
    run = hgm("bisect", *ends, "--runs-dir", str(tmp_path / "runs"), *question, "--json")
    assert run.code == 0, run.err
    found = _answer(run)
    names = (tmp_path / "series" / "series").read_text().split()
    assert found["suspects"][0]["name"] == names[culprit - 1]
    assert found["builds"] <= math.ceil(math.log2(TOTAL)) + 2


def _commits(repository: Path, series: Path) -> Path:
    """Make a bare repository whose first commit is the source and whose others are the patches."""
    workspace, deadline = Workspace.default(), Deadline.after(1200, "the source")
    found = ingredients(
        KernelRequest(source=STOCK), workspace=workspace, deadline=deadline, progress=Silent()
    )
    store = Store.of(workspace, deadline)
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
