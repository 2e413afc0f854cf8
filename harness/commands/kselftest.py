# SPDX-License-Identifier: GPL-2.0-only
"""`hgm kselftest`: what came of the kernel's own tests."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.group()
def kselftest() -> None:
    """The kernel's own tests, which `hgm run --kselftest` runs."""


@kselftest.command("table")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
def table(runs: tuple[Path, ...]) -> int:
    """Print what the tests of a run ended with, as Markdown, and compare the other runs with it.

    Ends with 1 if a test, or a result inside of one, did not end the same in all runs.
    """
    from harness.campaigns import likeness
    from harness.reports import kselftest as page
    from harness.results import store

    records = [store.judged_again(run) for run in runs]
    page.write(records, sys.stdout)
    return 1 if likeness.differences(records, page.PREFIX) else 0
