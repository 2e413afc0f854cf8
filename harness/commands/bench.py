# SPDX-License-Identifier: GPL-2.0-only
"""`hgm bench`: what things cost, measured in one run on one machine."""

from __future__ import annotations

from typing import Any

import click

from harness.commands.options import (
    kernel_options,
    machine_options,
    new_display,
    new_tools,
    subject_of,
    timeout_option,
)


@click.group()
def bench() -> None:
    """What things cost, measured in one run on one machine."""


@bench.command("boot")
@kernel_options
@machine_options
@timeout_option
@click.option("--probe", default="baseline/memfd-alias/2M", show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
def bench_boot(probe: str, rounds: int, timeout: float, **options: Any) -> int:
    """Compare `hgm run --probe NAME`, nothing changed, with a bare QEMU boot to power-off."""
    from harness.campaigns import bench as benchmarks

    with new_display() as display:
        tools = new_tools(timeout, display)
        result = benchmarks.boot(subject_of(**options), probe, rounds, tools)
    click.echo(result.text())
    return 0


@bench.command("walk")
@kernel_options
@machine_options
@timeout_option
@click.option("--rounds", type=click.IntRange(min=1, max=100), default=9, show_default=True)
def bench_walk(rounds: int, timeout: float, **options: Any) -> int:
    """Measure looks at a probe's page tables from outside: one address, and a full 1 GiB."""
    from harness.campaigns import walk

    with new_display() as display:
        looks = walk.measure(subject_of(**options), rounds, new_tools(timeout, display))
    for each in looks:
        click.echo(each.text())
    return 0
