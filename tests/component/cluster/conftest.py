# SPDX-License-Identifier: GPL-2.0-only
import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import command, pipeline
from harness.cluster.inputs import ROOM
from harness.command import Process
from harness.context import Context
from harness.deadline import Deadline
from harness.selfcheck.injection import actions
from tests.component.cluster import fakes

ROOT = Path(__file__).parents[3]

#: Seconds for a process to come up on a busy host.
START_SECONDS = 60.0

#: Seconds for what a killed process leaves to be gone.
_SETTLE_SECONDS = 10.0


class Hosts:
    """Schedulers and workers of a test, each a process with a cache of its own.

    Args:
        directory: for their caches and logs.
        stack: ends them.
    """

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self.directory, self._stack = directory, stack
        #: Where schedulers listen.
        self.listen = "127.0.0.1"
        #: Certificates of all of them; None for connections in the clear.
        self.tls: Path | None = None
        #: The network namespace of each host that has one of its own.
        self.namespaces: dict[str, str] = {}

    def scheduler(self, name: str) -> tuple[Process, str]:
        """Start a scheduler, and return it and its address."""
        words = ("scheduler", "--listen", f"{self.listen}:0", *self._tls())
        process = self.start(name, "-m", "harness.cli", "cluster", *words)
        return process, self.told(name, "tcp://", "tls://")

    def worker(self, name: str, address: str, *options: str, **env: str) -> Process:
        """Start a worker with fake runs, and wait until it is known to its scheduler."""
        words = ("worker", address, "--name", name, "--cores", "2", *self._tls(), *options)
        process = self.start(name, "-m", fakes.__name__, *words, **env)
        self.told(name, "worker ")
        return process

    def client(self, address: str) -> contextlib.AbstractContextManager[Context]:
        """Return the context of a campaign in this process."""
        return fakes.on(address, self.directory, self.tls)

    def _tls(self) -> tuple[str, ...]:
        return () if self.tls is None else ("--tls", str(self.tls))

    def start(self, name: str, *arguments: str, **env: str) -> Process:
        """Start Python with a cache and a log of this name."""
        log = self._stack.enter_context((self.directory / f"{name}.log").open("wb"))
        cache = str(self.cache(name))
        variables = {"HGM_CACHE": cache, "PYTHONPATH": str(ROOT), actions.MARK: cache}
        inside = ("ip", "netns", "exec", self.namespaces[name]) if name in self.namespaces else ()
        argv = (*inside, sys.executable, *arguments)
        started = command.start(argv, env={**variables, **env}, stdout=log, stderr=log)
        return self._stack.enter_context(started)

    def cache(self, name: str) -> Path:
        """Return the cache of a host."""
        return self.directory / f"cache-{name}"

    def guest(self, name: str) -> None:
        """Wait until a host has a guest."""
        found = self.cache(name) / "tmp"
        wait_for(lambda: " ".join(map(str, found.glob("guest.*/initrd"))), f"a guest on {name}")

    def kill_amid(self, name: str, process: Process) -> None:
        """Kill a process as soon as a host has a guest, which lasts till then; do not wait."""

        def strike() -> None:
            stopped = int(wait_for(lambda: self._stop_a_guest(name), f"a guest on {name}"))
            process.kill()
            process.wait(Deadline.after(_SETTLE_SECONDS, "the killed process"))
            with contextlib.suppress(ProcessLookupError):
                os.kill(stopped, signal.SIGCONT)

        threading.Thread(target=strike, daemon=True).start()

    def _stop_a_guest(self, name: str) -> str:
        """Stop one, so that it does not end by itself; return its process ID, empty if none."""
        for pid, program in actions.marked(str(self.cache(name))).items():
            if program == "sleep":  # the guest of `fake_cell`
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                while (state := command.state(pid)) not in "TZX":
                    time.sleep(0.001)
                if state == "T":
                    return str(pid)
        return ""

    def left(self, name: str, serving: Process | None = None, *, files: bool = True) -> list[str]:
        """Return what runs have left on a host: as soon as that is nothing, or after 10 seconds.

        Args:
            name: the host's.
            serving: its worker or scheduler, which belongs there.
            files: whether files count; those of a killed process stay until the next one.
        """
        end = Deadline.after(_SETTLE_SECONDS, "the end of the runs")
        clean = 0  # a process has no environment for a moment when it becomes another program
        while not end.expired() and clean < 2:
            found = list(self._left(name, serving.pid if serving else 0, files=files))
            clean = 0 if found else clean + 1
            time.sleep(0.05)
        return found

    def _left(self, name: str, serving: int, *, files: bool) -> Iterator[str]:
        cache = self.cache(name)
        for pid, program in actions.marked(str(cache)).items():
            if pid != serving:
                yield f"process {program} ({pid})"
        for path in (*cache.glob("locks/*"), *cache.glob(f"{ROOM}/*")):
            handle = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield f"lock {path}"
            finally:
                os.close(handle)
        if files:
            for path in cache.glob("tmp/*"):
                if f".{serving}." not in path.name:
                    yield f"file {path}"

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
    for name in ("begin", "check"):  # put back what `fakes.night` replaces
        monkeypatch.setattr(pipeline, name, getattr(pipeline, name))
    with contextlib.ExitStack() as stack:
        yield Hosts(tmp_path, stack)
