# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck bench cluster`: what a cell of a matrix costs beside its guests.

A real scheduler, a real client, and from 1 to 1,024 workers, many in a process. The runs sleep for
as long as recorded runs took, shortened so that all workers together should take the same time
however many they are. What they take more is the cost of the cluster.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import command
from harness.cluster import client
from harness.cluster.address import endpoint
from harness.command import Process
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import InfrastructureError, SpecError
from harness.records.base import Record, to_json
from harness.records.kernel import ConfigIdentity, Kernel, SeriesIdentity, SourceIdentity
from harness.records.machine import AccelChoice, GuestImage, MachineSpec
from harness.records.outcome import Outcome
from harness.records.run import GuestsRequest, Ingredients, RunRecord
from harness.store import rundir

#: Workers in one process.
_TOGETHER = 256

_START_SECONDS = 600.0


class ClusterCost(Record, frozen=True, kw_only=True):
    """What cells cost with so many workers.

    Attributes:
        workers: how many.
        cells: how many.
        sleep: seconds that each worker has to sleep: all runs, over the workers.
        seconds: wall time from the first cell to the last result.
        scheduler_cpu: CPU seconds of the scheduler.
        client_cpu: CPU seconds of the client.
    """

    workers: int
    cells: int
    sleep: float
    seconds: float
    scheduler_cpu: float
    client_cpu: float

    @property
    def overhead(self) -> float:
        """Return what a cell costs beyond its sleep: milliseconds of wall time."""
        return (self.seconds - self.sleep) / self.cells * 1000


class ClusterBench(Record, frozen=True, kw_only=True):
    """The result.

    Attributes:
        date: of the measurement, UTC.
        host: what it was measured on.
        load: the host's load average before it.
        recorded: how many recorded runs the durations are from.
        median: their median seconds, before they were shortened.
        rows: one for each number of workers.
    """

    date: str
    host: str
    load: float
    recorded: int
    median: float
    rows: tuple[ClusterCost, ...]


def durations(directories: Sequence[Path]) -> tuple[float, ...]:
    """Return the seconds of the guests of recorded runs.

    Raises:
        SpecError: if there are none.
    """
    found = []
    for run_dir in itertools.chain.from_iterable(map(rundir.find_runs, directories)):
        record = rundir.load(run_dir)
        if record.outcome is Outcome.PROBES_RAN:
            found += [stage.seconds for stage in record.stages if stage.name == "guest"]
    if not found:
        raise SpecError(
            "--recorded: no run there has run its probes",
            hint="name a directory in which `hgm run` has put runs",
        )
    return tuple(found)


def measure(
    recorded: Sequence[float],
    workers: Sequence[int],
    cells: int,
    seconds: float,
    context: Context,
) -> ClusterBench:
    """Measure what cells cost.

    Args:
        recorded: seconds of recorded runs.
        workers: numbers of workers.
        cells: how many for each number.
        seconds: how long the workers are to sleep for each number.
        context: cache, deadline, progress.

    Raises:
        InfrastructureError: if a cell is lost or has no verdict.
    """
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    load = os.getloadavg()[0]
    rows = []
    for count in workers:
        context.progress.stage("bench", f"{cells} cells on {count} workers")
        rows.append(_measured(recorded, count, cells, seconds, context))
    ordered = sorted(recorded)
    return ClusterBench(
        date=date,
        host=f"{os.cpu_count()} cores, Python {platform.python_version()}",
        load=round(load, 1),
        recorded=len(recorded),
        median=round(ordered[len(ordered) // 2], 1),
        rows=tuple(rows),
    )


def _measured(
    recorded: Sequence[float], workers: int, cells: int, seconds: float, context: Context
) -> ClusterCost:
    wanted = list(itertools.islice(itertools.cycle(recorded), cells))
    factor = seconds * workers / sum(wanted)
    with tempfile.TemporaryDirectory(prefix="hgm-cluster-") as name:
        home = Path(name)
        with _cluster(home, workers, context) as (scheduler, found):
            runs = _runs(home, [each * factor for each in wanted])
            before, cpu, own = time.monotonic(), _cpu(scheduler), _own_cpu()
            _run_all(found, runs, context)
            took = time.monotonic() - before
            used, mine = _cpu(scheduler) - cpu, _own_cpu() - own
    return ClusterCost(
        workers=workers,
        cells=cells,
        sleep=round(seconds, 3),
        seconds=round(took, 3),
        scheduler_cpu=round(used, 2),
        client_cpu=round(mine, 2),
    )


@contextlib.contextmanager
def _cluster(
    home: Path, workers: int, context: Context
) -> Iterator[tuple[Process, client.DaskCluster]]:
    """Yield the scheduler's process and a client of it, once it has all workers."""
    env = {"HGM_CACHE": str(home / "cache")}
    log = home / "log"
    limit = context.deadline.within(_START_SECONDS, "the start of the workers")
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))

        def start(*words: str) -> Process:
            argv = (sys.executable, "-m", *words)
            return stack.enter_context(command.start(argv, env=env, stdout=output, stderr=output))

        scheduler = start("harness.cli", "cluster", "scheduler", "--listen", "127.0.0.1:0")
        address = _told(log, limit)
        for first in range(0, workers, _TOGETHER):
            count = min(_TOGETHER, workers - first)
            start("harness.selfcheck.simulated_workers", address, str(count))
        found = stack.enter_context(client.connected(endpoint(address, None), context.progress))
        while len(list(found.workers())) < workers:
            limit.check()
            time.sleep(1)
        yield scheduler, found


def _told(log: Path, limit: Deadline) -> str:
    """Return the address that the scheduler has printed."""
    while not (lines := log.read_text().splitlines()):
        limit.check()
        time.sleep(0.1)
    if not lines[0].startswith("tcp://"):
        raise InfrastructureError(f"the scheduler did not start: {lines[0]}")
    return lines[0]


def _runs(home: Path, seconds: Sequence[float]) -> list[tuple[Path, GuestsRequest]]:
    """Make the directories of runs whose guests take so long."""
    (home / "parts").mkdir()
    for name in ("kernel", "manifest.json"):
        (home / "parts" / name).write_text(name)
    runs = []
    for number, each in enumerate(seconds):
        run_dir = home / "runs" / f"{number:05}"
        run_dir.mkdir(parents=True)
        (run_dir / rundir.RESULT).write_bytes(to_json(RunRecord(run_dir=str(run_dir))))
        runs.append((run_dir, _guests(home / "parts", each)))
    return runs


def _guests(parts: Path, seconds: float) -> GuestsRequest:
    kernel = Kernel(
        key="simulated",
        release=f"{seconds:.6f}",
        image=str(parts / "kernel"),
        source=SourceIdentity(spec="simulated", kind="tree", origin=""),
        series=SeriesIdentity(spec="none"),
        configuration=ConfigIdentity(),
    )
    image = GuestImage(key="", initramfs="", disk="", manifest=str(parts / "manifest.json"))
    return GuestsRequest(
        made_of=Ingredients(
            kernel=kernel,
            image=image,
            machine=MachineSpec(hugepages=(), memory=1 << 30, cpus=1),
            accel=AccelChoice(name="tcg", reason="", cpu=""),
            specs=(),
            programs={},
            digests={},
        ),
        accel="tcg",
    )


def _run_all(
    cluster: client.DaskCluster, runs: Sequence[tuple[Path, GuestsRequest]], context: Context
) -> None:
    """Have all runs run, and check that each has exactly one result and a right one."""
    left, away, done = iter(runs), set[Path](), set[Path]()
    while len(done) < len(runs):
        for run_dir, guests in itertools.islice(left, max(0, cluster.places() - len(away))):
            cluster.submit(run_dir, guests, _START_SECONDS)
            away.add(run_dir)
        for run_dir, result in cluster.ended(away, context.deadline).items():
            if not isinstance(result, RunRecord) or result.verdict != "PASS" or run_dir in done:
                raise InfrastructureError(f"{run_dir.name} has no right verdict: {result}")
            away.remove(run_dir)
            done.add(run_dir)


def _cpu(process: Process) -> float:
    """Return the CPU seconds that a process has used (proc_pid_stat(5))."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def table(found: ClusterBench) -> str:
    """Return the result as a Markdown table."""
    lines = [
        "| workers | cells | sleep, s | wall, s | overhead a cell, ms | scheduler, CPU ms a cell "
        "| client, CPU ms a cell |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.workers:,} | {row.cells:,} | {row.sleep:.1f} | {row.seconds:.1f} | "
        f"{row.overhead:.1f} | {row.scheduler_cpu / row.cells * 1000:.1f} | "
        f"{row.client_cpu / row.cells * 1000:.1f} |"
        for row in found.rows
    ]
    return "\n".join(lines) + "\n"


def text(found: ClusterBench) -> str:
    """Return the result in lines for a terminal or a page."""
    return (
        f"{found.date}, {found.host}, load {found.load}; durations of {found.recorded} recorded "
        f"runs (median {found.median} s), shortened\n\n{table(found)}"
    )
