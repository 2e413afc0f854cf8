# SPDX-License-Identifier: GPL-2.0-only
"""`hgm map`: what page tables looked like at a run's checkpoints."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("map")
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("probe", metavar="[PROBE]", default="*")
@click.option(
    "--checkpoint", "number", type=click.IntRange(min=1), metavar="N", help="Only the Nth of each."
)
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write an SVG file instead.",
)
def draw(run_dir: Path, probe: str, number: int | None, svg: Path | None) -> int:
    """Draw the page tables that the host saw at the checkpoints of RUN, of probes that match PROBE.

    A cell is 2 MiB: which level maps it, and how much of it. Where the range is at most 4 MiB, it
    is 4 KiB.
    """
    from harness.report import page_map
    from harness.run import judging
    from harness.workspace import atomic_write

    pictures = [
        page_map.picture(name, result, runs)
        for name, result, runs in judging.walks(run_dir, probe, number)
    ]
    if svg is None:
        page_map.write(pictures, sys.stdout)
    else:
        atomic_write(svg, page_map.svg(pictures))
        click.echo(svg)
    return 0
