# SPDX-License-Identifier: GPL-2.0-only
"""`hgm kselftest`: results of the kernel's own tests."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.group()
def kselftest() -> None:
    """Show the results of `hgm run --kselftest`."""


@kselftest.command("table")
@click.argument("runs", metavar="RUN[,RUN...]...", nargs=-1, required=True)
def table(runs: tuple[str, ...]) -> int:
    """Print the results of the kernel's own tests as Markdown.

    Several runs are compared. Runs of the same kernel that are joined with a comma count as one
    run, in which the later result of a test counts. Exit code 1 if a test, or a result inside a
    test, did not end the same in all runs.
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
