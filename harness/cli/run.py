# SPDX-License-Identifier: GPL-2.0-only
"""`hgm run`, and `hgm judge` for what it left."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import (
    completed_by,
    json_option,
    open_context,
    probe_option,
    runs_option,
    subject_of,
    subject_options,
)

if TYPE_CHECKING:
    from harness.records.run import RunRecord
    from harness.run.request import RunRequest


_BOOTED, _RESTORED, _SHARED = "booted", "restored", "shared"


def _profiles() -> Iterable[str]:
    from harness.probes import promises

    return [profile.name for profile in promises.profiles()]


@click.command()
@subject_options
@probe_option
@click.option(
    "--touched",
    metavar="SERIES",
    default="",
    help="Of the selected probes, run those that look at a file which this series changes.",
)
@click.option(
    "--kselftest",
    "kselftests",
    multiple=True,
    metavar="mm[:GLOB]",
    help="Run the kernel's own tests of tools/testing/selftests; probes then run only if --probe "
    "is given; repeatable.",
)
@click.option(
    "--expect",
    metavar="PROFILE",
    shell_complete=completed_by(_profiles),
    help="FAIL if the kernel does not offer what the profile says: hgm, hgm-v2, hgm-reference, "
    "stock, report (which expects nothing), or a TOML file.  [default: the profile of the series, "
    "if it has one, else report]",
)
@click.option(
    "--strict",
    is_flag=True,
    help="FAIL on known issues of the kernel too (`hgm probes issues` lists them).",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Run each probe N times; the repetitions are named PROBE#2 and so on.",
)
@click.option(
    "--alone",
    "own_guest",
    flag_value=_BOOTED,
    help="Boot a new guest for each probe and each repetition.",
)
@click.option(
    "--fresh-guest",
    "own_guest",
    flag_value=_RESTORED,
    help="Restore a new guest for each probe and each repetition, from a snapshot that is taken "
    "after one boot and kept.",
)
@click.option(
    "--shared-guest",
    "own_guest",
    flag_value=_SHARED,
    help="Let probes share a guest until one of them harms it: the default.",
)
@click.option(
    "--guests",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Run up to N guests at the same time, the longest probes first; fewer where this host "
    "lacks the CPUs for them or the memory for their pools, beside the guests of other commands.",
)
@click.option(
    "--against",
    metavar="SPEC",
    help="Run with this series first (none: the source alone), then with --series, and compare the "
    "two; the exit code is that of `hgm compare`.",
)
@runs_option
@json_option
def run(as_json: bool, runs_dir: Path, timeout: float, against: str | None, **options: Any) -> int:
    """Build and boot a kernel and run probes in it.

    The results and the evidence are kept in a run directory; runs/latest is a link to the last one.
    """
    from harness import pipeline

    request = _run_request(**options)
    if against is not None:
        return _run_against(request, against, runs_dir, timeout, as_json=as_json)
    with open_context(timeout) as context:
        record = pipeline.run(request, runs_dir, context)
    _show(record, as_json=as_json)
    return record.exit_code


def _show(record: RunRecord, *, as_json: bool) -> None:
    """Write the report, in colour on a terminal; to standard error where JSON is wanted."""
    from harness.report import json, text

    text.write(record, sys.stderr if as_json else sys.stdout)
    if as_json:
        json.write(record, sys.stdout)


def _run_against(
    request: RunRequest, series: str, runs_dir: Path, timeout: float, *, as_json: bool
) -> int:
    """Run base and patched kernel one after the other, and say what changed."""
    from harness.campaign import against as campaign
    from harness.cli.compare import show_comparison

    with open_context(timeout) as context:
        done = campaign.run_against(request, series, runs_dir, context)
    if done.comparison is None:
        ended = done.records[-1]
        click.echo(f"hgm: {ended.run_dir}: {ended.reason}", err=True)
    else:
        show_comparison(done.comparison, *done.records, as_json=as_json)
    return done.exit_code


def _run_request(  # noqa: PLR0913 - one for each option
    *,
    probes: tuple[str, ...],
    touched: str,
    kselftests: tuple[str, ...],
    expect: str | None,
    strict: bool,
    repeat: int,
    own_guest: str | None,
    guests: int,
    **options: Any,
) -> RunRequest:
    from harness.kernel import registry
    from harness.probes import promises
    from harness.run.request import RunRequest

    spare = 0
    if kselftests:
        from harness.probes import kselftest  # which a run without them does without

        spare = kselftest.spare_memory(kselftests)
    place = options["mail_from"] if touched.startswith("lore:") else ""
    if place and not (options["series"] or "").startswith("lore:"):
        options["mail_from"] = ""  # it is for --touched alone
    subject = subject_of(spare=spare, **options)
    return RunRequest(
        subject=subject,
        expect=promises.profile(
            registry.expectation(subject.kernel.series) if expect is None else expect
        ),
        strict=strict,
        probes=probes,
        touched=touched,
        touched_from=place,
        kselftests=kselftests,
        repeat=repeat,
        alone=own_guest in (_BOOTED, _RESTORED),
        fresh_guest=own_guest == _RESTORED,
        guests=guests,
    )


@click.command()
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path))
@json_option
def judge(run_dir: Path, as_json: bool) -> int:
    """Judge the evidence of a run again, without changing it."""
    from harness.run import judging

    record = judging.judged_again(run_dir)
    _show(record, as_json=as_json)
    return record.exit_code
