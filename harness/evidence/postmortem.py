# SPDX-License-Identifier: GPL-2.0-only
"""`hgm post-mortem`: the memory dumps of a run, opened with drgn."""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harness import command
from harness.arch import Arch
from harness.deadline import Deadline
from harness.errors import CommandFailed, RecordError
from harness.evidence.vmcore import NAME
from harness.records.run import RunRecord
from harness.store import rundir
from harness.vm import registers
from harness.workspace import Workspace, atomic_write

_PROGRAM = "harness.evidence.vmcore_report"

# Its exit code where it cannot open the dump; its last line has the reason.
_REFUSED = 3


class Dump(NamedTuple):
    """A memory dump of a run.

    Attributes:
        probe: the probe during which it was made.
        vmcore: the file.
    """

    probe: str
    vmcore: Path


def dumps(run_dir: Path, globs: Sequence[str] = ()) -> tuple[Dump, ...]:
    """Return the dumps of a run, or those of the probes that a glob matches.

    Raises:
        RecordError: if there is none, with the reason where that is known.
    """
    record = rundir.load(run_dir)
    chosen = [
        probe
        for probe in record.probes
        if not globs or any(fnmatch.fnmatchcase(probe.name, glob) for glob in globs)
    ]
    paths = {probe.name: run_dir / rundir.directory_for(probe.name) / NAME for probe in chosen}
    found = tuple(Dump(probe, path) for probe, path in paths.items() if path.exists())
    if not found:
        reasons = [line for probe in chosen for line in _why_not(run_dir, probe.name)]
        raise RecordError(
            f"there is no memory dump in {run_dir}{'; ' if reasons else ''}{'; '.join(reasons)}",
            hint="one is made when a guest hangs or dies; HGM_VMCORES is how many are kept",
        )
    return found


def vmlinux(record: RunRecord, workspace: Workspace) -> Path:
    """Return the ELF file of the kernel that ran.

    Raises:
        RecordError: if it is not in the cache any more, or never was.
    """
    key = record.kernel.key if record.kernel is not None else ""
    path = workspace.cache / "kernels" / key / "vmlinux"
    if not key or not path.exists():
        raise RecordError(
            "the vmlinux of the kernel that ran is not in the cache",
            hint="build it again with the run's reproduce.sh, or name it with --vmlinux",
        )
    return path


def write(vmcore: Path, vmlinux_path: Path, release: str, guest: Arch, deadline: Deadline) -> str:
    """Return what drgn finds in a dump; it is kept in ``post-mortem.txt`` beside it.

    Args:
        vmcore: the dump.
        vmlinux_path: the ELF file of the kernel that ran.
        release: its ``uname -r``.
        guest: its architecture.
        deadline: when it must be done.

    Raises:
        RecordError: if drgn cannot open the dump.
        DeadlineExpired: if it took too long.
    """
    path = vmcore.with_name("registers.txt")
    vcpu = registers.parse(path.read_text(), guest) if path.exists() else None
    levels = (vcpu.levels if vcpu else None) or _levels(vmlinux_path, release, guest)
    argv = [sys.executable, "-P", "-m", _PROGRAM, str(vmcore), str(vmlinux_path)]
    argv += [release, guest.name, str(levels)]
    done = command.run(argv, deadline, ok=None)
    if done.exit_code != 0:
        refused = done.exit_code == _REFUSED
        lines = (done.stdout if refused else done.stderr).strip().splitlines()
        raise RecordError(
            lines[-1] if lines else f"drgn ended with exit code {done.exit_code}",
            hint="was it built with `--config debuginfo`?",
        ) from CommandFailed("drgn", command=argv)
    atomic_write(vmcore.with_name(rundir.POST_MORTEM), done.stdout)
    return done.stdout


def _levels(vmlinux_path: Path, release: str, guest: Arch) -> int:
    """Return the levels of page tables of a kernel whose registers do not tell.

    Our kernels use all that QEMU's CPU offers with their base page, which the configuration beside
    the kernel names.
    """
    from harness.kernel.boot_image import config_beside  # a run without a dump does without it

    cached = vmlinux_path.with_name("config")
    if cached.is_file():
        text = cached.read_text(errors="replace")
    else:
        text = config_beside(vmlinux_path, release) or ""
    page, tables = guest.base_page(text), guest.page_tables
    return max(each for each in tables.names if tables.base_page(each) == page)


def _why_not(run_dir: Path, name: str) -> Iterator[str]:
    capture = rundir.read_capture(run_dir / rundir.directory_for(name))
    for step in capture.steps if capture else ():
        if step.name == "vmcore":
            why = "it has been removed" if step.result == "ok" else step.result
            yield f"{name}: {why}"
