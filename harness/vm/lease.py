# SPDX-License-Identifier: GPL-2.0-only
"""What guests of other processes may still take of this host.

A lease is a file in the cache's ``tmp/`` that is locked while the process that wrote it may have
guests. The lock ends with the process, however that ends; `Workspace.sweep` removes the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from harness.records.base import Record, from_json, to_json
from harness.vm import hoststat
from harness.workspace import Workspace

_KIND = "lease"


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
def held(cpus: int, memory: int, workspace: Workspace) -> Iterator[None]:
    """Hold a lease for this process's guests.

    Args:
        cpus: of all of them.
        memory: bytes that all of them may touch.
        workspace: the cache.
    """
    path = workspace.temporary(_KIND)
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
    own, cpus, memory = os.sched_getaffinity(0), 0, Counter[int]()
    for each in _leases(workspace):
        with contextlib.suppress(ProcessLookupError):  # it has ended since
            cpus += 0 if own.isdisjoint(os.sched_getaffinity(each.pid)) else each.cpus
            memory[each.pid] += each.memory
    left = (amount - hoststat.touched_by_children(pid) for pid, amount in memory.items())
    return Promised(cpus, sum(max(0, amount) for amount in left))


def _leases(workspace: Workspace) -> Iterator[Lease]:
    """Yield the leases whose processes have not ended."""
    for path in workspace.room("tmp").glob(f"{_KIND}.*"):
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
