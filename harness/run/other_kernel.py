# SPDX-License-Identifier: GPL-2.0-only
"""Boots another kernel on the machine of a run whose kernel left a splat before init.

`harness.judge.machine` compares the two.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.arch import arch
from harness.errors import HarnessError
from harness.judge.machine import INIT
from harness.run import parallel
from harness.run.prepare import Prepared
from harness.store import rundir
from harness.vm import accel, qemu
from harness.vm.guest import INIT_SECONDS
from harness.workspace import file_digest


def boot(prepared: Prepared, run_dir: Path) -> str:
    """Boot another kernel up to its init and put its console into a run's directory.

    It is one that this host has or that Debian gives out, and not the run's own.

    Args:
        prepared: whose machine, accelerator and initramfs are used.
        run_dir: takes the console.

    Returns:
        A line for the record: which kernel it was, or why there is none.
    """
    own = file_digest(Path(prepared.kernel.image))
    why = "there is none on this host"
    for kernel in accel.other_kernels(arch(prepared.machine.arch), prepared.context):
        if file_digest(kernel) == own:
            continue
        error = _boot(kernel, prepared, run_dir)
        if not error:
            return f"{kernel.name} was booted on the same machine, for its splats before init"
        why = f"{kernel.name}: {error}"
    return (
        f"no other kernel was booted, to see whether splats before init are this machine's: {why}"
    )


def _boot(kernel: Path, prepared: Prepared, run_dir: Path) -> str:
    """Return why a kernel was not seen to start init; nothing if it was."""
    context = prepared.context
    limit = context.deadline.within(INIT_SECONDS, "the boot of another kernel")
    files = qemu.BootFiles(str(kernel), initrd=prepared.image.initramfs)
    with (
        context.workspace.unfinished("boot") as room,
        parallel.leased(1, prepared.machine, context),
    ):
        try:
            with qemu.started(prepared.machine, prepared.accel, files, room, limit) as running:
                running.resume(limit)
                running.console.expect(INIT, limit)
        except HarnessError as error:
            return error.message
        shutil.copy(room / rundir.SERIAL, run_dir / rundir.OTHER_SERIAL)
    return ""
