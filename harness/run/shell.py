# SPDX-License-Identifier: GPL-2.0-only
"""`hgm guest shell`: boots a guest as a run does, and opens a terminal or runs a command in it."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import sys
import tempfile
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import paramiko

from harness.context import Context
from harness.errors import GuestLost
from harness.probes import catalog
from harness.run import listener, parallel, prepare, starting
from harness.run.prepare import Prepared
from harness.run.subject import Subject
from harness.vm.guest import Guest
from harness.vm.ssh import as_guest_lost

_CHUNK = 65536


def open_shell(
    subject: Subject,
    command: Sequence[str],
    context: Context,
    end_display: Callable[[], None],
    *,
    disk: bool,
) -> int:
    """Boot a guest with every probe in it and connect this terminal to it.

    Args:
        subject: which kernel on which machine.
        command: what to run instead of a login shell; its words reach the guest unchanged.
        context: cache, deadline, progress.
        end_display: ends the display of progress, before the terminal belongs to the guest.
        disk: whether Python and the GNU tools are wanted.

    Returns:
        The command's exit code, or the shell's.

    Raises:
        HarnessError: if a stage failed, or the guest was lost.
    """
    with booted(subject, context, disk=disk) as (host, _):
        if command:
            answer = host.ssh.run(
                command,
                context.deadline,
                on_stdout=_writer(sys.stdout.fileno()),
                on_stderr=_writer(sys.stderr.fileno()),
            )
            return answer.exit_code
        context.progress.note("probes are in /probes; leave with exit, which ends the guest")
        end_display()
        terminal = terminal_size() if sys.stdin.isatty() else None
        # A person may stop QEMU with a debugger, and take as long as it takes.
        with host.heartbeat.suspended(), host.ssh.shell(terminal) as channel:
            code = _connect(channel)
        if code < 0:
            raise GuestLost("the guest, or the connection to it, ended before its shell did")
        return code


@contextlib.contextmanager
def booted(
    subject: Subject, context: Context, *, disk: bool, monitor: str = ""
) -> Iterator[tuple[Guest, Prepared]]:
    """Boot a guest with every probe in it for a person's use, without a record.

    Args:
        subject: which kernel on which machine.
        context: cache, deadline, progress.
        disk: whether Python and the GNU tools are wanted.
        monitor: see `harness.vm.guest.BootRequest`.

    Raises:
        HarnessError: if a stage failed.
    """
    with tempfile.TemporaryDirectory(prefix="hgm-guest-") as name:
        directory = Path(name)
        specs = catalog.load()
        to = listener.NullListener(context.progress)
        prepared = prepare.prepare(subject, specs, context, directory, to)
        context.progress.stage("guest")
        with (
            parallel.leased(1, prepared.machine, context),
            starting.guest_with_probes(prepared, directory, disk=disk, monitor=monitor) as host,
        ):
            yield host, prepared


def _writer(descriptor: int) -> Callable[[bytes], object]:
    return lambda data: os.write(descriptor, data)


def terminal_size() -> tuple[int, int]:
    """Return the columns and lines of this terminal."""
    size = shutil.get_terminal_size()
    return size.columns, size.lines


def _connect(channel: paramiko.Channel) -> int:
    """Copy bytes both ways until the shell ends; return its exit code, -1 if it gave none."""
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    # Not epoll, which refuses a plain file.
    with raw_keyboard(keyboard), selectors.PollSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        selector.register(keyboard, selectors.EVENT_READ)
        while not channel.closed:
            for key, _ in selector.select(timeout=1.0):
                if key.fileobj is channel:
                    with as_guest_lost():
                        data = channel.recv(_CHUNK)
                    if not data:
                        return channel.recv_exit_status()
                    os.write(screen, data)
                    continue
                typed = os.read(keyboard, _CHUNK)
                with as_guest_lost():
                    if typed:
                        channel.sendall(typed)
                    else:
                        channel.shutdown_write()
                        selector.unregister(keyboard)
    return channel.recv_exit_status()


@contextlib.contextmanager
def raw_keyboard(descriptor: int) -> Iterator[None]:
    """Pass every key to the guest, even Ctrl-C, if this is a terminal."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
