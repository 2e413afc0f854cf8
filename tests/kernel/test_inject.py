# SPDX-License-Identifier: GPL-2.0-only
"""Real runs with injected faults: judged, counted, and not repeated."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.selfcheck.injection import catalogue
from tests.kernel.conftest import Run

FAULTS = tuple(
    fault.name
    for fault in catalogue.select(
        (
            *("qemu-killed", "ssh-reset", "console-closed", "clock-forward", "harness-sigkill"),
            *("snapshot-damaged", "snapshot-disk-full"),
            *("restore-qemu-killed", "restore-clock-forward", "scheduler-killed"),
        )
    )
    # test_snapshot.py fills a disk without being root.
    if not catalogue.unmet(fault)
)

#: This seed draws a moment early in the boot, when the guest cannot be reached without QMP yet.
WEDGED_IN_BOOT = "33"


def rows(run: Run) -> list[dict[str, Any]]:
    found = json.loads(run.out)["rows"]
    assert isinstance(found, list)
    return found


def test_runs_with_a_fault_end_right_and_are_not_repeated(
    hgm: Callable[..., Run], tmp_path: Path
) -> None:
    words = ("selfcheck", "inject", "--seed", "5", "--json", "--runs-dir", str(tmp_path), *FAULTS)
    run = hgm(*words)
    assert run.code == 0, run.err
    first = rows(run)
    assert [row["fault"] for row in first] == list(FAULTS)
    assert {row["result"] for row in first} == {"right"}
    assert {row["exit_code"] for row in first} >= {0, 3, 137}
    assert rows(hgm(*words)) == first


def test_a_wedged_monitor_is_reported(hgm: Callable[..., Run], tmp_path: Path) -> None:
    words = ("--seed", WEDGED_IN_BOOT, "--json", "--runs-dir", str(tmp_path))
    (row,) = rows(hgm("selfcheck", "inject", *words, "qmp-wedged"))
    assert row["moment"]["stage"] == "boot"
    assert row["result"] == "right"
    assert row["exit_code"] == 3
    assert re.search("QEMU did not answer|its monitor has not answered", row["reason"])
