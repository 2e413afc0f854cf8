# SPDX-License-Identifier: GPL-2.0-only
"""`hgm guest`: interactive guests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import (
    open_context,
    subject_of,
    subject_options,
)

if TYPE_CHECKING:
    from harness.run.debugger import Debugger


@click.group()
def guest() -> None:
    """Boot a guest for interactive use."""


_disk_option = click.option(
    "--disk/--no-disk",
    default=True,
    help="Mount the disk with Python and GNU tools.",
    show_default=True,
)


@guest.command("shell")
@subject_options
@_disk_option
@click.option(
    "--console",
    is_flag=True,
    help="Use the serial console instead of SSH: it has the kernel's messages.",
)
@click.argument("command", nargs=-1)
def guest_shell(
    command: tuple[str, ...], timeout: float, disk: bool, console: bool, **options: Any
) -> int:
    """Boot a guest and open a shell in it, or run COMMAND there.

    The probes are in /probes. On the console Ctrl-A X ends the guest, Ctrl-A Ctrl-A sends Ctrl-A,
    and Ctrl-A B sends a break, after which a kernel with --config debuginfo takes a SysRq key.
    """
    from harness.run import serial_console, shell

    if console and command:
        raise click.UsageError("--console runs no COMMAND: type it there, or leave out --console")
    with contextlib.ExitStack() as stack:
        context = stack.enter_context(open_context(timeout))
        if console:
            return serial_console.open_console(
                subject_of(**options), context, stack.close, disk=disk
            )
        return shell.open_shell(subject_of(**options), command, context, stack.close, disk=disk)


@guest.command("gdb")
@subject_options
@_disk_option
@click.argument("arguments", metavar="[ARGUMENT]...", nargs=-1)
def guest_gdb(**options: Any) -> int:
    """Boot a guest, stop it, and connect gdb to its kernel.

    The guest ends with gdb. Each ARGUMENT goes to gdb; options follow a `--`, as in
    -- -batch -ex bt. With --config debuginfo memory management has types, files and lines.
    """
    return _debug("gdb", **options)


@guest.command("drgn")
@subject_options
@_disk_option
@click.argument("arguments", metavar="[ARGUMENT]...", nargs=-1)
def guest_drgn(**options: Any) -> int:
    """Boot a guest and look at its running kernel with drgn.

    The guest ends with drgn. Each ARGUMENT goes to drgn: a script, or options after a `--`, as in
    -- -e CODE. The kernel needs the types of --config debuginfo.
    """
    return _debug("drgn", **options)


def _debug(
    debugger: Debugger, *, arguments: tuple[str, ...], timeout: float, disk: bool, **options: Any
) -> int:
    from harness.run import debugger as run

    with contextlib.ExitStack() as stack:
        context = stack.enter_context(open_context(timeout))
        return run.open_debugger(
            debugger, subject_of(**options), arguments, context, stack.close, disk=disk
        )
