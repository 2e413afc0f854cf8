# SPDX-License-Identifier: GPL-2.0-only
"""The probes, built once for all workers of a test run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import command
from harness.command import Completed
from harness.deadline import Deadline
from harness.probes import catalog

Make = Callable[..., Completed]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return how to run make in ``probes``, one at a time, into a directory by its name."""
    shared = _shared(tmp_path_factory)

    def run(*arguments: str, output: str = "host", ok: tuple[int, ...] | None = (0,)) -> Completed:
        argv = ["make", "-j2", "-C", str(catalog.PROBES), f"OUTPUT={shared / output}"]
        with (shared / "make.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return command.run(
                [*argv, "CFLAGS=-Werror", *arguments], Deadline.after(900, "make"), ok=ok
            )

    return run


@pytest.fixture(scope="session")
def programs(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory with this machine's binaries."""
    make()
    return _shared(tmp_path_factory) / "host"


def _shared(factory: pytest.TempPathFactory) -> Path:
    """Return this test run's directory, which all of its workers see."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
