# SPDX-License-Identifier: GPL-2.0-only
"""The benchmark of a cluster kills workers and sees what becomes of their cells.

Scheduler, client and workers are real; the guests sleep.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from harness.context import Context
from harness.deadline import Deadline
from harness.errors import InfrastructureError
from harness.progress import Silent
from harness.records.run import RunRecord
from harness.selfcheck import bench_cluster
from harness.workspace import Workspace


def test_a_killed_worker_leaves_each_cell_with_one_verdict_and_its_own(tmp_path: Path) -> None:
    context = Context(Workspace(tmp_path), Deadline.after(240, "the test"), Silent())
    found = bench_cluster.measure((1.0, 2.0), (2,), 18, 4.0, context)
    ((row,), (loss,)) = found.rows, found.losses
    assert (row.workers, row.cells) == (2, 18)
    assert (loss.workers, loss.killed, loss.cells) == (3, 1, 18)
    assert loss.again >= 1, "the worker was killed with a run"
    assert (loss.once, loss.wrong, loss.right) == (18, 0, True)
    assert f"| 3 | 1 | 18 | {loss.again} | 18 | 0 |" in bench_cluster.text(found)


@pytest.mark.parametrize(
    ("verdicts", "counted"),
    [
        (["PASS"], (1, 0)),
        (["FAIL"], (1, 1)),
        (["PASS", "PASS"], (0, 0)),
        (["PASS", "FAIL"], (0, 1)),
        ([], (0, 0)),
        ([None], (0, 0)),
    ],
)
def test_what_a_cell_gets_is_counted(
    tmp_path: Path, verdicts: list[Literal["PASS", "FAIL"] | None], counted: tuple[int, int]
) -> None:
    ((run_dir, guests),) = bench_cluster._runs(tmp_path, [1.0])
    results = [
        RunRecord(run_dir=str(run_dir), verdict=each) if each else InfrastructureError("lost")
        for each in verdicts
    ]
    assert bench_cluster.tally([(run_dir, guests)], {run_dir: results}) == counted


def test_the_verdict_of_another_cell_is_wrong(tmp_path: Path) -> None:
    ((run_dir, guests),) = bench_cluster._runs(tmp_path, [1.0])
    swapped = RunRecord(run_dir="another", verdict="PASS")
    assert bench_cluster.tally([(run_dir, guests)], {run_dir: [swapped]}) == (1, 1)
