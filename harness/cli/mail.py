# SPDX-License-Identifier: GPL-2.0-only
"""The options of commands that write mails, and the writing."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import Command

if TYPE_CHECKING:
    from email.headerregistry import Address

    from harness.records.campaign import Bisection
    from harness.report.mail import Letter

#: Seconds that git may take to say who its user is.
_GIT_SECONDS = 30.0


def mail_options(function: Command) -> Command:
    """Add the options of a command that can write its result as mails."""
    for option in (
        click.option(
            "--from",
            "sender",
            default="",
            metavar="'NAME <ADDRESS>'",
            help="The sender of the mails.  [default: the user of git]",
        ),
        click.option(
            "--mail-dir",
            type=click.Path(file_okay=False, path_type=Path),
            help="Write each mail to a file of this directory; one that is there is left alone.",
        ),
        click.option(
            "--mail",
            is_flag=True,
            help="Print the result as an mbox of mails to the list, one for each finding. Nothing "
            "is sent.",
        ),
    ):
        function = option(function)
    return function


def sender_of(sender: str, *, wanted: bool, as_json: bool) -> Address | None:
    """Return the sender of the mails if any are wanted; without an option, the user of git.

    Raises:
        UsageError: if there is none, it is not an address, or JSON is wanted as well.
    """
    from harness.report import mail

    if not wanted:
        return None
    if as_json:
        raise click.UsageError("give --json or --mail, not both")
    found = mail.parse_sender(sender or _user_of_git())
    if found is None:
        what = f"{sender!r} is not NAME <ADDRESS>" if sender else "git does not know who you are"
        raise click.UsageError(f"{what}; write --from 'NAME <ADDRESS>'")
    return found


def _user_of_git() -> str:
    from harness import command
    from harness.deadline import Deadline

    said = []
    for name in ("user.name", "user.email"):
        deadline = Deadline.after(_GIT_SECONDS, "git config")
        said.append(command.run(["git", "config", "--get", name], deadline, ok=None).stdout.strip())
    return f"{said[0]} <{said[1]}>" if said[1] else ""


def write(letters: Iterable[Letter], sender: Address, directory: Path | None) -> None:
    """Write mails to standard output as an mbox, or each to a file of a directory.

    A file that has the mail already is left alone, and not named again.
    """
    import datetime

    from harness.report import mail
    from harness.store.rundir import make_directory
    from harness.workspace import atomic_write

    now = datetime.datetime.now().astimezone()
    for number, letter in enumerate(letters, 1):
        message = mail.render(letter, sender, now)
        if directory is None:
            sys.stdout.buffer.write(mail.mbox(message))
            continue
        make_directory(directory, "--mail-dir")
        path = directory / f"{number:04}-{letter.file_name}"
        data = message.as_bytes()
        if not (path.is_file() and mail.same(path.read_bytes(), data)):
            atomic_write(path, data)
            click.echo(path)


def write_bisections(found: Iterable[Bisection], sender: Address, directory: Path | None) -> None:
    """Write a mail about the culprit of each bisection that has one, see `write`."""
    from harness.report import bisect_mail
    from harness.store import rundir

    letters = []
    for each in found:
        if each.shown is not None:
            run_dir = Path(each.shown.run_dir)
            letters.append(bisect_mail.letter(each, rundir.load(run_dir), run_dir))
    write(letters, sender, directory)
