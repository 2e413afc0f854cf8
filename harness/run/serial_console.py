# SPDX-License-Identifier: GPL-2.0-only
"""`hgm guest shell --console`: gives this terminal the serial console of a guest.

Kernel messages come as they are printed, and a kernel with CONFIG_MAGIC_SYSRQ_SERIAL answers SysRq
when no process runs any more. The keys are those of ``qemu -nographic``.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import sys
import threading
from collections.abc import Callable, Iterator

from harness.context import Context
from harness.deadline import Deadline
from harness.errors import DeadlineExpired, GuestLost, SpecError
from harness.run import shell
from harness.run.subject import Subject
from harness.vm.guest import Guest

_CHUNK = 4096
_POLL_SECONDS = 0.2
_ESCAPE = 0x01  # Ctrl-A

_KEYS = "Ctrl-A X ends the guest, Ctrl-A B sends a break, Ctrl-A Ctrl-A sends Ctrl-A"


def open_console(
    subject: Subject, context: Context, end_display: Callable[[], None], *, disk: bool
) -> int:
    """Boot a guest with every probe in it and connect this terminal to its serial console.

    What it has printed since its first byte comes first.

    Args:
        subject: which kernel on which machine.
        context: cache, deadline, progress.
        end_display: ends the display of progress, before the terminal belongs to the guest.
        disk: whether Python and the GNU tools are wanted.

    Returns:
        0, once the guest has powered itself off or the user has ended it.

    Raises:
        SpecError: if standard input is not a terminal.
        HarnessError: if a stage failed, the kernel panicked, or the guest was lost.
    """
    if not sys.stdin.isatty():
        raise SpecError(
            "--console needs a terminal as its standard input",
            hint="run a command without it: hgm guest shell -- COMMAND",
        )
    with shell.booted(subject, context, disk=disk) as (host, _):
        context.progress.note("probes are in /probes; leave with exit, which ends the guest")
        context.progress.note(_KEYS)
        end_display()
        with host.heartbeat.suspended(), shell.raw_keyboard(sys.stdin.fileno()):
            left = _connect(host)
        if left or (host.shut_itself_down() and not host.panicked):
            return 0
        raise GuestLost(host.end_reason() or "the guest ended")


def split_keys(typed: bytes, escaped: bool) -> tuple[list[bytes | str], bool]:
    """Take Ctrl-A and the key after it out of what was typed.

    Args:
        typed: bytes from the keyboard.
        escaped: whether the byte before them was Ctrl-A.

    Returns:
        What to do in this order: bytes to send, ``end`` or ``break``; and whether the last byte is
        a Ctrl-A that waits for its key. Another key after Ctrl-A does nothing, as in QEMU.
    """
    todo: list[bytes | str] = []
    plain = bytearray()
    for byte in typed:
        if not escaped:
            escaped = byte == _ESCAPE
            if not escaped:
                plain.append(byte)
            continue
        escaped = False
        action = {b"x": "end", b"b": "break"}.get(bytes([byte]).lower())
        if byte == _ESCAPE:
            plain.append(byte)
        elif action:
            todo += [bytes(plain), action] if plain else [action]
            plain.clear()
    return ([*todo, bytes(plain)] if plain else todo), escaped


def _connect(host: Guest) -> bool:
    """Copy both ways until the guest ends; return True if the user left before."""
    keyboard = sys.stdin.fileno()
    # Init has turned echo off, for programs; this shell is typed into.
    columns, lines = shell.terminal_size()
    host.console.send(
        f"stty sane rows {lines} columns {columns}; PS1='\\w # ' sh -i; poweroff -f\n"
    )
    escaped = False
    with _shown(host), selectors.DefaultSelector() as selector:
        selector.register(keyboard, selectors.EVENT_READ)
        selector.register(host.died, selectors.EVENT_READ)
        while not host.died.is_set():
            selector.select()
            if host.died.is_set():
                break
            typed = os.read(keyboard, _CHUNK)
            if not typed:
                return True
            todo, escaped = split_keys(typed, escaped)
            for each in todo:
                if each == "end":
                    return True
                if each == "break":
                    host.send_break()
                else:
                    host.console.send(each)
    return False


@contextlib.contextmanager
def _shown(host: Guest) -> Iterator[None]:
    """Print the console, from its first byte to its last, while the body runs."""
    left = threading.Event()

    def show() -> None:
        offset = host.console.start
        while not left.is_set():
            with contextlib.suppress(DeadlineExpired):
                chunk = host.console.read_from(offset, Deadline.after(_POLL_SECONDS, "a byte"))
                if not chunk:
                    return
                offset += len(chunk)
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()

    thread = threading.Thread(target=show, name="screen", daemon=True)
    thread.start()
    try:
        yield
    finally:
        if not host.died.is_set():
            left.set()
        thread.join()
