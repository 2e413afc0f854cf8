# SPDX-License-Identifier: GPL-2.0-only
"""`hgm series`: patches on top of a source."""

from __future__ import annotations

import sys

import click


@click.group()
def series() -> None:
    """Patch series."""


@series.command("list")
def series_list() -> int:
    """List the series in kernel-patches, which --series takes by name."""
    from harness.kernel import named
    from harness.reports import series as listing

    listing.write(named.load(), sys.stdout)
    return 0
