# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck bench cluster`: what a cell of a matrix costs beside its guests.

A real scheduler, a real client, and from 1 to 1,024 workers, many in a process. The runs sleep for
as long as recorded runs took, shortened so that all workers together should take the same time
however many they are. What they take more is the cost of the cluster. Then a process with more
workers joins, the cells run again, and that process is killed: each cell must get its own verdict.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import os
import platform
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import command
from harness.cluster import client
from harness.cluster.address import endpoint
from harness.command import Process
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import HarnessError, InfrastructureError, SpecError
from harness.records.base import Record, to_json
from harness.records.kernel import ConfigIdentity, Kernel, SeriesIdentity, SourceIdentity
from harness.records.machine import AccelChoice, GuestImage, MachineSpec
from harness.records.outcome import Outcome
from harness.records.run import GuestsRequest, Ingredients, RunRecord
from harness.selfcheck import scheduler
from harness.selfcheck.simulated_workers import NOTES
from harness.store import rundir

#: Workers in one process.
_TOGETHER = 256

#: Of so many workers one is killed.
_KILLED = 8

#: The verdicts that the cells are to get, in turn.
_VERDICTS = ("PASS", "PASS", "FAIL")

_START_SECONDS = 600.0

_Run = tuple[Path, GuestsRequest]
_Result = RunRecord | HarnessError


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


class WorkerLoss(Record, frozen=True, kw_only=True):
    """What became of cells when a process with workers was killed.

    Attributes:
        workers: how many there were at first.
        killed: how many of them were killed, once a third of the cells had a result.
        cells: how many.
        again: runs that were begun because an earlier one of the same cell was lost.
        once: cells that got one verdict, and not two or none.
        wrong: cells that got a verdict that is not theirs.
        seconds: wall time from the first cell to the last result.
    """

    workers: int
    killed: int
    cells: int
    again: int
    once: int
    wrong: int
    seconds: float

    @property
    def right(self) -> bool:
        """Return whether each cell got one verdict, and its own, although a run was lost."""
        return self.once == self.cells and self.wrong == 0 and self.again > 0


class ClusterBench(Record, frozen=True, kw_only=True):
    """The result.

    Attributes:
        date: of the measurement, UTC.
        host: what it was measured on.
        load: the host's load average before it.
        recorded: how many recorded runs the durations are from.
        median: their median seconds, before they were shortened.
        rows: one for each number of workers.
        losses: likewise, of which some were killed.
    """

    date: str
    host: str
    load: float
    recorded: int
    median: float
    rows: tuple[ClusterCost, ...]
    losses: tuple[WorkerLoss, ...]


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
    """Measure what cells cost, and see what becomes of them when workers are killed.

    Args:
        recorded: seconds of recorded runs.
        workers: numbers of workers.
        cells: how many for each number.
        seconds: how long the workers are to sleep for each number.
        context: cache, deadline, progress.

    Raises:
        InfrastructureError: if a cell does not have its own verdict although no worker was killed.
    """
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    load = os.getloadavg()[0]
    measured = [_measured(recorded, count, cells, seconds, context) for count in workers]
    ordered = sorted(recorded)
    return ClusterBench(
        date=date,
        host=f"{os.cpu_count()} cores, Python {platform.python_version()}",
        load=round(load, 1),
        recorded=len(recorded),
        median=round(ordered[len(ordered) // 2], 1),
        rows=tuple(cost for cost, _ in measured),
        losses=tuple(loss for _, loss in measured),
    )


@dataclass(frozen=True)
class _Simulation:
    """A scheduler with simulated workers.

    Attributes:
        scheduler: its process.
        client: connected to it.
        add: starts a process with so many more workers.
        notes: the file in which they note the tasks that they begin and end.
    """

    scheduler: Process
    client: client.DaskCluster
    add: Callable[[int], Process]
    notes: Path

    def wait(self, workers: int, limit: Deadline) -> None:
        """Wait until there are so many workers."""
        while len(list(self.client.workers())) < workers:
            limit.check()
            time.sleep(1)


def _measured(
    recorded: Sequence[float], workers: int, cells: int, seconds: float, context: Context
) -> tuple[ClusterCost, WorkerLoss]:
    wanted = list(itertools.islice(itertools.cycle(recorded), cells))
    shortened = [each * seconds * workers / sum(wanted) for each in wanted]
    with tempfile.TemporaryDirectory(prefix="hgm-cluster-") as name:
        home = Path(name)
        with _cluster(home, context) as found:
            limit = context.deadline.within(_START_SECONDS, "the start of the workers")
            for first in range(0, workers, _TOGETHER):
                found.add(min(_TOGETHER, workers - first))
            found.wait(workers, limit)
            context.progress.stage("bench", f"{cells} cells on {workers} workers")
            cost = _cost(found, _runs(home / "timed", shortened), workers, seconds, context)
            more = -(-workers // _KILLED)
            lost = found.add(more)
            found.wait(workers + more, limit)
            context.progress.stage("bench", f"{cells} cells, and {more} more workers are killed")
            runs = _runs(home / "killed", shortened)
            return cost, _loss(found, runs, (workers, more), lost, context)


def _cost(
    found: _Simulation, runs: Sequence[_Run], workers: int, sleep: float, context: Context
) -> ClusterCost:
    before, cpu, own = time.monotonic(), _cpu(found.scheduler), _own_cpu()
    results = _run_all(found.client, runs, context)
    took = time.monotonic() - before
    used, mine = _cpu(found.scheduler) - cpu, _own_cpu() - own
    for run_dir, guests in runs:
        if [_verdict(each) for each in results[run_dir]] != [_expected(guests)]:
            raise InfrastructureError(
                f"{run_dir.name} does not have its own verdict: {results[run_dir]}"
            )
    return ClusterCost(
        workers=workers,
        cells=len(runs),
        sleep=round(sleep, 3),
        seconds=round(took, 3),
        scheduler_cpu=round(used, 2),
        client_cpu=round(mine, 2),
    )


def _loss(
    found: _Simulation,
    runs: Sequence[_Run],
    workers: tuple[int, int],
    lost: Process,
    context: Context,
) -> WorkerLoss:
    earlier, before = _noted(found.notes, "begun"), time.monotonic()

    def kill(ended: int) -> None:
        if ended < len(runs) // 3 or lost.poll() is not None:
            return
        os.killpg(lost.pid, signal.SIGSTOP)  # so that what it has begun is not ended meanwhile
        while command.state(lost.pid) not in "TZX":
            time.sleep(0.001)
        begun = _noted(found.notes, f"begun {lost.pid}")
        if begun != _noted(found.notes, f"ended {lost.pid}"):
            lost.kill()
        else:
            os.killpg(lost.pid, signal.SIGCONT)

    results = _run_all(found.client, runs, context, kill)
    again = _noted(found.notes, "begun") - earlier - len(runs)
    once, wrong = tally(runs, results)
    return WorkerLoss(
        workers=sum(workers),
        killed=workers[1],
        cells=len(runs),
        again=again,
        once=once,
        wrong=wrong,
        seconds=round(time.monotonic() - before, 3),
    )


def tally(runs: Sequence[_Run], results: Mapping[Path, Sequence[_Result]]) -> tuple[int, int]:
    """Return how many cells got exactly one verdict, and how many one that is not theirs.

    Args:
        runs: the cells, and what they were asked.
        results: all that came back, by the run's directory.
    """
    once = wrong = 0
    for run_dir, guests in runs:
        records = [each for each in results[run_dir] if isinstance(each, RunRecord)]
        once += len(records) == 1
        own = (_expected(guests), str(run_dir))
        wrong += any((each.verdict, each.run_dir) != own for each in records)
    return once, wrong


def _verdict(result: _Result) -> str:
    return result.verdict if isinstance(result, RunRecord) else result.line()


def _expected(guests: GuestsRequest) -> str:
    """Return the verdict that a simulated worker gives."""
    return guests.made_of.kernel.key


def _noted(notes: Path, what: str) -> int:
    """Return how many notes of the workers have such words."""
    return notes.read_text().count(f"{what} ")


@contextlib.contextmanager
def _cluster(home: Path, context: Context) -> Iterator[_Simulation]:
    """Yield a scheduler without workers, and a client of it."""
    env = {"HGM_CACHE": str(home / "cache")}
    log = home / "log"
    limit = context.deadline.within(_START_SECONDS, "the start of the scheduler")
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))

        def start(*words: str) -> Process:
            argv = (sys.executable, "-m", *words)
            return stack.enter_context(command.start(argv, env=env, stdout=output, stderr=output))

        def add(count: int) -> Process:
            return start("harness.selfcheck.simulated_workers", address, str(count))

        process = start("harness.cli", "cluster", "scheduler", "--listen", "127.0.0.1:0")
        address = scheduler.address(process, log, limit)
        found = stack.enter_context(client.connected(endpoint(address, None), context.progress))
        yield _Simulation(process, found, add, home / "cache" / NOTES)


def _runs(home: Path, seconds: Sequence[float]) -> list[_Run]:
    """Make the directories of runs whose guests take so long."""
    (home / "parts").mkdir(parents=True)
    for name in ("kernel", "manifest.json"):
        (home / "parts" / name).write_text(name)
    runs = []
    for number, (each, verdict) in enumerate(zip(seconds, itertools.cycle(_VERDICTS))):
        run_dir = home / "runs" / f"{number:05}"
        run_dir.mkdir(parents=True)
        (run_dir / rundir.RESULT).write_bytes(to_json(RunRecord(run_dir=str(run_dir))))
        runs.append((run_dir, _guests(home / "parts", each, verdict)))
    return runs


def _guests(parts: Path, seconds: float, verdict: str) -> GuestsRequest:
    kernel = Kernel(
        key=verdict,
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
    cluster: client.DaskCluster,
    runs: Sequence[_Run],
    context: Context,
    look: Callable[[int], None] = lambda ended: None,
) -> Mapping[Path, Sequence[_Result]]:
    """Have all runs run, and return the results of each: one, if all is well.

    Args:
        cluster: runs them.
        runs: each with its directory.
        context: cache, deadline, progress.
        look: is told how many have ended, whenever some have.
    """
    left, away = iter(runs), set[Path]()
    results: dict[Path, list[_Result]] = {run_dir: [] for run_dir, _ in runs}
    ended = 0
    while ended < len(runs):
        for run_dir, guests in itertools.islice(left, max(0, cluster.places() - len(away))):
            cluster.submit(run_dir, guests, _START_SECONDS)
            away.add(run_dir)
        for run_dir, result in cluster.ended(results.keys(), context.deadline).items():
            ended += run_dir in away
            away.discard(run_dir)
            results[run_dir].append(result)
        look(ended)
    return results


def _cpu(process: Process) -> float:
    """Return the CPU seconds that a process has used (proc_pid_stat(5))."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def table(found: ClusterBench) -> str:
    """Return the result as Markdown tables."""
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
    lines += [
        "",
        "Then so many more workers in one process, which was killed in the middle of its runs "
        "once a third of the cells had a result:",
        "",
        "| workers | killed | cells | runs begun again | one verdict | wrong | wall, s |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.workers:,} | {row.killed:,} | {row.cells:,} | {row.again:,} | {row.once:,} | "
        f"{row.wrong:,} | {row.seconds:.1f} |"
        for row in found.losses
    ]
    return "\n".join(lines) + "\n"


def text(found: ClusterBench) -> str:
    """Return the result in lines for a terminal or a page."""
    return (
        f"{found.date}, {found.host}, load {found.load}; durations of {found.recorded} recorded "
        f"runs (median {found.median} s), shortened\n\n{table(found)}"
    )
