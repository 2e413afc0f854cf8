# SPDX-License-Identifier: GPL-2.0-only
"""Huge-page accounting of one guest, read before and after each probe."""

from __future__ import annotations

import select
import time
from collections.abc import Mapping

import msgspec

from harness.deadline import Deadline
from harness.errors import CommandFailed, DeadlineExpired, GuestLost
from harness.judge import accounting
from harness.records.probe import AccountingReading, ProbeEvidence
from harness.run.probe import COUNTERS
from harness.vm import hoststat
from harness.vm.guest import Guest

#: Seconds, on a guest of ordinary speed, in which a difference may still go away: the kernel frees
#: huge pages, and the memory of a process that has ended, from work queues.
SETTLE_SECONDS = 5.0

_AGAIN_SECONDS = 0.1
_READ_SECONDS = 20.0


class LeakCheck:
    """Reads a guest's huge-page accounting between its probes.

    The reading after one probe is the reading before the next, so that each probe costs one.

    Args:
        guest: a live guest that holds the program ``counters``, in which nothing was run since its
            facts were read, if these have a reading.
        deadline: when the first reading must be there.

    Raises:
        CommandFailed: if the program does not run.
        GuestLost: if the guest died.
    """

    def __init__(self, guest: Guest, deadline: Deadline) -> None:
        self._guest = guest
        text = guest.facts if accounting.parse(guest.facts) else self._counters(deadline)
        self._before: Mapping[str, int] = accounting.parse(text)
        #: Why page tables are not among what it reads; empty if they are.
        self.tables_left_out = accounting.tables_left_out(text)

    def close(self, evidence: ProbeEvidence, deadline: Deadline) -> ProbeEvidence:
        """Return a probe's evidence with the readings before and after it.

        A difference is read again until it is gone, or has lasted for SETTLE_SECONDS; that of a
        probe that taints its guest is not judged, and not read again. After a probe that did not
        end by itself, or in a guest that does not answer any more, nothing is read.

        Args:
            evidence: how the probe ended.
            deadline: the run's.
        """
        if evidence.ended != "exit":
            return evidence
        began, scale = hoststat.sample(self._guest.threads), evidence.timeout_scale
        settled = deadline.within(SETTLE_SECONDS * scale, "the pool's return")
        try:
            after = self._read(deadline, scale)
            while (
                accounting.differences(self._before, after)
                and not evidence.taints_guest
                and not settled.expired()
            ):
                select.select([self._guest.died], [], [], _AGAIN_SECONDS)
                after = self._read(deadline, scale)
        except (GuestLost, DeadlineExpired, CommandFailed) as error:
            return self._lost(evidence, began, error.message)
        reading = AccountingReading(
            before=dict(self._before),
            after=dict(after),
            seconds=round(time.monotonic() - began.at, 3),
        )
        self._before = after
        return msgspec.structs.replace(evidence, accounting=reading)

    def _lost(self, evidence: ProbeEvidence, began: hoststat.Sample, why: str) -> ProbeEvidence:
        """Record that the guest was lost between the probe's end and the reading."""
        self._guest.drain_console()
        now = self._guest.last_sample or hoststat.sample(self._guest.threads)
        return msgspec.structs.replace(
            evidence,
            ended="guest-died" if self._guest.paused_after_death else "lost",
            console_to=self._guest.console.size,
            detail=f"after its end: {self._guest.end_reason() or why}",
            host=hoststat.load_between(began, now),
        )

    def _read(self, deadline: Deadline, scale: float = 1.0) -> Mapping[str, int]:
        return accounting.parse(self._counters(deadline, scale))

    def _counters(self, deadline: Deadline, scale: float = 1.0) -> str:
        limit = deadline.within(_READ_SECONDS * scale, "the guest's huge-page accounting")
        return self._guest.ssh.run([COUNTERS], limit, check=True).stdout
