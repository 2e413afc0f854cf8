# SPDX-License-Identifier: GPL-2.0-only
"""`hgm bisect`, and `hgm bisect-step` for git's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import (
    Command,
    kernel_options,
    machine_options,
    new_context,
    new_display,
    probe_option,
    runs_option,
    subject_of,
    timeout_option,
)

if TYPE_CHECKING:
    from harness.campaign.bisect import BisectRequest
    from harness.campaign.predicate import Predicate
    from harness.context import Context
    from harness.records.campaign import Bisection

#: What `git bisect run` is told (git-bisect(1)); above 127 it stops.
_GOOD, _BAD, _SKIP, _STOP = 0, 1, 125, 128

#: Of how many seconds a bisection may take by default: a day.
_DAY = 86400.0


def predicate_options(function: Command) -> Command:
    """Add the options that say when a kernel is bad."""
    for option in (
        click.option(
            "--signature",
            default="",
            metavar="REGEX",
            help="Bad only if the reason, or a line of the kernel's complaint, matches this.",
        ),
        click.option(
            "--status",
            "statuses",
            multiple=True,
            type=click.Choice(["FAIL", "CRASH", "HANG"]),
            help="Bad only if a probe ends so; repeatable. Each of them by default.",
        ),
        click.option(
            "--about",
            type=click.Choice(["probe", "splat", "build", "boot"]),
            default="probe",
            show_default=True,
            help="Bad is a kernel in which a probe goes wrong, that complains, that does not "
            "build, or that does not boot.",
        ),
    ):
        function = option(function)
    return function


@click.command()
@kernel_options
@machine_options
@timeout_option
@probe_option
@predicate_options
@runs_option
@click.option("--repo", type=click.Path(path_type=Path), help="Git repository of --good and --bad.")
@click.option("--good", metavar="REV", help="A commit without the fault.")
@click.option("--bad", metavar="REV", help="A commit with the fault.")
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 0.9999),
    metavar="P",
    help="For a fault that does not always show: ask until the answer is right with this "
    "probability, such as 0.95.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def bisect(as_json: bool, timeout: float, **options: Any) -> int:
    """Find the patch of a series, or the commit between --good and --bad, that broke a kernel.

    Given again, the command goes on where it was interrupted. Exit code 0 if one culprit was found,
    1 if none or several.
    """
    from harness.report import bisect as report
    from harness.report import json

    with new_display() as display:
        found = _find(new_context(timeout, display), **options)
    report.write(found, sys.stderr if as_json else sys.stdout)
    if as_json:
        json.write(found, sys.stdout)
    return found.exit_code


def _find(
    context: Context,
    *,
    runs_dir: Path,
    repo: Path | None,
    good: str | None,
    bad: str | None,
    **options: Any,
) -> Bisection:
    from harness.campaign import bisect as campaign
    from harness.campaign import commits

    if repo is None and good is None and bad is None:
        return campaign.bisect_series(_request(**options), runs_dir, context)
    if not good or not bad:
        raise click.UsageError("--good and --bad belong together, with --repo")
    history = commits.history(repo or Path(), good, bad, context.deadline)
    # The commits are the subject; a series is put on each of them only if it is asked for.
    options["series"] = options["series"] or "none"
    return campaign.bisect_commits(_request(**options), history, runs_dir, context)


def _request(*, confidence: float | None, **options: Any) -> BisectRequest:
    from harness.campaign.bisect import BisectRequest

    if confidence is not None and options["about"] == "build":
        raise click.UsageError("a kernel that does not build never does: leave --confidence out")
    return BisectRequest(
        subject=subject_of(**options),
        predicate=_predicate(**options),
        confidence=confidence,
    )


def _predicate(
    probes: tuple[str, ...], about: Any, statuses: tuple[Any, ...], signature: str, **_: Any
) -> Predicate:
    import re

    from harness.campaign.predicate import BAD, Predicate
    from harness.probes import catalog

    try:
        re.compile(signature)
    except re.error as error:
        raise click.BadParameter(f"{signature!r} is no regular expression: {error}") from None
    if about == "probe" and not probes:
        raise click.UsageError("say which with --probe NAME, or what with --about")
    catalog.select(catalog.load(), probes)  # a name that is not there is said before a build
    return Predicate(about=about, probes=probes, statuses=statuses or BAD, signature=signature)


@click.command("bisect-step")
@kernel_options
@machine_options
@timeout_option
@probe_option
@predicate_options
@runs_option
def bisect_step(runs_dir: Path, timeout: float, **options: Any) -> int:
    """Ask one kernel, with the exit codes of `git bisect run`.

    Such as `git bisect run hgm bisect-step --kernel tree:. --probe baseline/smaps/2M`.

    0 good (or without the feature), 1 bad, 125 cannot be tested, 128 stop: this host failed.
    """
    from harness import pipeline
    from harness.campaign.predicate import evaluate
    from harness.campaign.state import decided

    predicate = _predicate(**options)
    options["series"] = options["series"] or "none"
    request = predicate.request(subject_of(**options))
    with new_display() as display:
        record = pipeline.run(request, runs_dir, new_context(timeout, display))
    if not decided(record):
        click.echo(f"stop: {record.reason}")
        return _STOP
    answer = evaluate(predicate, record)
    click.echo(f"{answer.term}: {answer.reason}")
    return {"good": _GOOD, "absent": _GOOD, "bad": _BAD, "untestable": _SKIP}[answer.term]
