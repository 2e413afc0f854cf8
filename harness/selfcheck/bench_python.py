# SPDX-License-Identifier: GPL-2.0-only
"""The part `python` of `hgm selfcheck bench all`: what the harness's own Python takes."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from harness import command
from harness.arch import arches
from harness.command import Completed
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import InfrastructureError
from harness.records.bench import Ratio
from harness.reproducer import probe_words, subject_words
from harness.run.subject import Subject
from harness.selfcheck.baseline import require_exit_code, timeout_words
from harness.selfcheck.bench import CannotMeasureError
from harness.vm import hoststat, spec

#: What it may take: seconds up to the first other program, and 10^6 bytes while guests run.
_SECONDS, _MEGABYTES = 0.4, 150.0

_GUESTS = 4

_POLL_SECONDS = 0.001


class Watched(NamedTuple):
    """What was seen of a command while it ran.

    Attributes:
        first: seconds up to its first child.
        resident: bytes that it had resident at most, its children not counted.
        guests: how many of its children were QEMU, at most.
    """

    first: float
    resident: int
    guests: int


def measure(subject: Subject, probe: str, rounds: int, context: Context) -> tuple[Ratio, ...]:
    """Measure a run of one probe up to its first child, and the memory of one of all in 4 guests.

    Args:
        subject: which kernel; the four guests have one CPU each, and small pools.
        probe: the one.
        rounds: how often the first is measured, after a warm-up.
        context: cache, deadline, progress.

    Raises:
        CannotMeasureError: if this host does not tell the children of a process, or has not the
            memory for four guests.
        InfrastructureError: if a run does not pass.
    """
    small = spec.machine(
        spec.parse_hugepages("2M:64", subject.machine.arch),
        cpus=1,
        arch_name=subject.machine.arch,
    )
    four = msgspec.structs.replace(subject, machine=small)
    with tempfile.TemporaryDirectory(prefix="hgm-bench-") as name:
        words = (*timeout_words(context), "--runs-dir", name)
        one = _argv("harness.cli", *subject_words(subject), *probe_words((probe,)), *words)
        starts = [watch(one, context.deadline).first for _ in range(rounds + 1)][1:]
        many = (*subject_words(four), "--guests", str(_GUESTS), *words)
        seen = watch(_argv("harness.selfcheck.enough_cpus", *many), context.deadline)
    if seen.guests < _GUESTS:
        raise CannotMeasureError(f"this host holds {seen.guests} of {_GUESTS} small guests")
    return (
        Ratio(
            what="hgm run, to its first child",
            base=f"{_SECONDS:g} s",
            seconds=tuple(starts),
            base_seconds=(_SECONDS,) * rounds,
            at_most=1.0,
        ),
        Ratio(
            what=f"memory of all probes, --guests {_GUESTS}",
            base=f"{_MEGABYTES:g} MB",
            seconds=(seen.resident / 1e6,),
            base_seconds=(_MEGABYTES,),
            at_most=1.0,
            unit="MB",
        ),
    )


def watch(argv: tuple[str, ...], limit: Deadline) -> Watched:
    """Run a command and return what was seen of it.

    Raises:
        CannotMeasureError: if this host does not tell the children of a process.
        InfrastructureError: if its exit code is not 0, or it started no other program.
    """
    if not hoststat.names_children():
        raise CannotMeasureError("this host's kernel was built without CONFIG_PROC_CHILDREN")
    first, resident, guests = 0.0, 0, 0
    began = time.perf_counter()
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        command.start(argv, stdout=output, stderr=errors) as process,
    ):
        while (code := process.poll()) is None:
            limit.check()
            children = hoststat.children(process.pid)
            if children and not first:
                first = time.perf_counter() - began
            resident = max(resident, hoststat.peak_resident(process.pid))
            guests = max(guests, sum(map(_is_qemu, children)))
            time.sleep(_POLL_SECONDS if not first else 0.02)  # no event tells of a child
        took = time.perf_counter() - began
        done = Completed(argv, code, _text(output), _text(errors), took, None)
    require_exit_code(done, (0,))
    if not first:
        raise InfrastructureError("a round of the benchmark started no other program", command=argv)
    return Watched(first, resident, guests)


def _argv(module: str, *words: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", module, "run", *words)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _is_qemu(pid: int) -> bool:
    try:
        program = Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode()
    except OSError:  # it has ended
        return False
    return Path(program).name in {each.qemu for each in arches().values()}
