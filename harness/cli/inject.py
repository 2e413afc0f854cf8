# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck inject`: host faults during a run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.options import (
    accel_option,
    json_option,
    list_option,
    markdown_option,
    open_context,
    runs_option,
    show,
    timeout_option,
)


@click.command()
@timeout_option
@runs_option
@list_option
@click.option(
    "--count",
    type=click.IntRange(min=1),
    metavar="N",
    help="Inject N faults, in turn.  [default: each fault once]",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Seed of the random moments at which faults are injected.",
)
@accel_option
@markdown_option
@json_option
@click.argument("faults", nargs=-1, metavar="[FAULT...]")
def inject(  # noqa: PLR0913 - an argument an option
    faults: tuple[str, ...],
    as_json: bool,
    markdown: Path | None,
    accel: str,
    seed: int,
    count: int | None,
    only_list: bool,
    runs_dir: Path,
    timeout: float,
) -> int:
    """Check that a run ends right when the host fails.

    Real runs get one fault each, all faults by default: QEMU is killed or stopped, its monitor
    wedged, SSH reset, the disk filled, the console log cut, the clock moved, the harness killed, a
    cluster's scheduler killed in the middle of a matrix. No result may be lost, nothing may be left
    over, and the exit code must be right. The same command continues where it was interrupted. Exit
    code 1 if a run ended wrong.
    """
    from harness.selfcheck.injection import campaign, catalogue, report

    chosen = catalogue.select(faults)
    if only_list:
        report.write_list(chosen, sys.stdout)
        return 0
    with open_context(timeout) as context:
        words = ("--accel", accel)
        found = campaign.inject(chosen, count or len(chosen), seed, words, runs_dir, context)
    if markdown is not None:
        markdown.write_text(report.page(found))
    show(found, report.lines(found), as_json=as_json)
    return found.exit_code
