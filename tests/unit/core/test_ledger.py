# SPDX-License-Identifier: GPL-2.0-only
"""How a probe counts whose guest went away before its books were read."""

import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.deadline import Deadline
from harness.errors import GuestLost
from harness.records.probe import ProbeEvidence
from harness.run.accounting import LeakCheck
from harness.vm.guest import Guest

ENDED = ProbeEvidence(
    name="a/b",
    ended="exit",
    exit_code=0,
    seconds=0.1,
    budget=20.0,
    console_from=0,
    console_to=10,
)


def leaving(paused: bool, reason: str) -> Guest:
    """Return a guest whose books can be read once, and that is gone afterwards."""
    answers = iter([SimpleNamespace(stdout="pool.2M.node0.free 64\n")])

    def run(*_: Any, **__: Any) -> Any:
        found = next(answers, None)
        if found is None:
            raise GuestLost("the guest died")
        return found

    return cast(
        Guest,
        SimpleNamespace(
            ssh=SimpleNamespace(run=run),
            died=SimpleNamespace(is_set=lambda: True),
            paused_after_death=paused,
            end_reason=lambda: reason,
            drain_console=lambda: None,
            threads=(os.getpid(),),
            last_sample=None,
            console=SimpleNamespace(size=20),
        ),
    )


@pytest.mark.parametrize(
    ("paused", "reason", "ended", "detail"),
    [
        # QEMU pauses a guest that died by itself; a QEMU that was killed kept nothing.
        (True, "the kernel panicked", "guest-died", "after its end: the kernel panicked"),
        (False, "QEMU ended with exit code 137", "lost", "after its end: QEMU ended with exit"),
        (False, "", "lost", "after its end: the guest died"),
    ],
)
def test_only_a_guest_paused_after_death_died_of_its_probe(
    paused: bool, reason: str, ended: str, detail: str
) -> None:
    limit = Deadline.after(5.0, "the test")
    closed = LeakCheck(leaving(paused, reason), limit).close(ENDED, limit)
    assert closed.ended == ended
    assert closed.detail.startswith(detail)
    assert closed.console_to == 20
    assert closed.host is not None  # of the wait for the reading, not of the probe
    assert closed.host.seconds < 5.0
    assert len(closed.host.vcpus) == 1
