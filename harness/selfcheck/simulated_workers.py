# SPDX-License-Identifier: GPL-2.0-only
"""Many workers of a cluster in one process, whose runs only sleep: for `bench_cluster`.

``python -m harness.selfcheck.simulated_workers ADDRESS COUNT`` runs until its scheduler ends. Only
the guests are simulated: a task sleeps for as many seconds as the release of its kernel says, and
sends back a run directory with a verdict.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time

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

#: More than any task asks for.
_PLENTY = 1e15


def slept(key: str, task: ClusterTask, run_dir: bytes, worker: Worker) -> bytes:
    """Stand in for `harness.cluster.worker.finished`: return the directory of a good run."""
    time.sleep(float(task.guests.made_of.kernel.release))
    record = rundir.parse(archive.member(run_dir, rundir.RESULT), rundir.RESULT)
    ended = msgspec.structs.replace(
        record, verdict="PASS", outcome=Outcome.PROBES_RAN, exit_code=0, reason="as expected"
    )
    return archive.packed_files({rundir.RESULT: (to_json(ended), 0o644)})


async def serve(address: str, count: int) -> None:
    """Run so many workers."""
    settings.apply()
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
