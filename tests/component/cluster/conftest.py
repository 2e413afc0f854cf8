# SPDX-License-Identifier: GPL-2.0-only
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import command
from harness.command import Process
from harness.deadline import Deadline

ROOT = Path(__file__).parents[3]

#: Seconds for a process to come up on a busy host.
START_SECONDS = 60.0


class Hosts:
    """Schedulers and workers of a test, each a process with a cache of its own.

    Args:
        directory: for their caches and logs.
        stack: ends them.
    """

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self.directory, self._stack = directory, stack

    def scheduler(self, name: str, *options: str) -> tuple[Process, str]:
        """Start a scheduler, and return it and its address."""
        process = self.start(name, "-m", "harness.cli", "cluster", "scheduler", *options)
        return process, self.told(name, "tcp://", "tls://")

    def worker(self, name: str, address: str, *options: str, **env: str) -> Process:
        """Start a worker with fake runs, and wait until it is known to its scheduler."""
        words = ("worker", address, "--name", name, "--cores", "2", *options)
        process = self.start(name, "-m", "tests.component.cluster.fakes", *words, **env)
        self.told(name, "worker ")
        return process

    def start(self, name: str, *arguments: str, **env: str) -> Process:
        """Start Python with a cache and a log of this name."""
        log = self._stack.enter_context((self.directory / f"{name}.log").open("wb"))
        variables = {"HGM_CACHE": str(self.directory / f"cache-{name}"), "PYTHONPATH": str(ROOT)}
        argv = (sys.executable, *arguments)
        started = command.start(argv, env={**variables, **env}, stdout=log, stderr=log)
        return self._stack.enter_context(started)

    def told(self, name: str, *words: str) -> str:
        """Return the first line of a log with one of these words, as soon as it is there."""

        def found() -> str:
            lines = (self.directory / f"{name}.log").read_text().splitlines()
            return next((line for line in lines if any(word in line for word in words)), "")

        return wait_for(found, f"{words} in the log of {name}")


def wait_for(condition: Callable[[], str], what: str, seconds: float = START_SECONDS) -> str:
    """Return what a condition says as soon as it is something."""
    deadline = Deadline.after(seconds, what)
    while not (said := condition()):
        deadline.check()
        time.sleep(0.05)
    return said


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    monkeypatch.setenv("HGM_STORE", str(tmp_path / "history.db"))
    with contextlib.ExitStack() as stack:
        yield Hosts(tmp_path, stack)
