# SPDX-License-Identifier: GPL-2.0-only
"""`hgm history`, `hgm status` and `hgm prune`: what is known of earlier runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import Command, json_option, runs_dir_option, show

if TYPE_CHECKING:
    from harness.records.history import HistoryState

#: How far back `hgm status` and the first page of the site look.
DAYS = 30
#: A million days ago is before the first date that Python has.
DAYS_RANGE = click.IntRange(1, 365_000)


def store_options(function: Command) -> Command:
    """Add the options that say where the history is."""
    store = click.option(
        "--store",
        envvar="HGM_STORE",
        default="",
        metavar="URL",
        help="The history: postgresql://USER@HOST/DATABASE, or the path of a SQLite file.  "
        "[default: $HGM_STORE, else history.db in --runs-dir]",
    )
    runs = runs_dir_option("Directory of the runs; the history is there if --store is not given.")
    return store(runs(function))


def require_directories(directories: Iterable[Path]) -> None:
    """Raise RecordError if one of the directories whose runs are to be recorded is not there."""
    from harness.errors import RecordError

    for directory in directories:
        if not directory.is_dir():
            raise RecordError(
                f"there is no directory {directory}",
                hint="name the directory of a run, or one with runs in it",
            )


@click.command()
@click.argument("probe", required=False)
@store_options
@click.option(
    "--import",
    "imported",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="First record the runs in this directory, which may be a run itself; repeatable. A run "
    "that was recorded before is replaced.",
)
@click.option(
    "--rebuild",
    is_flag=True,
    help="First record all runs of --runs-dir. What else is in the history stays.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=30,
    show_default=True,
    metavar="N",
    help="Show the newest N.",
)
@json_option
def history(
    probe: str | None,
    store: str,
    runs_dir: Path,
    imported: tuple[Path, ...],
    rebuild: bool,
    limit: int,
    as_json: bool,
) -> int:
    """Show the results of PROBE over all runs, or list the runs.

    PROBE is a name or glob as `hgm run --probe` takes it, or build, boot or console. Every run is
    recorded when it ends.
    """
    from harness.records.history import ResultHistory, RunHistory
    from harness.report import history as report
    from harness.store import rundir
    from harness.store.history.history import opened

    wanted = (*imported, *([runs_dir] if rebuild else []))
    require_directories(wanted)
    with opened(store, runs_dir, make=bool(wanted)) as found:
        problems: list[str] = []
        for directory in wanted:
            added = list(found.add_directories(rundir.find_runs(directory), problems))
            click.echo(f"recorded {len(added)} runs of {directory}", err=True)
        for problem in problems:
            click.echo(f"not recorded: {problem}", err=True)
        if probe is None:
            past = RunHistory(runs=found.runs(limit))
            show(past, report.runs(past), as_json=as_json)
        else:
            results = ResultHistory(results=found.results(probe, limit))
            show(results, report.results(results), as_json=as_json)
    return 0


def recent(store: str, runs_dir: Path, days: int) -> HistoryState:
    """Return what the history says of the last days."""
    import datetime

    from harness.store.history import changes
    from harness.store.history.history import opened

    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
    with opened(store, runs_dir) as found:
        return changes.state(found, since)


@click.command()
@store_options
@click.option(
    "--days",
    type=DAYS_RANGE,
    default=DAYS,
    show_default=True,
    metavar="N",
    help="Leave out what was not run in the last N days.",
)
@json_option
def status(store: str, runs_dir: Path, days: int, as_json: bool) -> int:
    """Show what fails, since when, and what is new.

    Each result is compared with the run before it of the same kernel line, series, configuration,
    machine and probes. Exit code 1 for a regression or a new failure that is neither flaky nor a
    known issue.
    """
    from harness.report import history as report

    state = recent(store, runs_dir, days)
    show(state, report.state(state), as_json=as_json)
    return state.exit_code


@click.command()
@store_options
@click.option(
    "--keep-days", type=click.IntRange(min=0), metavar="N", help="Keep the runs of the last N days."
)
@click.option(
    "--keep-runs",
    type=click.IntRange(min=0),
    metavar="N",
    help="Keep the newest N runs of each kernel line, series, configuration, machine and probes.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@json_option
def prune(
    store: str,
    runs_dir: Path,
    keep_days: int | None,
    keep_runs: int | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Remove old runs, their directories included.

    A run is removed if neither option keeps it. The last good and the first bad run of each failure
    are kept. Runs on other hosts are not touched.

    Exit code 3 if a directory cannot be removed; the others are.
    """
    import datetime

    from harness.records.history import Retention
    from harness.report import history as report
    from harness.store.history import retention
    from harness.store.history.history import opened

    if keep_days is None and keep_runs is None:
        raise click.UsageError("say what to keep with --keep-days or --keep-runs")
    wanted = Retention(days=keep_days, runs=keep_runs)
    now = datetime.datetime.now(datetime.UTC)
    with opened(store, runs_dir) as found:
        pruned = retention.prune(found, wanted, now, dry_run=dry_run)
    show(pruned, report.pruned(pruned), as_json=as_json)
    return pruned.exit_code
