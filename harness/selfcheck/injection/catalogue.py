# SPDX-License-Identifier: GPL-2.0-only
"""The host faults that can be injected: when each is, and how the run may end."""

from __future__ import annotations

import importlib.util
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness import command
from harness.errors import SpecError
from harness.records.base import Record
from harness.selfcheck.injection import actions, oracle
from harness.selfcheck.injection.oracle import AllowedEnd, Stage
from harness.store import rundir

#: Cheap probes: less than a second for all of them.
PROBES = (
    "baseline/memfd-map/2M",
    "baseline/memfd-alias/2M",
    "baseline/minor-fault/2M",
    "baseline/pool/2M",
    "baseline/smaps/2M",
    "baseline/cgroup-limit/2M",
    "hgm/split/2M",
)

_PAUSE_SECONDS = 1.5
_HOUR = 3600
_DAY = 24 * _HOUR
_FILLER = "filler"

#: A fault is injected within this many seconds after the run has reached a stage.
_SPREAD: dict[Stage, float] = {
    "launch": 0.0,
    "start": 0.4,
    "boot": 1.2,
    "restore": 0.3,
    "probe": 0.12,
    "cell": 2.0,
}

# Each probe has a guest of its own that is restored from a snapshot, so few are enough.
_RESTORED = ("--fresh-guest",)
_FEW_PROBES = PROBES[:2]


@dataclass
class Target:
    """A run under way into which a fault is injected.

    Attributes:
        process: the harness.
        mark: see `actions.MARK`.
        runs: its ``--runs-dir`` as seen from here.
        private: the directory that holds its home, its temporary files and its clock.
        cache: the cache that it uses.
        env: variables of its environment.
        cluster: the scheduler and the worker that a matrix uses; empty for a run.
        again: the command that continues the matrix without them; empty for a run.
    """

    process: command.Process
    mark: str
    runs: Path
    private: Path
    cache: Path
    env: Mapping[str, str] = field(default_factory=dict)
    cluster: tuple[command.Process, ...] = ()
    again: tuple[str, ...] = ()

    @property
    def run_dirs(self) -> tuple[Path, ...]:
        """Return the directories of its runs as seen from here: a matrix has one a cell."""
        found = self.runs.glob("*/*/2*/result.json" if self.again else "2*/result.json")
        return tuple(sorted(path.parent for path in found))

    @property
    def run_dir(self) -> Path | None:
        """Return the directory of its first run; None before it exists."""
        return next(iter(self.run_dirs), None)


@dataclass(frozen=True)
class HostFault:
    """A fault of the host or of the harness's surroundings.

    Attributes:
        name: for the command line and tables.
        does: what is done to the run, in a line.
        stages: of the run in which it may be injected.
        inject: does it.
        allowed: how the run may end.
        small_disk: which of the run's directories is on a small disk; only root can mount it.
        clock: whether the run needs a clock that can jump.
        options: more options of `hgm run`.
        probes: that it runs.
        matrix: whether the run is a matrix on a cluster of this host, a cell for each probe.
        kills: returns the processes of the harness that it kills.
    """

    name: str
    does: str
    stages: tuple[Stage, ...]
    inject: Callable[[Target], None]
    allowed: AllowedEnd
    small_disk: Literal["", "runs", "cache"] = ""
    clock: bool = False
    options: tuple[str, ...] = ()
    probes: tuple[str, ...] = PROBES
    matrix: bool = False
    kills: Callable[[Target], Sequence[command.Process]] = lambda target: ()


def _signal_qemu(number: signal.Signals) -> Callable[[Target], None]:
    return lambda target: actions.send(actions.qemu(target.mark), number)


def _signal_harness(number: signal.Signals) -> Callable[[Target], None]:
    return lambda target: actions.send(target.process.pid, number)


def _pause_qemu(target: Target) -> None:
    pid = actions.qemu(target.mark)
    actions.send(pid, signal.SIGSTOP)
    time.sleep(_PAUSE_SECONDS)  # the fault itself
    actions.send(pid, signal.SIGCONT)


def _run_dir(target: Target) -> Path:
    found = target.run_dir
    if found is None:
        raise actions.Missed("there is no run directory")
    return found


def _snapshot_memory(target: Target) -> Path:
    found = sorted(target.cache.glob("snapshots/*/memory0"))
    if not found:
        raise actions.Missed("there is no snapshot")
    return found[-1]


def _jump(seconds: int) -> Callable[[Target], None]:
    return lambda target: actions.set_clock(target.private / "clock", seconds)


_GUEST: tuple[Stage, ...] = ("boot", "probe")
_ANY: tuple[Stage, ...] = ("start", "boot", "probe")

FAULTS: tuple[HostFault, ...] = (
    HostFault("qemu-killed", "SIGKILL to QEMU", _GUEST, _signal_qemu(signal.SIGKILL), oracle.ERROR),
    HostFault(
        "qemu-stopped", "SIGSTOP to QEMU", _GUEST, _signal_qemu(signal.SIGSTOP), oracle.ERROR
    ),
    HostFault(
        "qemu-paused",
        f"SIGSTOP to QEMU, SIGCONT {_PAUSE_SECONDS:g} s later",
        _GUEST,
        _pause_qemu,
        oracle.PASSES,
    ),
    HostFault(
        "qmp-wedged",
        "QEMU's monitor stops answering",
        _GUEST,
        lambda target: actions.wedge_qmp(target.process.pid, actions.qemu(target.mark)),
        oracle.PASSES_OR_ERROR,
    ),
    HostFault(
        "qmp-closed",
        "QEMU's end of the QMP socket is shut down",
        _GUEST,
        lambda target: actions.cut_channel(actions.qemu(target.mark), "qmp"),
        oracle.PASSES_OR_ERROR,
    ),
    HostFault(
        "ssh-reset",
        "the harness's TCP connection to the guest is reset while output is copied",
        ("probe",),
        lambda target: actions.reset_ssh(target.process.pid),
        oracle.PASSES_OR_ERROR,
    ),
    HostFault(
        "disk-full",
        "the file system of the run directory is full",
        _ANY,
        lambda target: actions.fill(target.runs.parent / _FILLER),
        oracle.DISK_FULL,
        small_disk="runs",
    ),
    HostFault(
        "console-closed",
        "QEMU's end of the serial console is shut down",
        _GUEST,
        lambda target: actions.cut_channel(actions.qemu(target.mark), "console"),
        oracle.PASSES_OR_ERROR,
    ),
    HostFault(
        "console-cut",
        "serial.log loses its second half",
        ("probe",),
        lambda target: actions.cut_file(_run_dir(target) / rundir.SERIAL),
        oracle.CONSOLE_GAP,
    ),
    HostFault(
        "clock-forward",
        "the wall clock jumps a day ahead",
        _ANY,
        _jump(_DAY),
        oracle.PASSES_WITH_JUMP,
        clock=True,
    ),
    HostFault(
        "clock-back",
        "the wall clock jumps an hour back",
        _ANY,
        _jump(-_HOUR),
        oracle.PASSES_WITH_JUMP,
        clock=True,
    ),
    HostFault(
        "harness-sigterm",
        "SIGTERM to the harness",
        _ANY,
        _signal_harness(signal.SIGTERM),
        oracle.INTERRUPTED,
    ),
    HostFault(
        "harness-sigint",
        "SIGINT to the harness",
        _ANY,
        _signal_harness(signal.SIGINT),
        oracle.INTERRUPTED,
    ),
    HostFault(
        "harness-sigkill",
        "SIGKILL to the harness",
        _ANY,
        _signal_harness(signal.SIGKILL),
        oracle.KILLED,
        kills=lambda target: (target.process,),
    ),
    HostFault(
        "snapshot-damaged",
        "a bit of a saved guest's memory is flipped",
        ("launch",),
        lambda target: actions.flip_bit(_snapshot_memory(target)),
        oracle.SAVED_AGAIN,
        options=_RESTORED,
        probes=_FEW_PROBES,
    ),
    HostFault(
        "snapshot-disk-full",
        "the file system of the cache is too small for a saved guest",
        ("launch",),
        lambda target: None,
        oracle.NOT_SAVED,
        small_disk="cache",
        options=_RESTORED,
        probes=_FEW_PROBES,
    ),
    HostFault(
        "restore-qemu-killed",
        "SIGKILL to QEMU while it restores a guest",
        ("restore",),
        _signal_qemu(signal.SIGKILL),
        oracle.NOT_RESTORED,
        options=_RESTORED,
        probes=_FEW_PROBES,
    ),
    HostFault(
        "restore-clock-forward",
        "the wall clock is a day ahead of the one when the guest was saved",
        ("start",),
        _jump(_DAY),
        oracle.RESTORED_WITH_JUMP,
        clock=True,
        options=_RESTORED,
        probes=_FEW_PROBES,
    ),
    HostFault(
        "scheduler-killed",
        "SIGKILL to the scheduler of a cluster in the middle of a matrix",
        ("cell",),
        lambda target: actions.send(target.cluster[0].pid, signal.SIGKILL),
        oracle.SCHEDULER_GONE,
        probes=PROBES[:3],
        matrix=True,
        kills=lambda target: target.cluster[:1],
    ),
)


class Moment(Record, frozen=True, kw_only=True):
    """When a fault is injected.

    Attributes:
        stage: after the harness was started, the run directory exists, the console has output (of
            a guest that boots or is restored), a probe has begun, or the guest of a matrix's next
            cell has.
        probe: which probe or cell, from 0; 0 in other stages.
        delay: seconds after that.
    """

    stage: Stage
    probe: int
    delay: float


def select(names: Sequence[str]) -> tuple[HostFault, ...]:
    """Return the faults of these names, or all.

    Raises:
        SpecError: if a name is unknown.
    """
    known = {fault.name: fault for fault in FAULTS}
    for name in names:
        if name not in known:
            raise SpecError(
                f"unknown host fault {name!r}", hint="see `hgm selfcheck inject --list`"
            )
    return tuple(known[name] for name in dict.fromkeys(names)) or FAULTS


def moment(fault: HostFault, seed: int, number: int, attempt: int) -> Moment:
    """Draw when a fault is injected: the same for the same arguments.

    Each attempt draws an earlier moment, because the run ended before the previous one.
    """
    dice = random.Random(f"{seed}/{number}/{fault.name}/{attempt}")  # noqa: S311 - not a secret
    stage = dice.choice(fault.stages)
    many = len(fault.probes) - attempt - (stage == "cell")  # one cell is to end before
    probe = dice.randrange(max(1, many)) if stage in ("probe", "cell") else 0
    delay = round(dice.uniform(0.0, _SPREAD[stage] / (1 + attempt)), 4)
    return Moment(stage=stage, probe=probe, delay=delay)


def unmet(fault: HostFault) -> str:
    """Return why a fault cannot be injected here; empty if it can."""
    if fault.matrix and importlib.util.find_spec("distributed") is None:
        return "dask.distributed is not installed"
    return actions.no_small_disk() if fault.small_disk else ""
