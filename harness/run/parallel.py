# SPDX-License-Identifier: GPL-2.0-only
"""Guests that run at the same time: how many this host can hold, and what each runs next."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from harness.context import Context
from harness.errors import HarnessError
from harness.probes.catalog import plain_name
from harness.records.machine import MachineSpec
from harness.records.probe import ProbeSpec
from harness.store import rundir
from harness.store.history import background
from harness.vm import hoststat, lease
from harness.vm.lease import Promised

#: Bytes that a guest may touch beyond its huge pages, QEMU's own included: 6.12 has touched 168 MiB
#: when its init is done, and QEMU takes 50.
_BASE_BYTES = 512 << 20

#: The share of the available memory that guests may have; the rest is for what starts meanwhile.
SHARE = 0.8

#: How often a probe gets another guest after the OOM killer ended the one that it was in.
_MOST_RETRIES = 2


@contextlib.contextmanager
def leased(wanted: int, machine: MachineSpec, context: Context) -> Iterator[tuple[int, str]]:
    """Yield how many guests may run at the same time, and why not more, and hold a lease for them.

    Args:
        wanted: how many are asked for.
        machine: each one's.
        context: cache, deadline, progress.
    """
    with contextlib.ExitStack() as stack:
        count, why = 1, ""
        # One guest is not chosen, so it need not wait for others that choose.
        with contextlib.ExitStack() as choosing:
            if wanted > 1:
                choosing.enter_context(
                    context.workspace.lock("leases", context.deadline, context.progress)
                )
                count, why = admitted(wanted, machine, lease.promised(context.workspace))
            memory = count * may_touch(machine)
            stack.enter_context(lease.held(count * machine.cpus, memory, context.workspace))
        yield count, why


def admitted(
    wanted: int, machine: MachineSpec, promised: Promised, cpus: int = 0, memory: int = 0
) -> tuple[int, str]:
    """Return how many guests may run at the same time, and why not more; one always may.

    Each may fill all of its pools, and run all of its CPUs.

    Args:
        wanted: how many are asked for.
        machine: each one's.
        promised: what the guests of other processes may take.
        cpus: the host's; those that this process may use by default.
        memory: bytes that the host has available; read from it by default.
    """
    cpus = cpus or len(os.sched_getaffinity(0))
    memory = memory or hoststat.available()
    each = may_touch(machine)
    free_cpus = max(0, cpus - promised.cpus)
    free = max(0, memory - promised.memory)
    limits = {
        f"this host has {cpus} CPUs,{_promised(cpus - free_cpus)} and each guest {machine.cpus}"
        " (--cpus)": free_cpus // machine.cpus,
        f"{memory >> 20} MiB are available,{_promised(memory - free >> 20)} and each guest may use"
        f" {each >> 20} (--hugepages)": int(free * SHARE) // each,
    }
    why, most = min(limits.items(), key=lambda item: item[1])
    return (wanted, "") if most >= wanted else (max(1, most), why)


def _promised(amount: int) -> str:
    return f" {amount} of them promised to guests of other commands," if amount else ""


def may_touch(machine: MachineSpec) -> int:
    """Return how much of the host's memory a guest may use, bytes."""
    pools = sum(pages.size * pages.count for pages in machine.hugepages)
    return min(machine.memory, pools + _BASE_BYTES)


def earlier_seconds(run_dir: Path, specs: Sequence[ProbeSpec]) -> Mapping[str, float]:
    """Return how long probes took when they last ran, by name without the repetition.

    Args:
        run_dir: of the run that is to know; it tells which history does.
        specs: the probes. Without a history none is known: it is not worth an error.
    """
    from harness.store.history import history  # a third of a second; one guest does without

    names = {plain_name(each.name) for each in specs}
    runs, _ = rundir.campaign_of(run_dir)
    with contextlib.suppress(HarnessError), history.opened(background.chosen(), runs) as store:
        return store.last_seconds(names)
    return {}


def longest_first(
    specs: Sequence[ProbeSpec], seconds: Mapping[str, float]
) -> tuple[ProbeSpec, ...]:
    """Return probes in the order in which several guests are done soonest.

    One that has not run yet may take its whole budget.
    """
    return tuple(sorted(specs, key=lambda each: -seconds.get(plain_name(each.name), each.budget)))


class Queue:
    """The probes that are left; each is taken by one guest.

    Args:
        specs: in the order they are to be run.
    """

    def __init__(self, specs: Sequence[ProbeSpec]) -> None:
        self._left = list(specs)
        self._returned: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._closed = False
        self.total = len(self._left)
        #: How many have been run to their end.
        self.done = 0

    def take(self) -> ProbeSpec | None:
        """Take the next probe off the queue and return it; None if none is left."""
        with self._lock:
            return self._left.pop(0) if self._left and not self._closed else None

    def give_back(self, spec: ProbeSpec, error: HarnessError) -> None:
        """Put a probe back whose guest failed through no fault of its own.

        Raises:
            HarnessError: the error, if that happened too often.
        """
        with self._lock:
            self._returned[spec.name] += 1
            if self._returned[spec.name] > _MOST_RETRIES:
                raise error
            self._left.insert(0, spec)

    def finish(self) -> None:
        """Count one more probe that was run to its end."""
        with self._lock:
            self.done += 1

    def close(self) -> None:
        """Give out no probe any more."""
        with self._lock:
            self._closed = True

    def wants_disk(self, first: ProbeSpec) -> bool:
        """Return whether one of the probes, or of those that are left, needs the guest's disk."""
        with self._lock:
            return any(spec.wants_disk for spec in (first, *self._left))


def work(count: int, lane: Callable[[int], None], stop: Callable[[], None]) -> None:
    """Call ``lane`` with 0 to ``count`` - 1 at the same time and wait until all have ended.

    Args:
        count: how many.
        lane: runs probes in guests of its own until none is left.
        stop: makes all of them end soon; called in this thread when one failed or at an interrupt.

    Raises:
        HarnessError: of the first that failed.
    """
    if count == 1:
        lane(0)
        return
    with ThreadPoolExecutor(count, thread_name_prefix="guest") as pool:
        tasks = [pool.submit(lane, number) for number in range(count)]
        try:
            done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
            failures = [error for task in done if (error := task.exception()) is not None]
        except BaseException:
            stop()
            raise
        if failures:
            stop()
            raise failures[0]
