# SPDX-License-Identifier: GPL-2.0-only
"""`hgm export` and `hgm submit`: a run in formats for other programs."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import Command, open_context, timeout_option

if TYPE_CHECKING:
    from harness.campaign.results import Results

#: Formats of one run; the others can have several.
_SINGLE = ("junit", "ktap")

_ORIGIN = re.compile(r"[a-z0-9_]+\Z")

_RUNS = click.argument(
    "runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path)
)


def _origin(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not _ORIGIN.match(value):
        raise click.BadParameter(f"{value!r} may only have the characters a-z, 0-9 and _")
    return value


def _origin_option(function: Command) -> Command:
    return click.option(
        "--origin",
        default="hgm",
        show_default=True,
        metavar="NAME",
        callback=_origin,
        help="KCIDB's name of your CI system.",
    )(function)


@click.command()
@_RUNS
@click.option(
    "--format",
    "style",
    required=True,
    type=click.Choice(["jsonl", "junit", "kcidb", "ktap", "markdown"]),
    help="JSON Lines, JUnit XML, KCIDB 5.3, KTAP, or Markdown for a summary page.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.  [default: standard output]",
)
@_origin_option
def export(runs: tuple[Path, ...], style: str, output: Path | None, origin: str) -> int:
    """Write runs in a format for other programs.

    RUN is the directory of a run, or of a campaign such as a bisection, which stands for all its
    runs. JUnit and KTAP take one run. Nothing is sent.
    """
    from harness.campaign import results
    from harness.errors import RecordError
    from harness.workspace import atomic_write

    found = results.load(runs)
    if style in _SINGLE and len(found.runs) != 1:
        raise click.UsageError(f"--format {style} takes one run, and these are {len(found.runs)}")
    data = _rendered(found, style, origin)
    if output is None:
        sys.stdout.buffer.write(data)
        return 0
    try:
        atomic_write(output, data)
    except OSError as error:
        raise RecordError(f"cannot write {output}: {error.strerror}") from None
    return 0


def _rendered(found: Results, style: str, origin: str) -> bytes:
    from harness.report import jsonl, junit, ktap, summary

    match style:
        case "junit":
            return junit.render(found.runs[0])
        case "ktap":
            return ktap.render(found.runs[0]).encode()
        case "kcidb":
            return _kcidb(found, origin)
        case "jsonl":
            lines = [line for run in found.runs for line in jsonl.lines(run)]
        case _:
            lines = [line for run in found.runs for line in (*summary.lines(run), "")]
    return "".join(f"{line}\n" for line in lines).encode()


def _kcidb(found: Results, origin: str) -> bytes:
    """Return runs as KCIDB takes them, with the figures of those that have some."""
    from harness.errors import RecordError
    from harness.records.study import LinkModel
    from harness.report import kcidb
    from harness.study import postcopy

    studies = []
    for directory in found.directories:
        with contextlib.suppress(RecordError):  # only its result.json is here
            studies.append(postcopy.read(directory, LinkModel()))
    return kcidb.encode(kcidb.document(found.runs, origin, found.bisections, studies)).encode()


@click.group()
def submit() -> None:
    """Send runs to a database of results."""


@submit.command("kcidb")
@_RUNS
@click.option(
    "--url",
    required=True,
    metavar="URL",
    help="Where to post it, such as https://HOST/submit.",
)
@click.option(
    "--token-file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file with the token of your CI system.",
)
@_origin_option
@timeout_option
def submit_kcidb(
    runs: tuple[Path, ...], url: str, token_file: Path, origin: str, timeout: float
) -> int:
    """Post runs to KCIDB, the database of KernelCI.

    `hgm export --format kcidb` shows what is sent: names of patches, machines and tests, reasons,
    and what the kernel reported. It is checked with KernelCI's schema first.
    """
    from harness.campaign import results
    from harness.report import post

    found = results.load(runs)
    data = _kcidb(found, origin)
    token = post.read_token(token_file)
    with open_context(timeout) as context:
        answer = post.post(url, data, token, context.deadline)
    click.echo(f"{len(found.runs)} runs posted to {url}: {answer}")
    return 0
