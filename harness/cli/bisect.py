# SPDX-License-Identifier: GPL-2.0-only
"""`hgm bisect`, and `hgm bisect-step` for `git bisect run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.mail import mail_options, sender_of, write_bisections
from harness.cli.options import (
    Command,
    cluster_option,
    json_option,
    open_context,
    probes_option,
    runs_option,
    show,
    subject_of,
    subject_options,
)

if TYPE_CHECKING:
    from harness.campaign.bisect import BisectRequest
    from harness.campaign.predicate import Predicate
    from harness.context import Context
    from harness.records.campaign import Bisection
    from harness.records.machine import MachineSpec

#: Exit codes for `git bisect run` (git-bisect(1)); it stops above 127.
_GOOD, _BAD, _SKIP, _STOP = 0, 1, 125, 128


_which = probes_option("required for --about probe; default for splat: all")


def predicate_options(function: Command) -> Command:
    """Add the options that say when a kernel is bad."""
    for option in (
        click.option(
            "--signature",
            default="",
            metavar="REGEX",
            help="The kernel is bad only if the probe's reason or a line of a splat matches this.",
        ),
        click.option(
            "--status",
            "statuses",
            multiple=True,
            type=click.Choice(["FAIL", "CRASH", "HANG"]),
            help="The kernel is bad only if a probe ends with this status; repeatable.  "
            "[default: any of them]",
        ),
        click.option(
            "--about",
            type=click.Choice(["probe", "splat", "build", "boot"]),
            default="probe",
            show_default=True,
            help="The kernel is bad if a probe of --probe fails, if it reports a splat, if it does "
            "not build, or if it does not boot.",
        ),
    ):
        function = option(function)
    return function


@click.command()
@subject_options
@_which
@predicate_options
@runs_option
@click.option(
    "--repo",
    type=click.Path(path_type=Path),
    help="The repository of --good and --bad.  [default: .]",
)
@click.option("--good", metavar="REV", help="A commit without the fault.")
@click.option("--bad", metavar="REV", help="A commit with the fault.")
@click.option(
    "--skip",
    multiple=True,
    metavar="N|REV",
    help="Do not test this patch of the series, by its number, or this commit; it stays a suspect. "
    "Repeatable.",
)
@click.option(
    "--first-good",
    is_flag=True,
    help="Find the first good one, which fixed the fault, instead of the first bad one. --good is "
    "then the later commit.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 0.9999),
    metavar="P",
    help="For an intermittent fault: repeat until the result is right with this probability, such "
    "as 0.95.",
)
@cluster_option
@json_option
@mail_options
def bisect(
    as_json: bool,
    timeout: float,
    cluster: str | None,
    tls: Path | None,
    mail: bool,
    mail_dir: Path | None,
    sender: str,
    **options: Any,
) -> int:
    """Find the patch or the commit that broke a kernel.

    It bisects the patches of --series, or the commits of --repo between --good and --bad. The same
    command continues a bisection that was interrupted.

    Exit code 0 if one culprit was found, 1 if none or several, 2 if the first or the last kernel
    cannot be tested.
    """
    from harness.report import bisect as report

    person = sender_of(sender, wanted=mail or mail_dir is not None, as_json=as_json)
    with open_context(timeout, cluster, tls) as context:
        found = _find(context, **options)
    if person is None:
        show(found, report.lines(found), as_json=as_json)
    else:
        click.echo(report.verdict_line(found), err=True)
        write_bisections([found], person, mail_dir)
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
        raise click.UsageError("give both --good and --bad, and --repo unless it is this directory")
    ends = (bad, good) if options["first_good"] else (good, bad)
    history = commits.history(repo or Path(), *ends, context)
    # A series is applied to each commit only if it is asked for.
    options["series"] = options["series"] or "none"
    return campaign.bisect_commits(_request(**options), history, runs_dir, context)


def _request(
    *, confidence: float | None, first_good: bool, skip: tuple[str, ...], **options: Any
) -> BisectRequest:
    from harness.campaign.bisect import BisectRequest

    if confidence is not None and options["about"] == "build":
        raise click.UsageError("--about build is never intermittent; leave --confidence out")
    subject = subject_of(**options)
    return BisectRequest(
        subject=subject,
        predicate=_predicate(subject.machine, **options),
        confidence=confidence,
        first_good=first_good,
        skip=skip,
    )


def _predicate(
    machine: MachineSpec,
    probes: tuple[str, ...],
    about: Any,
    statuses: tuple[Any, ...],
    signature: str,
    **_: Any,
) -> Predicate:
    import re

    from harness.campaign.predicate import BAD, Predicate
    from harness.probes import catalog

    try:
        re.compile(signature)
    except re.error as error:
        raise click.BadParameter(
            f"{signature!r} is not a regular expression: {error}", param_hint="--signature"
        ) from None
    if about == "probe" and not probes:
        raise click.UsageError("say with --probe NAME which probe fails, or use --about")
    known = catalog.load(sizes=catalog.sizes(machine, probes))
    catalog.select(known, probes)  # an unknown name is an error before any build
    return Predicate(about=about, probes=probes, statuses=statuses or BAD, signature=signature)


@click.command("bisect-step")
@subject_options
@_which
@predicate_options
@runs_option
def bisect_step(runs_dir: Path, timeout: float, **options: Any) -> int:
    """Test one kernel for `git bisect run`.

    Example: `git bisect run hgm bisect-step --kernel tree:. --probe baseline/smaps/2M`.

    Exit codes: 0 good, or without the feature; 1 bad; 125 cannot be tested; 128 this host failed.
    """
    from harness import pipeline
    from harness.campaign.predicate import evaluate
    from harness.campaign.state import decided

    options["series"] = options["series"] or "none"
    subject = subject_of(**options)
    predicate = _predicate(subject.machine, **options)
    request = predicate.request(subject)
    with open_context(timeout) as context:
        record = pipeline.run(request, runs_dir, context)
    if not decided(record):
        click.echo(f"stop: {record.reason}")
        return _STOP
    answer = evaluate(predicate, record)
    click.echo(f"{answer.term}: {answer.reason}")
    return {"good": _GOOD, "absent": _GOOD, "bad": _BAD, "untestable": _SKIP}[answer.term]
