# SPDX-License-Identifier: GPL-2.0-only
"""`hgm compare`: what changed between two runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.mail import mail_options, sender_of, write
from harness.cli.options import json_option, show

if TYPE_CHECKING:
    from harness.records.campaign import Comparison
    from harness.records.run import RunRecord


@click.command()
@click.argument("before", metavar="BEFORE", type=click.Path(path_type=Path))
@click.argument("after", metavar="AFTER", type=click.Path(path_type=Path))
@json_option
@mail_options
def compare(
    before: Path, after: Path, as_json: bool, mail: bool, mail_dir: Path | None, sender: str
) -> int:
    """Compare two runs, given by their run directories.

    Times are compared if both runs have enough repetitions (`hgm run --repeat`). Exit code 1 for a
    regression: a probe that newly fails, one that passed and is skipped now, a new splat, or a
    kernel that no longer builds or boots.
    """
    from harness.campaign import compare as campaign
    from harness.run import judging

    person = sender_of(sender, wanted=mail or mail_dir is not None, as_json=as_json)
    one, two = (judging.judged_again(run) for run in (before, after))
    found = campaign.compare(one, two)
    if person is None:
        show_comparison(found, one, two, as_json=as_json)
    else:
        from harness.report import compare_mail

        write(compare_mail.letters(found, one, two, after), person, mail_dir)
    return found.exit_code


def show_comparison(
    found: Comparison, before: RunRecord, after: RunRecord, *, as_json: bool = False
) -> None:
    """Print a comparison."""
    from harness.report import compare as report

    show(found, report.lines(found, before, after), as_json=as_json)
