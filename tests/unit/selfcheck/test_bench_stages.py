# SPDX-License-Identifier: GPL-2.0-only
"""What a stage of a boot costs, from the clocks at its ends."""

from harness.selfcheck import bench_stages
from harness.selfcheck.bench_stages import Clocks


def test_a_stage_costs_what_passed_between_its_ends() -> None:
    boots = [
        [Clocks(10.0, 0.0), Clocks(10.5, 0.25), Clocks(12.5, 1.25)],
        [Clocks(20.0, 0.0), Clocks(21.5, 0.75), Clocks(24.5, 1.25)],
        [Clocks(30.0, 0.0), Clocks(31.0, 0.5), Clocks(35.0, 1.5)],
    ]
    cost = bench_stages.cost("kernel", boots, 1, 2)
    assert (cost.wall, cost.cpu) == ((2.0, 3.0, 4.0), (1.0, 0.5, 1.0))
    assert cost.text() == "kernel                      3000 ms, of which QEMU ran for    1000 ms"
    assert bench_stages.cost("all", boots, 0, 2).wall == (2.5, 4.5, 5.0)
