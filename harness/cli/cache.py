# SPDX-License-Identifier: GPL-2.0-only
"""`hgm cache`: the cache of sources, kernels and images."""

from __future__ import annotations

import sys

import click

from harness.cli.options import new_display
from harness.workspace import Workspace


@click.group()
def cache() -> None:
    """List or prune the cache of sources, kernels and images."""


@cache.command("list")
def cache_list() -> int:
    """List the entries of the cache, least recently used first."""
    from harness import cache as contents
    from harness.report import cache as listing

    workspace = Workspace.default()
    listing.write(contents.entries(workspace), workspace.cache, contents.limit(), sys.stdout)
    return 0


@cache.command("prune")
@click.option(
    "--keep",
    metavar="SIZE",
    help="What the cache may still hold, such as 10G; 0 removes all.  [default: $HGM_CACHE_LIMIT "
    "or 20G]",
)
def cache_prune(keep: str | None) -> int:
    """Remove the least recently used entries, down to --keep.

    What another hgm is using is kept.
    """
    from harness import cache as contents
    from harness.report import cache as listing
    from harness.sizes import parse_size

    size = contents.limit() if keep is None else parse_size(keep, "--keep")
    with new_display() as display:
        gone = contents.prune(Workspace.default(), size, display)
    click.echo(f"removed {len(gone)} entries, {listing.gib(sum(each.size for each in gone))}")
    return 0
