# SPDX-License-Identifier: GPL-2.0-only
"""Stands in for `harness.cluster.cell`: sleeps as long as its kernel says, then ends the record.

``FAKE_CELL=broken`` in its environment makes it fail as a host that is out of order does.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from harness.progress import Silent
from harness.recording import Recording
from harness.records.base import from_json
from harness.records.cluster import ClusterTask
from harness.records.outcome import Outcome
from harness.store import rundir

home = Path(sys.argv[1])
task = from_json((home / "task.json").read_bytes(), ClusterTask)
run = Recording(home / "run", rundir.load(home / "run"), Silent())
made_of = task.guests.made_of
assert os.access(made_of.programs["program"], os.X_OK)
assert Path(made_of.image.manifest).exists()
assert not made_of.kernel.headers
time.sleep(float(Path(made_of.kernel.image).read_text()))
run.write("serial.log", "Linux version 6.12.0\n")
if os.environ.get("FAKE_CELL") == "broken":
    run.end(Outcome.INFRASTRUCTURE, "ERROR", 3, "its disk is full")
else:
    run.end(Outcome.PROBES_RAN, "PASS", 0, "as expected")
