# SPDX-License-Identifier: GPL-2.0-only
"""When a probe runs out of time: a fake clock, and a guest with a wakeup event and a speed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from harness.deadline import Deadline
from harness.errors import GuestLost
from harness.probes import catalog
from harness.run import calibration
from harness.run.probe import STALL_GRACE_SECONDS, Budget, argv
from harness.vm.guest import Guest
from harness.vm.wakeup import WakeupEvent


@dataclass
class Fake:
    """What `Budget` asks of a guest."""

    stuck: WakeupEvent = field(default_factory=WakeupEvent)
    ssh: object = None


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("time.monotonic", made)
    return made


def speed(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], float]) -> list[float]:
    """Have the guest be measured as slow as the function says; return the measurements."""
    said: list[float] = []

    def measure(ssh: object, deadline: Deadline) -> float:
        said.append(answer())
        return said[-1]

    monkeypatch.setattr(calibration, "measure", measure)
    return said


def budget(
    clock: Clock, guest: Fake, overall: float = 1000.0, timeout_scale: float = 2.0
) -> Budget:
    deadline = Deadline(overall, "the run", overall)
    return Budget(10.0, timeout_scale, cast(Guest, guest), deadline, "the probe")


def test_the_budget_is_the_catalogues_times_the_timeout_scale(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = speed(monkeypatch, lambda: 2.0)
    limit = budget(clock, Fake())
    assert limit.current().at == limit.limit.at == 20.0
    clock.now = 19.9
    assert not limit.current().expired()
    assert asked == []
    clock.now = 20.1
    assert limit.current().expired()
    assert limit.current().expired()
    assert asked == [2.0], "it is measured again once, and is no slower"


def test_a_guest_that_has_become_slower_gets_more_time(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([3.0, 5.0, 4.0])
    speed(monkeypatch, lambda: next(answers))
    limit = budget(clock, Fake())
    for now, moved_to in ((20.0, 30.0), (30.0, 50.0)):
        clock.now = now
        assert limit.current().at == moved_to
    assert limit.seconds == 50.0
    clock.now = 50.0
    assert limit.current().expired()


def test_a_guest_that_does_not_answer_gets_no_more(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> float:
        raise GuestLost("the guest's SSH server does not answer")

    speed(monkeypatch, lost)
    limit = budget(clock, Fake())
    clock.now = 20.0
    assert limit.current().expired()
    assert limit.timeout_scale == 2.0


def test_a_probe_gets_a_moment_after_the_kernel_reports_a_stall(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = speed(monkeypatch, lambda: 30.0)
    guest = Fake()
    limit = budget(clock, guest)
    clock.now = 1.0
    guest.stuck.set()
    assert limit.current().at == 1.0 + 2.0 * STALL_GRACE_SECONDS
    assert limit.stalled
    clock.now = 12.0
    assert limit.current().expired()
    assert asked == [], "a busy host is no excuse for what the kernel says itself"


def test_the_runs_deadline_comes_first(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = speed(monkeypatch, lambda: 30.0)
    limit = budget(clock, Fake(), overall=15.0)
    assert limit.current().what == "the run"
    clock.now = 25.0
    assert limit.current().what == "the run"
    assert asked == []


@pytest.mark.parametrize(
    ("seconds", "timeout_scale"), [(0.1, 1.0), (0.3, 1.0), (0.6, 2.0), (900.0, calibration.MOST)]
)
def test_timeout_scale(seconds: float, timeout_scale: float) -> None:
    assert calibration.timeout_scale(seconds, 0.3) == pytest.approx(timeout_scale)


def test_a_probe_is_told_how_slow_its_guest_is() -> None:
    for spec in catalog.load():
        words = argv(spec, 2.5)
        at = words.index("--timeout-scale")
        assert words[at + 1] == "2.5"
        assert "--timeout-scale" not in argv(spec, 1.0)
