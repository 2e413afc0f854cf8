# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck detect`: seeded kernel faults."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from harness.cli.options import (
    cluster_option,
    json_option,
    list_option,
    markdown_option,
    open_context,
    probe_option,
    runs_option,
    show,
    subject_of,
    subject_options,
)


@click.command()
@subject_options
@probe_option
@runs_option
@cluster_option
@list_option
@click.option(
    "--stock",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Also run all probes N times on kernels without a fault (stock and HGM, each with and "
    "without debug, in turn) and count false alarms.",
)
@click.option("--alone", is_flag=True, help="Give each fault a kernel of its own.")
@click.option("--no-faults", is_flag=True, help="Run only the kernels without a fault.")
@markdown_option
@json_option
@click.argument("globs", nargs=-1, metavar="[FAULT...]")
def detect(  # noqa: PLR0913 - an argument an option
    globs: tuple[str, ...],
    alone: bool,
    as_json: bool,
    markdown: Path | None,
    no_faults: bool,
    stock: int,
    only_list: bool,
    runs_dir: Path,
    probes: tuple[str, ...],
    timeout: float,
    cluster: str | None,
    tls: Path | None,
    **options: Any,
) -> int:
    """Check that the probes catch seeded kernel faults.

    Kernels are built with the faults whose name or class matches FAULT (a glob; all by default),
    and the probes that should catch them are run. Faults that do not touch each other share a
    kernel; one that does not show there is then run alone. With --probe each fault is run alone,
    with these probes: '*' for all.

    Each fault goes on top of the series that it is made for, or of --series if that is given. On
    top of another series, a fault that does not apply, or that rests on a promise which the kernel
    does not offer, is reported and is not a failure. The same command continues where it was
    interrupted. Exit code 1 if a fault was missed or there was a false alarm.
    """
    from harness.kernel import faults
    from harness.probes import catalog
    from harness.selfcheck import detect as campaign
    from harness.selfcheck import detect_report as report

    chosen = () if no_faults else campaign.select(faults.load(), globs)
    if only_list:
        report.write_list(campaign.kernels(chosen, alone=alone or bool(probes)), sys.stdout)
        return 0
    options["series"] = options["series"] or "none"
    with open_context(timeout, cluster, tls) as context:
        subject = subject_of(**options)
        found = campaign.detect(subject, chosen, probes, stock, runs_dir, context, alone=alone)
    if markdown is not None:
        markdown.write_text(report.page(found, catalog.load()))
    show(found, report.lines(found), as_json=as_json)
    return found.exit_code
