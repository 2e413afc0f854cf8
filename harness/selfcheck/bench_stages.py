# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck bench stages`: what each stage of a guest's boot costs."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness.command import Process
from harness.context import Context
from harness.run import listener, prepare, starting, subject
from harness.vm import hoststat
from harness.vm.guest import BootRequest, booted

# The stages, and the line of the console that ends each; "" where something else ends it.
_STAGES = (
    ("files and QEMU", ""),
    ("firmware, decompression", "Linux version "),
    ("kernel", "Run /init as init process"),
    ("init", "hgm: init done"),
    ("login, pool check", ""),
    ("one command", ""),
)


class Clocks(NamedTuple):
    """The clocks at the end of a stage.

    Attributes:
        wall: seconds of a monotonic clock.
        cpu: seconds of processor time that QEMU has used.
    """

    wall: float
    cpu: float


class StageCost(NamedTuple):
    """What one stage cost.

    Attributes:
        name: of the stage.
        wall: seconds, by boot.
        cpu: seconds of QEMU's processor time, by boot; they depend less on the host's load.
    """

    name: str
    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    def text(self) -> str:
        """Return the medians in one line."""
        wall, cpu = (statistics.median(each) * 1000 for each in (self.wall, self.cpu))
        return f"{self.name:<24} {wall:7.0f} ms, of which QEMU ran for {cpu:7.0f} ms"


def measure(subject: subject.Subject, rounds: int, context: Context) -> tuple[StageCost, ...]:
    """Boot a guest some times, and return the cost of each stage, in order, and of the whole.

    Raises:
        HarnessError: if a guest does not boot.
    """
    with tempfile.TemporaryDirectory(prefix="hgm-bench-") as name:
        directory = Path(name)
        bench = prepare.prepare(
            subject, (), context, directory, listener.NullListener(context.progress)
        )
        context.progress.stage("bench", f"{rounds} boots, after one that is not counted")
        boots = [_boot(bench, directory / str(number)) for number in range(rounds + 1)][1:]
    names = [name for name, _ in _STAGES]
    costs = [cost(name, boots, at, at + 1) for at, name in enumerate(names)]
    return (*costs, cost("all", boots, 0, len(names)))


def cost(name: str, boots: Sequence[Sequence[Clocks]], begin: int, end: int) -> StageCost:
    """Return the cost of a stage between two of the marks of each boot."""
    pairs = [(marks[begin], marks[end]) for marks in boots]
    return StageCost(
        name,
        tuple(after.wall - before.wall for before, after in pairs),
        tuple(after.cpu - before.cpu for before, after in pairs),
    )


def _boot(bench: prepare.Prepared, directory: Path) -> list[Clocks]:
    """Boot a guest and return the clocks at its begin and at the end of each stage."""
    directory.mkdir()
    marks = [Clocks(time.perf_counter(), 0.0)]
    pids: list[int] = []
    left = [words for _, words in _STAGES if words]

    def mark() -> None:
        marks.append(Clocks(time.perf_counter(), hoststat.process_time(pids[0])))

    def started(process: Process) -> None:
        pids.append(process.pid)
        mark()

    def see(line: str) -> bool:  # of each line of the console
        if left and left[0] in line:
            left.pop(0)
            mark()
        return False

    request = BootRequest(
        kernel=bench.kernel,
        image=bench.image,
        machine=bench.machine,
        accel=bench.accel,
        started=started,
        stuck=see,
    )
    with booted(request, directory, bench.context) as host:
        mark()
        host.ssh.run(["true"], starting.soon(bench), check=True)
        mark()
        host.power_off(bench.context.progress)
    return marks
