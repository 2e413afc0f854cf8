# SPDX-License-Identifier: GPL-2.0-only
"""`hgm cache`: what is kept outside of every checkout."""

from __future__ import annotations

import sys

import click

from harness.cli.options import new_display
from harness.workspace import Workspace


@click.group()
def cache() -> None:
    """Sources, builds, kernels and images that are kept outside of every checkout."""


@cache.command("list")
def cache_list() -> int:
    """List what the cache holds, longest unused first."""
    from harness import cache as contents
    from harness.report import cache as listing

    workspace = Workspace.default()
    listing.write(contents.entries(workspace), workspace.cache, contents.limit(), sys.stdout)
    return 0


@cache.command("prune")
@click.option(
    "--keep",
    metavar="SIZE",
    help="Bytes that may stay, such as 10G; $HGM_CACHE_LIMIT or 20G by default. 0 empties it.",
)
def cache_prune(keep: str | None) -> int:
    """Remove what was not used for longest; what a process is using stays."""
    from harness import cache as contents
    from harness.report import cache as listing

    size = contents.limit() if keep is None else contents.parse_size(keep)
    with new_display() as display:
        gone = contents.prune(Workspace.default(), size, display)
    click.echo(f"removed {len(gone)} entries, {listing.gib(sum(each.size for each in gone))}")
    return 0
