# SPDX-License-Identifier: GPL-2.0-only
"""`hgm guest`: interactive guests."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from harness.cli.options import (
    open_context,
    subject_of,
    subject_options,
)


@click.group()
def guest() -> None:
    """Boot a guest for interactive use."""


@guest.command("shell")
@subject_options
@click.option(
    "--disk/--no-disk",
    default=True,
    help="Mount the disk with Python and GNU tools.",
    show_default=True,
)
@click.argument("command", nargs=-1)
def guest_shell(command: tuple[str, ...], timeout: float, disk: bool, **options: Any) -> int:
    """Boot a guest and open a shell in it, or run COMMAND there.

    The probes are in /probes.
    """
    from harness.run import shell

    with contextlib.ExitStack() as stack:
        context = stack.enter_context(open_context(timeout))
        return shell.open_shell(subject_of(**options), command, context, stack.close, disk=disk)
