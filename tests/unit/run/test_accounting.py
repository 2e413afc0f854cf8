# SPDX-License-Identifier: GPL-2.0-only
"""When the huge-page accounting is read after a probe, and what a guest that goes away costs."""

import os
import select
from types import SimpleNamespace
from typing import Any, cast

import msgspec
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


def counting(*free: int, paused: bool = False, reason: str = "", facts: str = "") -> Guest:
    """Return a fake guest that has so many free pages, one after the other, and then is gone."""
    answers = iter([SimpleNamespace(stdout=f"pool.2M.node0.free {each}\n") for each in free])

    def run(*_: Any, **__: Any) -> Any:
        found = next(answers, None)
        if found is None:
            raise GuestLost("the guest died")
        return found

    return cast(
        Guest,
        SimpleNamespace(
            ssh=SimpleNamespace(run=run),
            facts=facts,
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
    closed = LeakCheck(counting(64, paused=paused, reason=reason), limit).close(ENDED, limit)
    assert closed.ended == ended
    assert closed.detail.startswith(detail)
    assert closed.console_to == 20
    assert closed.host is not None  # of the wait for the reading, not of the probe
    assert closed.host.seconds < 5.0
    assert len(closed.host.vcpus) == 1


@pytest.mark.parametrize(
    ("taints", "after"),
    [(False, 64), (True, 63)],  # what is not judged is not waited for
)
def test_a_difference_is_read_again_unless_the_probe_makes_it_by_design(
    monkeypatch: pytest.MonkeyPatch, taints: bool, after: int
) -> None:
    monkeypatch.setattr(select, "select", lambda *_: ([], [], []))
    limit = Deadline.after(5.0, "the test")
    evidence = msgspec.structs.replace(ENDED, taints_guest=taints)
    closed = LeakCheck(counting(64, 63, 63, 64), limit).close(evidence, limit)
    assert closed.accounting is not None
    assert closed.accounting.after == {"pool.2M.node0.free": after}


def test_the_first_reading_is_that_among_the_guests_facts() -> None:
    facts = "madv_split.2M=ok\nseconds=0.123456\npool.2M.node0.free 64\n"
    limit = Deadline.after(5.0, "the test")
    closed = LeakCheck(counting(64, facts=facts), limit).close(ENDED, limit)
    assert closed.accounting is not None
    assert closed.accounting.before == closed.accounting.after == {"pool.2M.node0.free": 64}
