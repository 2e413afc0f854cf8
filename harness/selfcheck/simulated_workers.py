# SPDX-License-Identifier: GPL-2.0-only
"""Many workers of a cluster in one process, whose runs only sleep: for `bench_cluster`.

``python -m harness.selfcheck.simulated_workers ADDRESS COUNT`` runs until its scheduler ends. Only
the guests are simulated: a task sleeps for as many seconds as the release of its kernel says, and
sends back a run directory with the verdict that the kernel's key says.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time

import dask
import msgspec
from distributed import Worker

from harness.arch import arches
from harness.cluster import archive, needs, settings
from harness.cluster import worker as real
from harness.records.base import to_json
from harness.records.cluster import ClusterTask
from harness.records.outcome import Outcome
from harness.store import rundir
from harness.workspace import Workspace

#: The file in the cache that has a line ``begun PID KEY`` and one ``ended PID KEY`` for each task.
NOTES = "notes"

#: More than any task asks for.
_PLENTY = 1e15

# Each worker samples its own process many times a second: with 256 of them in one process, that
# took a whole CPU.
_UNWATCHED = {
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.admin.system-monitor.interval": "1h",
    "distributed.admin.tick.interval": "1h",
    "distributed.worker.profile.enabled": False,
}


def slept(key: str, task: ClusterTask, run_dir: bytes, worker: Worker) -> bytes:
    """Stand in for `harness.cluster.worker.finished`: return the directory of a run."""
    _note("begun", key)
    time.sleep(float(task.guests.made_of.kernel.release))
    _note("ended", key)
    record = rundir.parse(archive.member(run_dir, rundir.RESULT), rundir.RESULT)
    verdict = task.guests.made_of.kernel.key
    ended = msgspec.structs.replace(
        record,
        verdict=verdict,
        outcome=Outcome.PROBES_RAN,
        exit_code=int(verdict != "PASS"),
        reason="simulated",
    )
    return archive.packed_files({rundir.RESULT: (to_json(ended), 0o644)})


def _note(what: str, key: str) -> None:
    with (Workspace.default().cache / NOTES).open("a") as notes:
        notes.write(f"{what} {os.getpid()} {key}\n")


async def serve(address: str, count: int) -> None:
    """Run so many workers."""
    settings.apply()
    dask.config.set(_UNWATCHED)
    real.finished = slept
    plenty = (needs.MEMORY, needs.DISK, *(f"{needs.ARCH}{name}" for name in arches()))
    has = {needs.CPUS: 1, **dict.fromkeys(plenty, _PLENTY)}
    async with contextlib.AsyncExitStack() as stack:
        scratch = stack.enter_context(Workspace.default().unfinished("worker"))
        workers = [
            Worker(
                address,
                nthreads=1,
                resources=has,
                host="127.0.0.1",
                memory_limit=0,
                local_directory=str(scratch),
                dashboard_address="127.0.0.1:0",
                heartbeat_interval="10s",
                profile_cycle_interval="1h",
            )
            for _ in range(count)
        ]
        for each in workers:
            await stack.enter_async_context(each)
        await asyncio.gather(*(each.finished() for each in workers))


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
