# SPDX-License-Identifier: GPL-2.0-only
"""Runs the guests of one run as a process of its own: ``python -m harness.cluster.cell HOME``.

::

    HOME/task.json     the task, with the paths of this host
    HOME/run/          the run's directory as the client has begun it; it is finished here

The exit code is 0 if the run's record says how it ended.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness import pipeline, recording
from harness.context import Context
from harness.deadline import Deadline
from harness.recording import Recording
from harness.records.base import from_json
from harness.records.cluster import ClusterTask
from harness.report import progress
from harness.run import prepare
from harness.store import rundir
from harness.workspace import Workspace


def finish(home: Path, context: Context) -> None:
    """Run the guests of the run in a directory, and end its record."""
    task = from_json((home / "task.json").read_bytes(), ClusterTask)
    run, wanted = home / "run", task.guests
    made_of = wanted.made_of
    begun = Recording(run, rundir.load(run), context.progress)
    with recording.ended(begun):
        chosen = prepare.choose_accel(wanted.accel, made_of.kernel, context, begun)
        prepared = prepare.Prepared(
            made_of.kernel,
            made_of.image,
            made_of.machine,
            chosen,
            {name: Path(path) for name, path in made_of.programs.items()},
            context,
            made_of.specs,
            wanted.fresh_guest,
            wanted.guests,
            wanted.seconds,
        )
        pipeline.probe(prepared, made_of.specs, begun)


def main() -> None:
    """Finish the run of the directory that the command line names."""
    home, seconds = Path(sys.argv[1]), float(sys.argv[2])
    with progress.for_stream(sys.stderr) as display:
        deadline = Deadline.after(seconds, "the guests of the run")
        finish(home, Context(Workspace.default(), deadline, display))


if __name__ == "__main__":
    main()
