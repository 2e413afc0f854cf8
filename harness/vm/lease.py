# SPDX-License-Identifier: GPL-2.0-only
"""What guests of other processes may still take of this host, and what workers offer of it.

A lease is a file in the cache's ``tmp/`` that is locked while the process that wrote it may have
guests. The lock ends with the process, however that ends; `Workspace.sweep` removes the file.
A cluster's worker holds one of another kind: for what it offers, whether guests use it or not.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import msgspec

from harness.records.base import Record, from_json, to_json
from harness.vm import hoststat
from harness.workspace import Workspace

Kind = Literal["lease", "offer"]


class Lease(Record, frozen=True, kw_only=True):
    """What the guests of a process may use.

    Attributes:
        pid: the process.
        cpus: of all of its guests.
        memory: bytes that all of them may touch.
    """

    pid: int
    cpus: int
    memory: int


class Promised(NamedTuple):
    """What guests that are leased may take of a host.

    Attributes:
        cpus: CPUs that this process may use as well.
        memory: bytes that they have not touched yet, so that they still count as available.
    """

    cpus: int = 0
    memory: int = 0


@contextlib.contextmanager
def held(cpus: int, memory: int, workspace: Workspace, kind: Kind = "lease") -> Iterator[None]:
    """Hold a lease for this process's guests, or for those that a worker offers to run.

    Args:
        cpus: of all of them.
        memory: bytes that all of them may touch.
        workspace: the cache.
        kind: of lease.
    """
    path = workspace.temporary(kind)
    new = path.with_name(f"new-{path.name}")
    with new.open("xb") as file:
        file.write(to_json(Lease(pid=os.getpid(), cpus=cpus, memory=memory)))
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        new.rename(path)  # whoever finds it finds it whole and locked
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def promised(workspace: Workspace) -> Promised:
    """Return what all leases that are held now promise."""
    found, memory = tuple(_leases(workspace, "lease")), Counter[int]()
    for each in found:
        memory[each.pid] += each.memory
    left = (amount - hoststat.touched_by_children(pid) for pid, amount in memory.items())
    return Promised(_cpus(found), sum(max(0, amount) for amount in left))


def offered(workspace: Workspace) -> Promised:
    """Return what the workers of this host offer now."""
    found = tuple(_leases(workspace, "offer"))
    return Promised(_cpus(found), sum(each.memory for each in found))


def _cpus(leases: Iterable[Lease]) -> int:
    """Return how many CPUs are leased of those that this process may use."""
    own, count = os.sched_getaffinity(0), 0
    for each in leases:
        with contextlib.suppress(ProcessLookupError):  # it has ended since
            count += 0 if own.isdisjoint(os.sched_getaffinity(each.pid)) else each.cpus
    return count


def _leases(workspace: Workspace, kind: Kind) -> Iterator[Lease]:
    """Yield the leases of a kind whose processes have not ended."""
    for path in workspace.room("tmp").glob(f"{kind}.*"):
        # It may be gone since, or be another version's.
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError), path.open("rb") as file:
            if _locked(file.fileno()):
                yield from_json(file.read(), Lease)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
