# SPDX-License-Identifier: GPL-2.0-only
"""A worker of a cluster: states what its host has, and runs the guests of runs.

Each run is a process of its own, which ends with the worker, or when no client wants it any more.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from distributed import Worker, get_worker
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.utils import sync

import harness
from harness import cache, command
from harness.cluster import archive, certificates, inputs, needs, settings
from harness.cluster.address import Endpoint, is_loopback
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import HarnessError, InfrastructureError
from harness.progress import Silent
from harness.records.base import from_json, to_json
from harness.records.cluster import ClusterTask, TaskResult
from harness.vm import lease
from harness.workspace import Workspace

#: What the process of a run is started with; its directory and its seconds follow. Tests put a
#: program of theirs here.
PROGRAM = (sys.executable, "-m", "harness.cluster.cell")

#: Seconds beyond the limit of the guests, for a process to end by itself.
_GRACE = 60.0

#: Seconds without its scheduler after which a worker ends.
_SCHEDULER_SECONDS = 60.0

#: A memory dump is read where it was made, and is too large to travel.
_LEFT_BEHIND = frozenset({"vmcore"})

_running: dict[str, command.Process] = {}
#: Keys of tasks that were dropped while they ran, maybe before they had a process.
_dropped: set[str] = set()
_lock = threading.Lock()


class Canceller(WorkerPlugin):
    """Ends the process of a task that is not wanted any more; a client installs it."""

    name = "hgm-canceller"
    idempotent = True

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        """End a task's process if its result would be dropped."""
        if finish in ("cancelled", "released", "forgotten"):
            with _lock:
                process = _running.get(str(key))
                if start == "executing":
                    _dropped.add(str(key))
            if process is not None:
                process.kill()

    def teardown(self, worker: Worker) -> None:
        """End all of them with the worker."""
        with _lock:
            for process in _running.values():
                process.kill()


async def serve(
    scheduler: Endpoint, context: Context, *, name: str = "", cores: int = 0, memory: int = 0
) -> None:
    """Run tasks until the scheduler is gone.

    Args:
        scheduler: where it listens.
        context: cache, deadline, progress.
        name: of this host in messages; its host name by default.
        cores: see `needs.of_host`.
        memory: see there.

    Raises:
        SpecError: if other workers offer all that this host has.
        InfrastructureError: if the scheduler cannot be reached.
    """
    context.workspace.sweep()  # a worker that was killed has left the files of its runs
    settings.apply()
    with contextlib.ExitStack() as stack:
        with context.workspace.lock("offers", context.deadline, context.progress):
            has = needs.of_host(context, cores, memory)
            amounts = int(has[needs.CPUS]), int(has[needs.MEMORY])
            stack.enter_context(lease.held(*amounts, context.workspace, "offer"))
        scratch = stack.enter_context(context.workspace.unfinished("worker"))
        worker = Worker(
            str(scheduler),
            name=name or f"{platform.node()}-{os.getpid()}",
            nthreads=int(has[needs.CPUS]),
            resources=has,
            security=certificates.security(scheduler.tls, "worker"),
            host=scheduler.host if is_loopback(scheduler.host) else None,
            protocol=scheduler.scheme,
            memory_limit=0,
            death_timeout=_SCHEDULER_SECONDS,
            local_directory=str(scratch),
            dashboard_address="127.0.0.1:0",
        )
        try:
            async with worker:
                context.progress.note(f"worker {worker.name} at {worker.address}: {described(has)}")
                await worker.finished()
        except (OSError, TimeoutError) as error:
            raise InfrastructureError(f"no scheduler answers at {scheduler}: {error}") from None


def described(has: Mapping[str, float]) -> str:
    """Return what a host has in a few words."""
    words = [f"{has[needs.CPUS]:g} cores", f"{has[needs.MEMORY] / 2**30:.1f} GiB for guests"]
    words.append(f"{has[needs.DISK] / 2**30:.0f} GiB of disk")
    words.append("KVM" if needs.KVM in has else "no KVM")
    words += [each.removeprefix(needs.ARCH) for each in has if each.startswith(needs.ARCH)]
    return ", ".join(words)


def run_task(key: str, task: bytes, run_dir: bytes) -> tuple[bytes, bytes]:
    """Run the guests of a run in a process of their own.

    Args:
        key: the task's, for its end.
        task: a `ClusterTask` as JSON.
        run_dir: the run's directory as an archive.

    Returns:
        A `TaskResult` as JSON, and the run's directory with what was added to it.
    """
    worker = get_worker()
    told = TaskResult(address=worker.address, host=str(worker.name))
    try:
        return to_json(told), finished(key, from_json(task, ClusterTask), run_dir, worker)
    except (HarnessError, OSError) as error:
        line = error.line() if isinstance(error, HarnessError) else str(error)
        return to_json(msgspec.structs.replace(told, error=line)), b""


def finished(key: str, task: ClusterTask, run_dir: bytes, worker: Worker) -> bytes:
    """Return a run's directory once its guests have run; see `run_task`.

    Raises:
        InfrastructureError: if there is no record of how they ended.
    """
    if task.harness != harness.__version__:
        raise InfrastructureError(
            f"the worker has hgm {harness.__version__}, and the client {task.harness}",
            hint="install the same version on each host",
        )
    limit = Deadline.after(task.seconds + _GRACE, "the process of the run")
    context = Context(Workspace.default(), limit, Silent())

    def read(digest: str, offset: int) -> bytes:
        found: bytes = sync(worker.loop, worker.scheduler.hgm_get, digest=digest, offset=offset)
        return found

    cache.prune(context.workspace, cache.limit(), context.progress, remembered=True)
    homes = inputs.fetched(tuple(task.inputs.values()), read, context)
    located = inputs.located(
        task.guests.made_of, dict(zip(task.inputs, map(str, homes), strict=True))
    )
    guests = msgspec.structs.replace(task.guests, made_of=located)
    with contextlib.ExitStack() as stack:
        for each in homes:
            stack.enter_context(cache.pin(each))
        home = stack.enter_context(context.workspace.unfinished("cell"))
        (home / "run").mkdir()
        archive.unpack(run_dir, home / "run")
        (home / "task.json").write_bytes(to_json(msgspec.structs.replace(task, guests=guests)))
        try:
            _run(key, (*PROGRAM, str(home), str(task.seconds)), limit)
        finally:
            context.workspace.sweep()  # if it was killed, the files of its guests are still there
        return archive.packed(home / "run", _LEFT_BEHIND)


def _run(key: str, argv: Sequence[str], limit: Deadline) -> None:
    """Run a program to its end; `Canceller` may kill it."""
    with command.start(argv, stderr=sys.stderr.buffer) as process:
        with _lock:
            _running[key] = process
            if key in _dropped:
                process.kill()
        try:
            code = process.wait(limit)
        finally:
            with _lock:
                del _running[key]
                _dropped.discard(key)
    if code == 128 + signal.SIGKILL:
        raise InfrastructureError("the process of the run was killed")
    if code != 0:
        raise InfrastructureError(f"the process of the run ended with exit code {code}")
