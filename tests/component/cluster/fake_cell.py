# SPDX-License-Identifier: GPL-2.0-only
"""Stands in for `harness.cluster.cell`: a program sleeps, and a probe ends, as its kernel says.

Meanwhile it has what a run with a guest has: a child process, a directory for it, and a lock.

``FAKE_CELL=broken`` in its environment makes it fail as a host that is out of order does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from msgspec import convert

from harness import command
from harness.deadline import Deadline
from harness.progress import Silent
from harness.recording import Recording
from harness.records.base import from_json
from harness.records.cluster import ClusterTask
from harness.records.outcome import Outcome
from harness.records.probe import ProbeResult
from harness.store import rundir
from harness.workspace import Workspace
from tests.component.cluster.fakes import PROBE

home = Path(sys.argv[1])
task = from_json((home / "task.json").read_bytes(), ClusterTask)
run = Recording(home / "run", rundir.load(home / "run"), Silent())
made_of = task.guests.made_of
assert os.access(made_of.programs["program"], os.X_OK)
assert Path(made_of.image.manifest).exists()
assert not made_of.kernel.headers
seconds, status = Path(made_of.kernel.image).read_text().split()
workspace = Workspace.default()
limit = Deadline.after(task.seconds, "the fake guest")
with workspace.unfinished("guest") as scratch, workspace.lock(scratch.name, limit, Silent()):
    (scratch / "initrd").write_text("fake\n")
    command.run(["sleep", seconds], limit)
run.write("serial.log", "Linux version 6.12.0\n")
if os.environ.get("FAKE_CELL") == "broken":
    run.end(Outcome.INFRASTRUCTURE, "ERROR", 3, "its disk is full")
else:
    told = convert(status, Literal["PASS", "FAIL"])
    run.add_probe(ProbeResult(name=PROBE, status=told, reason="as it is told"))
    run.end(Outcome.PROBES_RAN, told, int(told != "PASS"), "as it is told")
