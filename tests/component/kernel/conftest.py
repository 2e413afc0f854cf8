# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.context import Context
from harness.deadline import Deadline
from harness.kernel.obtain import KernelRequest, obtain
from harness.progress import Silent
from harness.records.kernel import Kernel
from harness.workspace import Workspace

MAKEFILE = "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 7\nEXTRAVERSION =\n"
KCONFIG = """\
config MODULES
\tbool "Modules"
\tmodules

config X86_MCE
\tbool "Machine checks"

config MEMORY_FAILURE
\tbool "Memory failure"
\tdepends on X86_MCE

config PROMPT
\tbool
"""
HUGETLB = "".join(f"int line_{number};\n" for number in range(1, 41))


def run(*argv: str, cwd: Path) -> str:
    """Run a program of the test's own and return what it printed."""
    done = subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A tree of a few files that looks like a kernel's, not under git."""
    tree = tmp_path / "linux"
    for name, text in {
        "Makefile": MAKEFILE,
        "Kconfig": KCONFIG,
        "mm/hugetlb.c": HUGETLB,
        "mm/other.c": "int other;\n",
        "scripts/run.sh": "#!/bin/sh\n",
        ".gitignore": ".*\n*.o\n!.gitignore\n/vmlinux\n",
    }.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    (tree / "scripts/run.sh").chmod(0o755)
    (tree / "mm/link.c").symlink_to("other.c")
    return tree


@pytest.fixture
def repository(toy: Path) -> Path:
    """The toy tree as a git checkout with one commit, tagged v1."""
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main")
    run(*git, "init", "-q", cwd=toy)
    run(*git, "add", "-A", cwd=toy)
    run(*git, "commit", "-q", "-m", "one", cwd=toy)
    run(*git, "tag", "v1", cwd=toy)
    return toy


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A cache of the test's own and a minute."""
    return Context(Workspace(tmp_path / "cache"), Deadline.after(60, "the test"), Silent())


@pytest.fixture
def make_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the fake make in front of PATH and return the file that lists its calls."""
    programs = tmp_path / "programs"
    programs.mkdir()
    script = programs / "make"
    shutil.copy(Path(__file__).with_name("fake_make.py"), script)
    text = script.read_text().replace("#!/usr/bin/env python3", f"#!{sys.executable}", 1)
    script.write_text(text)
    script.chmod(0o755)
    log = tmp_path / "make.calls"
    log.touch()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_MAKE_LOG", str(log))
    monkeypatch.setenv("FAKE_MAKE_REFUSES", "HUGETLB_HIGH_GRANULARITY_MAPPING")
    return log


Obtain = Callable[..., Kernel]


@pytest.fixture
def get(context: Context, make_log: Path, tmp_path: Path) -> Obtain:
    """`obtain` with the test's cache and the fake make."""

    def call(source: str, series: str = "none", *features: str, arch: str = "x86_64") -> Kernel:
        return obtain(
            KernelRequest(source=source, series=series, features=features, arch=arch),
            context=context,
            build_log=tmp_path / "build.log",
        )

    return call


def picture(tree: Path) -> dict[str, tuple[int, int, int]]:
    """Return mode, size and time of everything in a directory, to compare before and after."""
    found = {}
    for path in [tree, *sorted(tree.rglob("*"))]:
        stat = path.lstat()
        found[str(path)] = (stat.st_mode, stat.st_size, stat.st_mtime_ns)
    return found


def unfinished(workspace: Workspace) -> list[Path]:
    """Return what a run left half-done in the cache."""
    return list((workspace.cache / "tmp").iterdir()) if (workspace.cache / "tmp").exists() else []
