# SPDX-License-Identifier: GPL-2.0-only
"""The client of a cluster: gives away the guests of runs, and takes back their directories."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import secrets
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from distributed import Client, Future, KilledWorker

import harness
from harness.cluster import archive, certificates, inputs, needs, settings
from harness.cluster.address import Endpoint
from harness.cluster.inputs import InputStore
from harness.cluster.worker import Canceller, run_task
from harness.deadline import Deadline
from harness.errors import INTERNAL, HarnessError, InfrastructureError
from harness.progress import Progress
from harness.records.base import from_json, to_json
from harness.records.cluster import ClusterTask, TaskResult
from harness.records.outcome import Outcome
from harness.records.run import GuestsRequest, RunRecord
from harness.report import columns
from harness.store import rundir

#: How often a worker may fail with a task, and how many workers.
TRIES, HOSTS = 2, 2

#: Runs that wait for a place, so that none stays empty while the next kernel is built.
_WAITING = 2

#: Seconds after which it is looked whether the workers are still the same.
_LOOK_SECONDS = 2.0

_CONNECT_SECONDS = 20.0

#: One try of a task: a `TaskResult`, and the run's directory.
_Try = Future[tuple[bytes, bytes]]


@dataclass
class _Away:
    """A run that is with the cluster.

    Attributes:
        task: what is run.
        needs: of a worker.
        expected: seconds that it will take.
        future: Dask's, of the latest try.
        failures: how often each worker failed with it, by address.
        only: the workers that may run it; empty for all.
        failed: how each try failed, in a line.
    """

    task: ClusterTask
    needs: dict[str, float]
    expected: float
    future: _Try | None = None
    failures: Counter[str] = field(default_factory=Counter)
    only: frozenset[str] = frozenset()
    failed: list[str] = field(default_factory=list)


class DaskCluster:
    """The workers of a scheduler; `harness.context.Cluster` says what it does.

    Args:
        client: connected to the scheduler.
        endpoint: where that listens, for messages.
        progress: is told what became of hosts.
    """

    def __init__(self, client: Client, endpoint: Endpoint, progress: Progress) -> None:
        self._client, self._endpoint, self._progress = client, endpoint, progress
        self._away: dict[Path, _Away] = {}
        self._ended: queue.SimpleQueue[tuple[Path, _Try]] = queue.SimpleQueue()
        self._archives: dict[Path, str] = {}
        self._given: set[str] = set()
        self._known: Mapping[str, Mapping[str, Any]] = {}
        self._looked = -_LOOK_SECONDS
        #: Addresses of workers that get no more tasks: they failed twice with one that another did.
        self.marked: set[str] = set()
        self._alone = False

    def places(self) -> int:
        """Return how many runs to have under way."""
        cores = (int(each["resources"].get(needs.CPUS, 0)) for each in self._workers().values())
        return sum(max(1, count // 2) for count in cores) + _WAITING

    def submit(
        self, run_dir: Path, wanted: GuestsRequest, seconds: float, expected: float = 0.0
    ) -> None:
        """Have a worker run the guests of a run; see `harness.context.Cluster`.

        Raises:
            InfrastructureError: if no worker has what it needs, or the scheduler is gone.
        """
        wants = needs.of_task(wanted)
        workers = self._workers()
        short = needs.lacking(wants, workers)
        if short:
            raise InfrastructureError(
                f"no worker of {self._endpoint} has what the guests need: {short}",
                hint="`hgm cluster status` shows what they have",
            )
        with self._explained():
            digests = self._give(inputs.roots(wanted.made_of))
            task = ClusterTask(
                harness=harness.__version__, guests=wanted, inputs=digests, seconds=seconds
            )
            only = _able(wants, workers) if self.marked else frozenset()
            self._away[run_dir] = _Away(task, wants, expected, only=only)
            self._send(run_dir)

    def ended(
        self, run_dirs: Collection[Path], deadline: Deadline
    ) -> Mapping[Path, RunRecord | HarnessError]:
        """Return runs of these that have ended; see `harness.context.Cluster`."""
        deadline.check()
        self._look()
        found: dict[Path, RunRecord | HarnessError] = {}
        later: list[tuple[Path, _Try]] = []
        with contextlib.suppress(queue.Empty):
            path, future = self._ended.get(timeout=min(_LOOK_SECONDS, deadline.remaining()))
            while True:
                if path in run_dirs:
                    self._settle(path, future, found)
                elif path in self._away:
                    later.append((path, future))
                path, future = self._ended.get_nowait()
        for each in later:
            self._ended.put(each)
        return found

    def cancel(self, run_dirs: Collection[Path]) -> None:
        """Have runs ended; what they did is lost."""
        futures = [self._away.pop(path).future for path in run_dirs if path in self._away]
        with contextlib.suppress(Exception):  # the scheduler may be gone, and so are they
            self._client.cancel([each for each in futures if each is not None], force=True)

    def workers(self) -> Iterator[tuple[str, Mapping[str, float]]]:
        """Yield the name of each worker and what it has."""
        for each in self._workers().values():
            yield str(each["name"]), each["resources"]

    def _workers(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what is known of each worker that can run tasks of ours, by address.

        Raises:
            InfrastructureError: if the scheduler is gone.
        """
        if self._client.status != "running":
            raise self._gone()
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            with self._explained():
                found = self._client.scheduler_info()["workers"]
            self._known = {
                address: each for address, each in found.items() if needs.CPUS in each["resources"]
            }
            self._looked = time.monotonic()
        if not self.marked:
            return self._known
        return {at: each for at, each in self._known.items() if at not in self.marked}

    def _give(self, roots: Collection[Path]) -> dict[str, str]:
        """Have the scheduler keep inputs, unless it has them, and return the hash of each."""
        for root in roots:
            if root not in self._archives:
                self._archives[root] = hashlib.sha256(inputs.packed(root)).hexdigest()
        digests = {str(root): self._archives[root] for root in roots}
        unsure = set(digests.values()) - self._given
        lacking = self._ask("hgm_lacking", digests=sorted(unsure)) if unsure else ()
        for root in roots:
            if self._archives[root] in lacking:
                self._put(root)
        self._given |= unsure
        return digests

    def _put(self, root: Path) -> None:
        digest, sender = self._archives[root], secrets.token_hex(8)
        for data, last in inputs.pieces(inputs.packed(root)):
            if not self._ask("hgm_put", digest=digest, sender=sender, data=data, last=last):
                raise InfrastructureError(f"{root} changed while it was being sent")

    def _ask(self, what: str, **arguments: Any) -> Any:
        return self._client.sync(getattr(self._client.scheduler, what), **arguments)

    def _send(self, run_dir: Path) -> None:
        """Submit a run's task, for the first time or again."""
        away = self._away[run_dir]
        key = f"hgm-{run_dir.name}-{secrets.token_hex(4)}"
        future = self._client.submit(
            run_task,
            key,
            to_json(away.task),
            archive.packed(run_dir),
            key=key,
            resources=away.needs,
            workers=sorted(away.only) or None,
            priority=int(away.expected),
            pure=False,
        )
        away.future = future
        future.add_done_callback(lambda done: self._ended.put((run_dir, done)))

    def _settle(
        self, path: Path, future: _Try, found: dict[Path, RunRecord | HarnessError]
    ) -> None:
        """Take the result of a try: the run's, or the reason for another try."""
        away = self._away[path]
        if future is not away.future:
            return  # of a try that was given up
        if future.cancelled():
            raise self._gone()
        told, files = self._result(future)
        if told.error:
            if not self._again(path, away, told, told.error):
                found[path] = InfrastructureError(f"worker {told.host}: {told.error}")
            return
        record = rundir.parse(archive.member(files, rundir.RESULT), path / rundir.RESULT)
        failed = record.outcome is Outcome.INFRASTRUCTURE
        if failed and self._again(path, away, told, record.reason):
            return
        if not failed:
            self._mark(away)
        self._away.pop(path, None)
        # The record and the ingredients that lie there name files of this host.
        archive.unpack(files, path, skip={rundir.RESULT, rundir.INGREDIENTS})
        notes = (*record.notes, f"its guests ran on {told.host}", *away.failed)
        found[path] = msgspec.structs.replace(record, notes=notes)

    def _result(self, future: _Try) -> tuple[TaskResult, bytes]:
        """Return what a worker told, and the files of the run's directory."""
        try:
            result, files = future.result()
            return from_json(result, TaskResult), files
        except KilledWorker as error:
            last = error.last_worker
            why = f"{error.allowed_failures + 1} workers were lost with it"
            return TaskResult(address=last.address, host=str(last.name), error=why), b""
        except Exception as error:  # noqa: BLE001 - raised by Dask, or unpickled from a worker
            why = f"{INTERNAL}: {error!r}"
            return TaskResult(address="", host="of the cluster", error=why), b""

    def _again(self, path: Path, away: _Away, told: TaskResult, why: str) -> bool:
        """Have a failed task tried again: by the same worker, then by another, twice each.

        Returns:
            Whether it is; else it is with the cluster no more.
        """
        self._looked = -_LOOK_SECONDS  # it may be gone
        away.failures[told.address] += 1
        away.failed.append(f"{told.host} failed with it: {why}")
        workers = self._workers()
        tired = {address for address, count in away.failures.items() if count >= TRIES}
        if told.address in workers and told.address not in tired:
            away.only = frozenset([told.address])
        elif len(tired) < HOSTS and away.failures.total() < TRIES * HOSTS:
            away.only = _able(away.needs, workers) - tired
        else:
            away.only = frozenset()
        if away.only:
            with self._explained():
                self._send(path)
        else:
            del self._away[path]
        return bool(away.only)

    def _mark(self, away: _Away) -> None:
        """Give no more runs to workers that failed with a task which another one did."""
        for address, count in away.failures.items():
            if count >= TRIES and address not in self.marked:
                self.marked.add(address)
                self._progress.note(f"no more runs for a worker: {away.failed[-1]}")

    def _look(self) -> None:
        """Give a task that waits for workers which are gone to the ones that are here."""
        workers = self._workers()
        if not workers and not self._alone:
            self._progress.note(f"{self._endpoint} has no worker for these runs; waiting for one")
        self._alone = not workers
        for path, away in self._away.items():
            if away.only and not away.only & workers.keys():
                away.only = frozenset()
                with self._explained():
                    self._client.cancel([away.future], force=True)
                    self._send(path)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what Dask raises without a scheduler into an error of the tree."""
        try:
            yield
        except HarnessError:
            raise
        except (OSError, RuntimeError, AttributeError, TimeoutError) as error:
            if self._client.status == "running" and isinstance(error, AttributeError):
                raise
            raise self._gone() from None

    def _gone(self) -> InfrastructureError:
        lost = f", and {columns.count(len(self._away), 'run')} with it" if self._away else ""
        return InfrastructureError(
            f"the scheduler at {self._endpoint} is gone{lost}",
            hint="start it and repeat the command, which continues from here",
        )


@contextlib.contextmanager
def connected(endpoint: Endpoint, progress: Progress) -> Iterator[DaskCluster]:
    """Yield the cluster of a scheduler.

    Raises:
        InfrastructureError: if no scheduler answers there.
    """
    settings.apply()
    try:
        client = Client(
            str(endpoint),
            security=certificates.security(endpoint.tls, "client"),
            timeout=_CONNECT_SECONDS,
            set_as_default=False,
            direct_to_workers=False,
        )
    except (OSError, TimeoutError) as error:
        raise InfrastructureError(
            f"no scheduler answers at {endpoint}: {error}", hint="see `hgm cluster scheduler`"
        ) from None
    try:
        client.register_plugin(InputStore())
        client.register_plugin(Canceller())
        yield DaskCluster(client, endpoint, progress)
    finally:
        client.close(timeout=2)


def _able(wants: Mapping[str, float], workers: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Return the addresses of the workers that have what a task needs."""
    return frozenset(at for at, each in workers.items() if not needs.lacking(wants, {at: each}))
