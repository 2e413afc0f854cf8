# SPDX-License-Identifier: GPL-2.0-only
"""`hgm report`: the static site of the runs in the history."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.history import DAYS, DAYS_RANGE, require_directories, store_options
from harness.cli.options import limit_option, open_context


@click.command()
@limit_option("gcov, which counts the lines that runs reached")
@click.argument("directories", metavar="[RUNS...]", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The directory of the site; a site that is there is brought up to date.",
)
@store_options
@click.option(
    "--days",
    type=DAYS_RANGE,
    default=DAYS,
    show_default=True,
    metavar="N",
    help="Leave out of the first page what was not run in the N days before the newest run.",
)
def report(
    directories: tuple[Path, ...],
    output: Path,
    store: str,
    runs_dir: Path,
    days: int,
    timeout: float,
) -> int:
    """Write the runs of the history as a site of static pages.

    What is new since the last run comes first; then the matrix of tests and cells, each run with
    its console, each test's past, trends and differences. Open index.html in it, or serve it. The
    runs in the directories RUNS are recorded first if the history does not have them. Pages of
    earlier runs stay as they are.
    """
    from functools import partial

    from harness.errors import ToolMissing
    from harness.store import rundir
    from harness.store.history.history import opened

    try:
        from harness.site import build
        from harness.site.directory import LIST
    except ModuleNotFoundError as error:
        raise ToolMissing(
            f"the Python package {error.name} is not installed",
            hint="pip install 'hgm-harness[report]'",
        ) from None
    require_directories(directories)
    opener = partial(opened, store, runs_dir)
    # A site has a history; one that is made in another place would empty it.
    make = bool(directories) and not (output / LIST).exists()
    with opener(make=make) as history:
        problems: list[str] = []
        known = {run.run_dir for run in history.runs()} if directories else set()
        for directory in directories:
            found = rundir.find_runs(directory)
            new = (each for each in found if str(each.absolute()) not in known)
            for _ in history.add_directories(new, problems):
                pass
        for problem in problems:
            click.echo(f"left out: {problem}", err=True)
    with open_context(timeout) as context:
        done = build.build(opener, output, days, context)
    removed = f", {done.removed} removed" if done.removed else ""
    click.echo(f"{done.written} pages written, {done.kept} kept{removed}")
    click.echo(output / "index.html")
    return 0
