# SPDX-License-Identifier: GPL-2.0-only
"""What can be done to a run from outside, when, and how the run may end then."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import command
from harness.errors import SpecError
from harness.records.base import Record
from harness.selfcheck.injection import actions, oracle
from harness.selfcheck.injection.oracle import Ends, Stage
from harness.store import rundir

#: Cheap probes, so that a run costs little more than its boot: less than a second for all of them.
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

#: Seconds after a stage has been reached within which a fault comes, by stage.
_SPREAD: dict[Stage, float] = {"start": 0.4, "boot": 1.2, "probe": 0.12}


@dataclass
class Target:
    """A run under way that is about to be disturbed.

    Attributes:
        process: the harness.
        mark: see `hands.MARK`.
        runs: its ``--runs-dir`` as seen from here.
        private: the directory that holds its home, its temporary files and its clock.
    """

    process: command.Process
    mark: str
    runs: Path
    private: Path

    @property
    def run_dir(self) -> Path | None:
        """Return the run directory as seen from here; None while there is none."""
        return next((path.parent for path in self.runs.glob("2*/result.json")), None)


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    Attributes:
        name: as it is written in tables.
        does: one line: what is done to the run.
        stages: where in the run it may come.
        disturb: does it.
        ends: how the run may end then.
        needs_root: whether only root can do it.
        clock: whether the run gets a clock that can jump.
        patient: whether the run notices through ``--timeout`` only, which is made short then.
    """

    name: str
    does: str
    stages: tuple[Stage, ...]
    disturb: Callable[[Target], None]
    ends: Ends
    needs_root: bool = False
    clock: bool = False
    patient: bool = False


def _signal_qemu(number: signal.Signals) -> Callable[[Target], None]:
    return lambda target: actions.send(actions.qemu(target.mark), number)


def _signal_harness(number: signal.Signals) -> Callable[[Target], None]:
    return lambda target: actions.send(target.process.pid, number)


def _pause_qemu(target: Target) -> None:
    pid = actions.qemu(target.mark)
    actions.send(pid, signal.SIGSTOP)
    time.sleep(_PAUSE_SECONDS)  # the fault itself; nothing is waited for
    actions.send(pid, signal.SIGCONT)


def _run_dir(target: Target) -> Path:
    found = target.run_dir
    if found is None:
        raise actions.Missed("there is no run directory")
    return found


def _jump(seconds: int) -> Callable[[Target], None]:
    return lambda target: actions.set_clock(target.private / "clock", seconds)


_GUEST: tuple[Stage, ...] = ("boot", "probe")
_EVER: tuple[Stage, ...] = ("start", "boot", "probe")

KINDS: tuple[Kind, ...] = (
    Kind("qemu-killed", "SIGKILL to QEMU", _GUEST, _signal_qemu(signal.SIGKILL), oracle.FAILED),
    Kind(
        "qemu-stopped",
        "SIGSTOP to QEMU, for good",
        _GUEST,
        _signal_qemu(signal.SIGSTOP),
        oracle.FAILED,
        patient=True,
    ),
    Kind(
        "qemu-paused",
        f"SIGSTOP to QEMU, SIGCONT {_PAUSE_SECONDS:g} s later",
        _GUEST,
        _pause_qemu,
        oracle.UNMOVED,
    ),
    Kind(
        "qmp-wedged",
        "QEMU's monitor answers nothing any more",
        _GUEST,
        lambda target: actions.wedge_qmp(target.process.pid, actions.qemu(target.mark)),
        oracle.EITHER,
    ),
    Kind(
        "qmp-closed",
        "QEMU's end of the QMP socket is shut down",
        _GUEST,
        lambda target: actions.cut_channel(actions.qemu(target.mark), "qmp"),
        oracle.EITHER,
    ),
    Kind(
        "ssh-reset",
        "the harness's TCP connection to the guest is reset while output is copied",
        ("probe",),
        lambda target: actions.reset_ssh(target.process.pid),
        oracle.EITHER,
    ),
    Kind(
        "disk-full",
        "the file system of the run directory has no free page",
        _EVER,
        lambda target: actions.fill(target.runs.parent / _FILLER),
        oracle.UNWRITABLE,
        needs_root=True,
    ),
    Kind(
        "console-closed",
        "QEMU's end of the serial console is shut down",
        _GUEST,
        lambda target: actions.cut_channel(actions.qemu(target.mark), "console"),
        oracle.EITHER,
    ),
    Kind(
        "console-cut",
        "serial.log loses its second half",
        ("probe",),
        lambda target: actions.cut_file(_run_dir(target) / rundir.SERIAL),
        oracle.HOLED,
    ),
    Kind(
        "clock-forward",
        "the clock on the wall jumps a day ahead",
        _EVER,
        _jump(_DAY),
        oracle.TIMELESS,
        clock=True,
    ),
    Kind(
        "clock-back",
        "the clock on the wall jumps an hour back",
        _EVER,
        _jump(-_HOUR),
        oracle.TIMELESS,
        clock=True,
    ),
    Kind(
        "harness-sigterm",
        "SIGTERM to the harness",
        _EVER,
        _signal_harness(signal.SIGTERM),
        oracle.INTERRUPTED,
    ),
    Kind(
        "harness-sigint",
        "SIGINT to the harness",
        _EVER,
        _signal_harness(signal.SIGINT),
        oracle.INTERRUPTED,
    ),
    Kind(
        "harness-sigkill",
        "SIGKILL to the harness",
        _EVER,
        _signal_harness(signal.SIGKILL),
        oracle.CUT,
    ),
)


class Moment(Record, frozen=True, kw_only=True):
    """When a fault comes.

    Attributes:
        stage: once the run directory is there, the console has spoken, or a probe has begun.
        probe: which probe, from 0; 0 in other stages.
        delay: seconds after that.
    """

    stage: Stage
    probe: int
    delay: float


def select(names: Sequence[str]) -> tuple[Kind, ...]:
    """Return the kinds of that name; all without any.

    Raises:
        SpecError: if there is no such kind.
    """
    known = {kind.name: kind for kind in KINDS}
    for name in names:
        if name not in known:
            raise SpecError(f"{name!r} is no fault", hint="`hgm selfcheck inject --list` shows all")
    return tuple(known[name] for name in dict.fromkeys(names)) or KINDS


def moment(kind: Kind, seed: int, number: int, attempt: int) -> Moment:
    """Draw when an injection's fault comes: the same for the same arguments.

    Each attempt draws earlier, since the run was over before the one before it.
    """
    dice = random.Random(f"{seed}/{number}/{kind.name}/{attempt}")  # noqa: S311 - no secret
    stage = dice.choice(kind.stages)
    probe = dice.randrange(max(1, len(PROBES) - attempt)) if stage == "probe" else 0
    delay = round(dice.uniform(0.0, _SPREAD[stage] / (1 + attempt)), 4)
    return Moment(stage=stage, probe=probe, delay=delay)


def unmet(kind: Kind) -> str:
    """Return why a kind of fault cannot be injected here; empty if it can."""
    if kind.needs_root and os.geteuid() != 0:
        return "only root can mount a small disk in a namespace of its own"
    return ""
