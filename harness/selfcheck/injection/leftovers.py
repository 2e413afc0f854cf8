# SPDX-License-Identifier: GPL-2.0-only
"""Finds the processes, mounts and files that a run with an injected fault left over."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TypedDict

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


def find(directory: Path, target: Target, *, killed: bool) -> Leftovers:
    """Return what a run left over outside of its run directory.

    Args:
        directory: the injection's; its mounts are found by it.
        target: the run; unfinished files in its cache have the process ID in their name.
        killed: whether the harness was killed; then the next run may clean the cache up, as it does
            when it starts.
    """
    alive, workspace = _processes(target.mark), Workspace(target.cache)
    if killed:
        workspace.sweep()
    files = [path for name in PRIVATE for path in (target.private / name).rglob("*")]
    files += _in_cache(workspace, target.process.pid)
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return {
        "processes": tuple(f"{name} ({pid})" for pid, name in alive.items()),
        "mounts": tuple(line for line in mounts if str(directory) in line),
        "files": tuple(map(str, files)),
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


def _in_cache(workspace: Workspace, pid: int) -> list[Path]:
    """Return what a process left unfinished in the cache; both forms of name have its ID."""
    found = list(workspace.room("tmp").glob(f"*.{pid}.*"))
    for depth in ("", "*/", "*/*/"):
        found += workspace.cache.glob(f"{depth}.*.{pid}.*.part")
    return found
