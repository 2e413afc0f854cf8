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
@click.argument("runs", metavar="RUN[,RUN...]...", nargs=-1, required=True)
def table(runs: tuple[str, ...]) -> int:
    """Print what the tests of a run ended with, as Markdown, and compare the other runs with it.

    Runs of one kernel that are joined with a comma count as one: what a later one ran again, or an
    earlier one did not come to, is taken from the later one.

    Ends with 1 if a test, or a result inside of one, did not end the same in all runs.
    """
    from harness.campaign import result_diff
    from harness.report import kselftest as page
    from harness.run import judging

    columns = [
        result_diff.joined([judging.judged_again(Path(run)) for run in column.split(",")])
        for column in runs
    ]
    differences = result_diff.differences(columns, page.PREFIX)
    page.write(columns, differences, sys.stdout)
    return 1 if differences else 0
