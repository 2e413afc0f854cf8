# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck`: checks of the harness itself."""

from __future__ import annotations

import click

from harness.cli import bench, detect, inject


@click.group()
def selfcheck() -> None:
    """Check the harness itself: for its developers."""


for command in (bench.bench, detect.detect, inject.inject):
    selfcheck.add_command(command)
