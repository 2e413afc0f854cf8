# SPDX-License-Identifier: GPL-2.0-only
"""What the host shows of QEMU: its process, the CPU time of its vCPUs, and how busy the host is."""

from __future__ import annotations

import contextlib
import math
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness import command
from harness.records.probe import HostLoad, VcpuTime

#: The states of proc_pid_stat(5) in words; any other one runs, or sleeps as a live QEMU does.
_STATES = {
    "T": "is stopped",
    "t": "is stopped by a debugger",
    "D": "waits for I/O",
    "Z": "has ended",
    "X": "has ended",
}

_PRESSURE = re.compile(r"^some avg10=(\d+\.\d+)", re.MULTILINE)
_OOM_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)
_SWAPPED = re.compile(r"^VmSwap:\s+(\d+) kB", re.MULTILINE)
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)
_TOUCHED = re.compile(r"^Rss(?:Anon|Shmem):\s+(\d+) kB$", re.MULTILINE)


def stopped(pid: int) -> bool:
    """Return whether a signal or a debugger keeps a process from running."""
    return command.state(pid) in "Tt"


def oom_kills() -> int:
    """Return how many processes the OOM killer has ended since the host's boot (vmstat)."""
    found = _OOM_KILLS.search(Path("/proc/vmstat").read_text())
    return int(found[1]) if found else 0


def available() -> int:
    """Return the bytes of memory that programs can still get without swapping (meminfo)."""
    found = _AVAILABLE.search(Path("/proc/meminfo").read_text())
    return int(found[1]) << 10 if found else 0


def touched_by_children(pid: int) -> int:
    """Return the bytes that are not available any more because a process's children have them.

    Pages of files are available still, and what is swapped out will be taken again. 0 where that is
    not known: a kernel without CONFIG_PROC_CHILDREN does not name the children.
    """
    total = 0
    for child in children(pid):
        with contextlib.suppress(OSError):  # it has ended
            found = _TOUCHED.findall(Path(f"/proc/{child}/status").read_text())
            total += sum(map(int, found)) << 10
    return total


def names_children() -> bool:
    """Return whether the kernel tells the children of a process (CONFIG_PROC_CHILDREN)."""
    return Path("/proc/thread-self/children").exists()


def children(pid: int) -> tuple[int, ...]:
    """Return the children of a process; none if it has ended, or the kernel does not tell them."""
    found: list[str] = []
    with contextlib.suppress(OSError):  # the process has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # the thread has ended
                found += (thread / "children").read_text().split()
    return tuple(map(int, found))


def peak_resident(pid: int) -> int:
    """Return the most bytes that a process has had resident; 0 if it has ended."""
    return _kibibytes(_PEAK, pid) << 10


def describe(pid: int) -> str:
    """Return what a process does, such as ``is stopped (state T), 12 MiB of it swapped out``."""
    letter = command.state(pid)
    said = f"{_STATES.get(letter, 'is alive')} (state {letter})"
    swapped = _kibibytes(_SWAPPED, pid) >> 10
    return said + (f", {swapped} MiB of it swapped out" if swapped else "")


def _kibibytes(line: re.Pattern[str], pid: int) -> int:
    """Return the number in a line of a process's status; 0 where it is not known."""
    try:
        match = line.search(Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(match[1]) if match else 0


class ThreadTime(NamedTuple):
    """The CPU time of a thread since it began; not-a-number where it is gone.

    Attributes:
        ran: seconds on a CPU.
        waited: seconds for which it was ready to run and did not have a CPU.
    """

    ran: float
    waited: float


def thread_time(thread: int) -> ThreadTime:
    """Return the CPU time of a thread, from ``/proc/TID/schedstat``."""
    try:
        ran, waited = Path(f"/proc/{thread}/schedstat").read_text().split()[:2]
        return ThreadTime(int(ran) / 1e9, int(waited) / 1e9)
    except (OSError, ValueError):
        return ThreadTime(float("nan"), float("nan"))


def process_time(pid: int) -> float:
    """Return the CPU time of all threads of a process, in seconds: clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)


class Sample(NamedTuple):
    """The clocks of the host and of a guest's vCPUs at one moment.

    Attributes:
        at: seconds of the monotonic clock.
        vcpus: the CPU time of the thread of each vCPU.
        stolen: CPU time that the host's own hypervisor gave to others, in ticks.
        wanted: CPU time for which the host's CPUs were not idle, in ticks, the stolen included.
    """

    at: float
    vcpus: tuple[ThreadTime, ...]
    stolen: int
    wanted: int


def sample(threads: Sequence[int]) -> Sample:
    """Return the clocks now.

    Args:
        threads: thread ID of each vCPU.
    """
    # proc_stat(5): user nice system idle iowait irq softirq steal; guest time is in user already.
    ticks = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    busy = sum(ticks) - ticks[3] - ticks[4]
    return Sample(time.monotonic(), tuple(map(thread_time, threads)), ticks[7], busy)


def load_between(before: Sample, after: Sample) -> HostLoad:
    """Return what the host gave a guest between two samples; pressure and load are those of now."""
    wanted = after.wanted - before.wanted
    return HostLoad(
        seconds=round(after.at - before.at, 3),
        vcpus=tuple(
            VcpuTime(ran=round(b.ran - a.ran, 3), waited=round(b.waited - a.waited, 3))
            for a, b in zip(before.vcpus, after.vcpus, strict=True)
            if not math.isnan(b.ran)
        ),
        steal=round((after.stolen - before.stolen) / wanted, 3) if wanted > 0 else 0.0,
        pressure=_pressure(),
        load=round(os.getloadavg()[0], 2),
    )


def busy(before: Sample, after: Sample) -> tuple[float | None, ...]:
    """Return the share of the time that each vCPU ran, 0 to 1; None where it is not known."""
    span = max(1e-9, after.at - before.at)
    shares = [(b.ran - a.ran) / span for a, b in zip(before.vcpus, after.vcpus, strict=True)]
    return tuple(
        None if math.isnan(share) else round(min(1.0, max(0.0, share)), 2) for share in shares
    )


def _pressure() -> float | None:
    """Return PSI's ``some avg10`` of the CPU, per cent; None on a kernel without it."""
    try:
        match = _PRESSURE.search(Path("/proc/pressure/cpu").read_text())
    except OSError:
        return None
    return float(match[1]) if match else None
