# SPDX-License-Identifier: GPL-2.0-only
"""Tells a guest that hangs from one whose QEMU does: asks QMP every 2 s whether the guest runs.

A guest whose QEMU does not answer, or that somebody else has paused, is lost: the kernel in it
cannot show anything, right or wrong. Silence is counted in the seconds that the harness itself got
to wait, so that one which was stopped for a while does not take its own silence for QEMU's.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator

from harness import command
from harness.errors import HarnessError
from harness.vm import hoststat
from harness.vm.qmp import Qmp

#: Seconds from an answer to the next question.
EVERY_SECONDS = 2.0

#: Seconds of silence after which a QEMU is given up that a signal or a debugger has stopped.
STOPPED_SECONDS = 4

#: The same for one that could run: a swapping or busy host can keep it from answering for a while.
SILENT_SECONDS = 20

# One wait for an answer.
_TICK_SECONDS = 1.0

#: QEMU's run states in which nothing runs and no event tells why; qapi/run-state.json.
_HALTED = frozenset({"paused", "internal-error", "io-error", "watchdog", "debug"})


class Heartbeat:
    """Watches one QEMU, in the thread of its QMP session.

    Args:
        qmp: a connected session.
        pid: QEMU's process.
        on_lost: called once in that thread when the guest is given up, after `lost` is set.
    """

    def __init__(self, qmp: Qmp, pid: int, on_lost: Callable[[], None]) -> None:
        self._qmp, self._pid, self._on_lost = qmp, pid, on_lost
        self._suspended = 0
        self._turn = 0
        self._task: concurrent.futures.Future[None] | None = None
        #: Why the guest was given up; empty while it lives.
        self.lost = ""

    def start(self) -> None:
        """Begin to ask."""
        self._task = self._qmp.spawn(self._watch())

    def stop(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Judge nothing meanwhile: the caller stops the guest, or has deadlines of its own."""
        self._suspended += 1
        self._turn += 1
        try:
            yield
        finally:
            self._suspended -= 1

    def confirm(self) -> bool:
        """Ask now, and return whether QEMU answers that the guest runs."""
        asked = self._qmp.spawn(self._beat())
        concurrent.futures.wait([asked], timeout=SILENT_SECONDS + EVERY_SECONDS)
        return not self.lost

    async def _watch(self) -> None:
        while not self.lost and not command.ended(self._pid):
            await asyncio.sleep(EVERY_SECONDS)
            if not self._suspended:
                await self._beat()

    async def _beat(self) -> None:
        """Ask once, and give the guest up if the answer, or its absence, says so."""
        turn = self._turn
        why = await self._trouble()
        if why and turn == self._turn and not self.lost and not command.ended(self._pid):
            self.lost = f"QEMU (pid {self._pid}) {why}"
            self._on_lost()

    async def _trouble(self) -> str:
        """Return what is wrong with QEMU; empty where it answers and the guest runs."""
        asked = asyncio.ensure_future(self._qmp.status())
        asked.add_done_callback(_take_exception)
        for waited in range(1, SILENT_SECONDS + 1):
            done, _ = await asyncio.wait({asked}, timeout=_TICK_SECONDS)
            if done:
                break
            silent = f"its monitor has not answered for {waited * _TICK_SECONDS:g} s"
            stopped = waited >= STOPPED_SECONDS and hoststat.stopped(self._pid)
            if stopped or waited == SILENT_SECONDS:
                return f"{hoststat.describe(self._pid)}; {silent}"
        try:
            status = asked.result()
        except HarnessError as error:
            await asyncio.sleep(_TICK_SECONDS)  # a QEMU that ends closes its sockets first
            return f"{hoststat.describe(self._pid)}; {error.message}"
        if status in _HALTED:
            return f"does not run the guest (status {status}), and the harness did not stop it"
        return ""


def _take_exception(asked: asyncio.Future[str]) -> None:
    """Take the error of a question that is not waited for any more, else asyncio prints it."""
    if not asked.cancelled():
        asked.exception()
