# SPDX-License-Identifier: GPL-2.0-only
"""The host's part of a checkpoint: stop the guest, walk the probe's page tables, resume it.

The probe has pinned itself to a vCPU and spins in user mode (`harness.judge.checkpoint`). The
vCPU's page tables are the probe's if they lead to its beacon, a page that holds a number made up
for this checkpoint; if another process or a handler of interrupts has the vCPU, the guest goes on
for a moment and is stopped again. The host lets the probe go by writing into the beacon, so that
only memory is between the two; a probe that is not let go fails by its own deadline.

Every page of the guest that was read is kept beside the evidence: `harness.judge.checkpoint`
judges it again from there, also by rules that are written later.
"""

from __future__ import annotations

import contextlib
import select
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, GuestLost, HarnessError, QemuError
from harness.judge import checkpoint, pagetable
from harness.judge.checkpoint import Checkpoint
from harness.judge.pagetable import Top
from harness.records.machine import MachineSpec
from harness.records.probe import CheckpointEvidence
from harness.store import rundir
from harness.vm.guest import Guest

#: Most checkpoints of one probe that are answered: a guest must not fill the host's disk.
MOST = 256

#: Seconds to find the probe and read its tables; the probe itself waits ten seconds.
_FIND_SECONDS = 6.0

#: Seconds that the guest runs before it is stopped again, if the probe was not on the vCPU.
_AGAIN_SECONDS = 0.02

_RELEASED = struct.pack("<Q", 1)
_RELEASE_OFFSET = 8


class _Found(NamedTuple):
    """The vCPU that runs the probe, where its tables are, and its beacon in guest memory."""

    cpu: int
    user: bool
    top: Top
    beacon: int


class Watcher:
    """Takes a probe's standard output as it comes and answers its checkpoints.

    Args:
        guest: the guest in which the probe runs.
        machine: the machine that it is.
        directory: the probe's; takes the evidence.
    """

    def __init__(self, guest: Guest, machine: MachineSpec, directory: Path) -> None:
        self._guest = guest
        self._machine = machine
        self._directory = directory
        self._rest = b""
        self._number = 0

    def knows_tables(self, deadline: Deadline) -> bool:
        """Return whether the guest's page tables are of a kind that can be walked.

        A guest that cannot be asked is one for the probe to find out about.
        """
        limit = deadline.within(_FIND_SECONDS, "the registers of a vCPU")
        if self._guest.tables_known is None:
            with contextlib.suppress(HarnessError), self._stopped(limit):
                levels = self._guest.memory.registers(0, limit).levels
                self._guest.tables_known = levels is not None
        return self._guest.tables_known is not False

    def feed(self, chunk: bytes, deadline: Deadline) -> None:
        """Take more of the output, of a probe that must end by the deadline.

        Raises:
            GuestLost: if the guest died, does not go on after it was stopped, or its QEMU does not
                answer.
        """
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"# " + checkpoint.PREFIX.encode()):
                self._answer(line[2:].decode(errors="replace").rstrip("\r"), deadline)

    def _answer(self, line: str, deadline: Deadline) -> None:
        self._number += 1
        began = time.monotonic()
        keeper = _Keeper(self._guest.memory.page)
        evidence = CheckpointEvidence(number=self._number, line=line)
        try:
            asked = checkpoint.parse(line)
            if self._number > MOST:
                raise ValueError(f"more than {MOST} checkpoints in one probe")
            limit = deadline.within(_FIND_SECONDS, "finding the probe on a vCPU")
            evidence = self._read_tables(evidence, asked, keeper, limit)
        except (ValueError, DeadlineExpired, KeyError) as error:
            evidence = msgspec.structs.replace(evidence, problem=str(error))
            if isinstance(error, DeadlineExpired):
                self._require_monitor()
        except QemuError as error:
            raise GuestLost(f"at a checkpoint: {error.message}") from None
        seconds = round(time.monotonic() - began, 6)
        evidence = msgspec.structs.replace(evidence, seconds=seconds)
        rundir.keep_checkpoint(self._directory, evidence, keeper.pages)

    def _require_monitor(self) -> None:
        """Check that QEMU answers, so that it is the probe that could not be found.

        Raises:
            GuestLost: if QEMU does not answer.
        """
        limit = Deadline.after(_FIND_SECONDS, "an answer of QEMU")
        try:
            self._guest.qmp.execute("query-status", deadline=limit)
        except (DeadlineExpired, QemuError) as error:
            raise GuestLost(f"at a checkpoint: {error.message}") from None

    def _read_tables(
        self, evidence: CheckpointEvidence, asked: Checkpoint, keeper: _Keeper, limit: Deadline
    ) -> CheckpointEvidence:
        """Stop the guest while the probe is on a vCPU, and read every page that the judge needs.

        Raises:
            DeadlineExpired: if the probe was never on a vCPU when the guest was stopped.
        """
        self._guest.memory.open(limit)
        while True:
            with self._stopped(limit) as since:
                found = self._find(asked, keeper, limit)
                if found is not None:
                    evidence = msgspec.structs.replace(
                        evidence,
                        cpu=found.cpu,
                        arch=self._machine.arch,
                        root=found.top.root,
                        levels=found.top.levels,
                        cpl=3 if found.user else 0,
                    )
                    with contextlib.suppress(KeyError):  # outside the memory: the judge reports it
                        checkpoint.gather(evidence, keeper.read)
                    self._guest.memory.write(found.beacon + _RELEASE_OFFSET, _RELEASED)
            if found is not None:
                stopped = round(time.monotonic() - since, 6)
                return msgspec.structs.replace(evidence, stopped=stopped)
            keeper.forget()
            limit.check()
            select.select([self._guest.died], [], [], _AGAIN_SECONDS)

    @contextlib.contextmanager
    def _stopped(self, limit: Deadline) -> Iterator[float]:
        """Keep the guest from running, and yield since when."""
        with self._guest.heartbeat.suspended():
            self._guest.qmp.execute("stop", deadline=limit)
            try:
                yield time.monotonic()
            finally:
                try:
                    self._guest.qmp.execute("cont", deadline=Deadline.after(_FIND_SECONDS, "cont"))
                except DeadlineExpired as error:
                    raise QemuError(f"the guest does not go on: {error.message}") from None

    def _find(self, asked: Checkpoint, keeper: _Keeper, limit: Deadline) -> _Found | None:
        """Return the vCPU that runs the probe: usually the one that it names."""
        decoder = pagetable.decoder(self._machine.arch)
        for cpu in sorted(range(self._machine.cpus), key=lambda each: each != asked.cpu):
            at = self._guest.memory.registers(cpu, limit)
            if at.root is None or at.levels is None:
                raise QemuError(f"QEMU does not show where the page tables of vCPU {cpu} are")
            top = Top(decoder, at.root, at.levels)
            with contextlib.suppress(KeyError):  # another process's tables, which lead elsewhere
                beacon = checkpoint.beacon_is_lit(keeper.read, top, asked)
                if beacon is not None:
                    return _Found(cpu, at.user, top, beacon)
        return None


class _Keeper:
    """Reads pages of the guest, and keeps each page that it has read."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.pages: dict[int, bytes] = {}

    def read(self, address: int) -> bytes:
        """Return a page; the same bytes every time."""
        if address not in self.pages:
            self.pages[address] = self._read(address)
        return self.pages[address]

    def forget(self) -> None:
        """Drop what was read before the guest was resumed."""
        self.pages.clear()
