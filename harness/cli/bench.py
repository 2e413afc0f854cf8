# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck bench`: what things cost, measured in one run on one machine."""

from __future__ import annotations

from typing import Any

import click

from harness.cli.options import (
    kernel_options,
    kernel_request,
    machine_options,
    new_context,
    new_display,
    probe_option,
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
    from harness.selfcheck import bench as benchmarks

    with new_display() as display:
        context = new_context(timeout, display)
        result = benchmarks.boot(subject_of(**options), probe, rounds, context)
    click.echo(result.text())
    return 0


@bench.command("build")
@kernel_options
@timeout_option
@click.option("--rounds", type=click.IntRange(min=1), default=1, show_default=True)
def bench_build(rounds: int, timeout: float, **options: Any) -> int:
    """Compare a whole `hgm kernel build`, caches empty, with a bare make of the same kernel."""
    from harness.selfcheck import bench_build as benchmarks

    with new_display() as display:
        request = kernel_request(**options)
        found = benchmarks.build(request, rounds, new_context(timeout, display))
    for ratio in found:
        click.echo(ratio.text())
    return 0


@bench.command("edit")
@kernel_options
@timeout_option
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
def bench_edit(rounds: int, timeout: float, **options: Any) -> int:
    """Compare one line changed in a tree, to the verdict, with a bare incremental make.

    The line goes into a copy of the source without its series.
    """
    from harness.selfcheck import bench_build as benchmarks

    with new_display() as display:
        request = kernel_request(**options)
        found = benchmarks.edit(request, rounds, new_context(timeout, display))
    click.echo(benchmarks.edit_text(*found))
    return 0


@bench.command("bisect")
@kernel_options
@machine_options
@timeout_option
@probe_option
def bench_bisect(probes: tuple[str, ...], timeout: float, **options: Any) -> int:
    """Compare `hgm bisect --probe NAME` with bare makes and boots of the kernels it looks at.

    In a cache of its own, where only both ends are built before; a series of which each patch
    builds, and whose last kernel is bad.
    """
    from harness.selfcheck import bench_bisect as benchmarks

    if not probes:
        raise click.UsageError("say which question is bisected with --probe NAME")
    with new_display() as display:
        found = benchmarks.bisect(subject_of(**options), probes, new_context(timeout, display))
    for ratio in found:
        click.echo(ratio.text())
    return 0


@bench.command("walk")
@kernel_options
@machine_options
@timeout_option
@click.option("--rounds", type=click.IntRange(min=1, max=100), default=9, show_default=True)
def bench_walk(rounds: int, timeout: float, **options: Any) -> int:
    """Measure looks at a probe's page tables from outside: one address, and a full 1 GiB."""
    from harness.selfcheck import bench_walk

    with new_display() as display:
        looks = bench_walk.measure(subject_of(**options), rounds, new_context(timeout, display))
    for each in looks:
        click.echo(each.text())
    return 0
