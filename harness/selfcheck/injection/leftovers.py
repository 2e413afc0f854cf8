# SPDX-License-Identifier: GPL-2.0-only
"""Finds the processes, mounts and files that a run with an injected fault left over."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypedDict

from harness import command
from harness.deadline import Deadline
from harness.selfcheck.injection import actions
from harness.selfcheck.injection.catalogue import Target
from harness.workspace import Workspace

#: The directories that a run has for itself.
PRIVATE = ("home", "tmp", "cwd")

_SETTLE_SECONDS = 5.0
_POLL_SECONDS = 0.005


class Leftovers(TypedDict):
    """What a run left over: fields of `harness.selfcheck.injection.oracle.Observation`."""

    processes: tuple[str, ...]
    mounts: tuple[str, ...]
    files: tuple[str, ...]


def find(directory: Path, target: Target, killed: Collection[int]) -> Leftovers:
    """Return what a run left over outside of its run directory.

    Args:
        directory: the injection's; its mounts are found by it.
        target: the run. No other process uses the ``tmp/`` of its cache.
        killed: the processes of the harness that were killed: what they had in ``tmp/`` may be
            left to the next run, which cleans up when it starts.
    """
    alive, workspace = _processes(target.mark), Workspace(target.cache)
    files = [path for name in PRIVATE for path in (target.private / name).rglob("*")]
    owners = tuple(f".{pid}." for pid in killed)
    room = workspace.room("tmp")
    files += [path for path in room.iterdir() if not any(each in path.name for each in owners)]
    if killed:
        workspace.sweep()
        files += room.iterdir()
    files += [path for each in (target.process, *target.cluster) for path in _parts(target, each)]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return {
        "processes": tuple(f"{name} ({pid})" for pid, name in alive.items()),
        "mounts": tuple(line for line in mounts if str(directory) in line),
        "files": tuple(dict.fromkeys(map(str, files))),
    }


def _processes(mark: str) -> dict[int, str]:
    """Return the processes of a run that did not end in time: names by process ID.

    None is left only if two scans find none: a process has no environment for the moment in which
    it becomes another program (of 150 just started, one scan missed 18, and two missed none).
    """
    end = Deadline.after(_SETTLE_SECONDS, "the end of its processes")
    empty = 0
    while True:
        alive = actions.marked(mark)
        empty = 0 if alive else empty + 1
        if empty == 2 or (alive and end.expired()):
            return alive
        time.sleep(_POLL_SECONDS)  # there is no event for the end of a process that is not a child


def _parts(target: Target, process: command.Process) -> Iterator[Path]:
    """Yield the unfinished files of a process in a cache, whose names have its ID."""
    for depth in ("", "*/", "*/*/"):
        yield from target.cache.glob(f"{depth}.*.{process.pid}.*.part")
