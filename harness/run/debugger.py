# SPDX-License-Identifier: GPL-2.0-only
"""`hgm guest gdb` and `drgn`: boots a guest as a run does, and opens its kernel in a debugger."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from harness.arch import arch
from harness.context import Context
from harness.errors import QemuError, SpecError, ToolMissing
from harness.run import shell
from harness.run.subject import Subject
from harness.vm.guest import Guest

Debugger = Literal["gdb", "drgn"]


def open_debugger(
    debugger: Debugger,
    subject: Subject,
    arguments: Sequence[str],
    context: Context,
    end_display: Callable[[], None],
    *,
    disk: bool,
) -> int:
    """Boot a guest with every probe in it, and give this terminal to a debugger of its kernel.

    gdb is connected to QEMU's stub, which stops the guest; drgn reads the memory of a guest that
    goes on.

    Args:
        debugger: which one.
        subject: which kernel on which machine.
        arguments: for the debugger, after those that name the guest and its kernel.
        context: cache, deadline, progress.
        end_display: ends the display of progress, before the terminal belongs to the debugger.
        disk: whether the guest has Python and the GNU tools.

    Returns:
        The debugger's exit code.

    Raises:
        SpecError: if the kernel comes without what the debugger needs.
        ToolMissing: if the debugger is not installed.
        HarnessError: if a stage failed, or the guest was lost.
    """
    if subject.kernel.source.startswith("image:"):
        raise SpecError(
            f"--kernel {subject.kernel.source}: an image has no vmlinux for {debugger}",
            hint="name the kernel's source",
        )
    if debugger == "drgn" and "debuginfo" not in subject.kernel.features:
        raise SpecError(
            "drgn needs a kernel that has types and tells QEMU where it is",
            hint="add --config debuginfo",
        )
    gdb = arch(subject.machine.arch).gdb
    if debugger == "gdb" and shutil.which(gdb) is None:
        raise ToolMissing(
            f"the program {gdb} is not installed", hint=f"install Debian's package {gdb}"
        )
    with tempfile.TemporaryDirectory(prefix="hgm-debug-") as name:
        socket = str(Path(name) / "socket")
        monitor = socket if debugger == "drgn" else ""
        with shell.booted(subject, context, disk=disk, monitor=monitor) as (host, prepared):
            vmlinux = prepared.kernel.vmlinux
            if debugger == "gdb":
                _serve_gdb(host, socket, context)
                argv = [gdb, "-ex", f"target remote {socket}", *arguments, vmlinux]
            else:
                argv = [sys.executable, "-P", "-m", "drgn", "--qemu", socket]
                argv += ["--no-default-symbols", "--symbols", vmlinux, *arguments]
            end_display()
            with host.heartbeat.suspended(), _interrupts_are_its_own():
                return subprocess.run(argv, check=False).returncode


def _serve_gdb(host: Guest, socket: str, context: Context) -> None:
    """Have QEMU listen for gdb on a socket."""
    limit = context.deadline.within(10, "QEMU's gdbserver")
    answer = host.qmp.monitor(f"gdbserver unix:{socket},server=on,wait=off", limit)
    if not Path(socket).exists():
        raise QemuError(f"QEMU does not listen for gdb: {answer.strip()}")


@contextlib.contextmanager
def _interrupts_are_its_own() -> Iterator[None]:
    """Leave Ctrl-C to the debugger, which has the same terminal."""
    # Not SIG_IGN, which the debugger would inherit.
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
