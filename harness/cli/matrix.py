# SPDX-License-Identifier: GPL-2.0-only
"""`hgm matrix`: many kernels on many machines, night after night."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import json_option, open_context, runs_option, show

if TYPE_CHECKING:
    from harness.records.history import Retention


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@runs_option
@click.option("--list", "only_list", is_flag=True, help="List the cells and do nothing else.")
@click.option(
    "--restart", is_flag=True, help="Begin a round although the last one was not finished."
)
@json_option
def matrix(file: Path, runs_dir: Path, only_list: bool, restart: bool, as_json: bool) -> int:
    """Run a matrix of kernels, series, machines and probes.

    FILE is TOML; docs/howto/nightly.md explains it. The same command continues a round that was
    interrupted, and begins the next one otherwise. Results go into the history; `hgm status` shows
    what is new.

    Exit code 1 if a kernel is wrong or was not built, 3 if a cell could not be run.
    """
    from harness.campaign import matrix as campaign
    from harness.campaign import matrix_file
    from harness.report import rounds

    wanted = matrix_file.load(file)
    planned = matrix_file.cells(wanted, file)
    if only_list:
        for cell in planned:
            click.echo(cell.names)
        click.echo(f"{len(planned)} cells, {len({cell.build for cell in planned})} kernels")
        return 0
    with open_context(wanted.budget) as context:
        result = campaign.run_matrix(
            planned, file, wanted.cell_budget, runs_dir, context, restart=restart
        )
    if wanted.keep is not None:
        _prune(wanted.keep, runs_dir)
    show(result, rounds.lines(result), as_json=as_json)
    return result.exit_code


def _prune(keep: Retention, runs_dir: Path) -> None:
    """Remove the runs that are not kept; a history that is away is a warning."""
    import datetime

    from harness.errors import HarnessError
    from harness.report import history as report
    from harness.store.history import background, retention
    from harness.store.history.history import opened

    background.wait()
    try:
        with opened(background.chosen(), runs_dir) as history:
            now = datetime.datetime.now(datetime.UTC)
            *_, line = report.pruned(retention.prune(history, keep, now, dry_run=False))
            click.echo(line, err=True)
    except HarnessError as error:
        click.echo(f"warning: no run was pruned: {error.line()}", err=True)
