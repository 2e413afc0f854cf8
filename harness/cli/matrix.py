# SPDX-License-Identifier: GPL-2.0-only
"""`hgm matrix`: many kernels on many machines, night after night."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.history import DAYS, recent
from harness.cli.mail import mail_options, sender_of, write_bisections
from harness.cli.options import cluster_option, json_option, open_context, runs_option, show

if TYPE_CHECKING:
    from harness.campaign.matrix_file import PlannedCell
    from harness.context import Context
    from harness.records.campaign import MatrixResult
    from harness.records.history import Retention


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@runs_option
@click.option(
    "--list", "only_list", is_flag=True, help="Check the file, list its cells, and do nothing else."
)
@click.option(
    "--restart", is_flag=True, help="Begin a round although the last one was not finished."
)
@click.option(
    "--bisect-new",
    is_flag=True,
    help="At the end, bisect each test that passed before in its cell and fails now: the patches "
    "of the series or, without one, the commits of a local repository.",
)
@cluster_option
@json_option
@mail_options
def matrix(  # noqa: PLR0913 - an argument an option
    file: Path,
    runs_dir: Path,
    only_list: bool,
    restart: bool,
    bisect_new: bool,
    cluster: str | None,
    tls: Path | None,
    as_json: bool,
    **letters: Any,
) -> int:
    """Run a matrix of kernels, series, machines and probes.

    FILE is TOML; docs/howto/nightly.md explains it. The same command continues a round that was
    interrupted, and begins the next one otherwise. Results go into the history; `hgm status` shows
    what is new. The mails are those of --bisect-new, one for each culprit.

    Exit code 1 if a kernel is wrong or was not built, 3 if a cell could not be run.
    """
    from harness.campaign import matrix as campaign
    from harness.campaign import matrix_file
    from harness.report import rounds
    from harness.report.columns import count

    mail_dir: Path | None = letters["mail_dir"]
    wants_mail = letters["mail"] or mail_dir is not None
    if wants_mail and not bisect_new:
        raise click.UsageError("--mail is about what --bisect-new finds; give both")
    wanted = matrix_file.load(file)
    planned = matrix_file.cells(wanted, file)
    if only_list:
        with open_context(wanted.budget) as context:
            campaign.check(planned, context)
        for cell in planned:
            click.echo(cell.names)
        kernels = {cell.build for cell in planned}
        click.echo(f"{count(len(planned), 'cell')}, {count(len(kernels), 'kernel')}")
        return 0
    person = sender_of(letters["sender"], wanted=wants_mail, as_json=as_json)
    with open_context(wanted.budget, cluster, tls) as context:
        result = campaign.run_matrix(
            planned,
            file,
            wanted.cell_budget,
            runs_dir,
            context,
            restart=restart,
            bisect=partial(_bisect_new, planned, runs_dir, context) if bisect_new else None,
        )
    if person is None:
        show(result, rounds.lines(result), as_json=as_json)
    else:
        for line in rounds.lines(result):
            click.echo(line, err=True)
        write_bisections([each.found for each in result.bisections if each.found], person, mail_dir)
    if wanted.keep is not None:  # the mails were made of runs that may go now
        _prune(wanted.keep, runs_dir)
    return result.exit_code


def _bisect_new(
    planned: Sequence[PlannedCell], runs_dir: Path, context: Context, result: MatrixResult
) -> MatrixResult:
    """Bisect what is new; a history that is away is a warning."""
    from harness.campaign import bisect_new
    from harness.errors import HarnessError
    from harness.store.history import background

    background.wait()
    try:
        state = recent(background.chosen(), runs_dir, DAYS)
    except HarnessError as error:
        click.echo(f"warning: nothing was bisected: {error.line()}", err=True)
        return result
    return bisect_new.bisect_new(planned, result, state, runs_dir, context)


def _prune(keep: Retention, runs_dir: Path) -> None:
    """Remove the runs of a directory that are not kept; a history that is away is a warning."""
    import datetime

    from harness.errors import HarnessError
    from harness.report import history as report
    from harness.store.history import background, retention
    from harness.store.history.history import opened

    background.wait()
    try:
        with opened(background.chosen(), runs_dir) as history:
            now = datetime.datetime.now(datetime.UTC)
            done = retention.prune(history, keep, now, dry_run=False, below=runs_dir)
            *_, line = report.pruned(done)
            for each in (*(f"warning: {failed}" for failed in done.failed), line):
                click.echo(each, err=True)
    except HarnessError as error:
        click.echo(f"warning: no run was pruned: {error.line()}", err=True)
