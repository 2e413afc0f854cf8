# SPDX-License-Identifier: GPL-2.0-only
"""`hgm map`: draws the page tables at a run's checkpoints."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("map")
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("probe", metavar="[PROBE]", default="*")
@click.option(
    "--checkpoint",
    "number",
    type=click.IntRange(min=1),
    metavar="N",
    help="Draw only the Nth checkpoint of each probe.  [default: all]",
)
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write an SVG picture to this file instead.",
)
def draw(run_dir: Path, probe: str, number: int | None, svg: Path | None) -> int:
    """Draw the page tables at the checkpoints of a run.

    PROBE is a glob over the names of probes, all by default. A cell is 2 MiB, or 4 KiB in a range
    of at most 4 MiB, and shows which level maps it and how much of it.
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
