# SPDX-License-Identifier: GPL-2.0-only
"""`hgm series`: patches on top of a source."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from harness.cli.options import (
    cluster_option,
    json_option,
    kernel_request,
    open_context,
    probe_option,
    runs_option,
    show,
    source_options,
    subject_of,
    subject_options,
    timeout_option,
)


@click.group()
def series() -> None:
    """List, check or try patch series."""


@series.command("list")
def series_list() -> int:
    """List the series that --series takes by name."""
    from harness.kernel import registry
    from harness.report import series as listing

    listing.write(registry.load(), sys.stdout)
    return 0


@series.command("try")
@subject_options
@probe_option
@runs_option
@cluster_option
@json_option
def series_try(
    as_json: bool,
    runs_dir: Path,
    probes: tuple[str, ...],
    timeout: float,
    cluster: str | None,
    tls: Path | None,
    **options: Any,
) -> int:
    """Build, boot and probe after each patch of a series.

    The report says what each patch changes. The same command continues where it was interrupted.
    Exit code 1 if the kernel after a patch does not build, does not boot, reports a splat, or fails
    a probe, 3 if a probe was LOST and nothing else is wrong.
    """
    from harness.campaign import series_try
    from harness.report import series_try as report

    with open_context(timeout, cluster, tls) as context:
        tried = series_try.try_series(subject_of(**options), probes, runs_dir, context)
    show(tried, report.lines(tried), as_json=as_json)
    return tried.exit_code


@series.command("check")
@source_options
@timeout_option
@json_option
def series_check(as_json: bool, timeout: float, **options: Any) -> int:
    """Check how each patch of a series applies, without a build.

    A patch applies exactly, by a three-way merge, at an offset, or, with --fuzz, with less context.
    Those that do not apply come first, with file, hunk and the differing lines, then those that
    depend on them; both are left out. Exit code 2 if a patch does not apply.
    """
    from harness.kernel.obtain import check_series
    from harness.report import series_check as report

    with open_context(timeout) as context:
        checked = check_series(kernel_request(**options), context)
    show(checked, report.lines(checked), as_json=as_json)
    return report.exit_code(checked)
