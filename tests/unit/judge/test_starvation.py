# SPDX-License-Identifier: GPL-2.0-only
"""A guest that had no CPU time is told from one that used what it had, or wanted none."""

import msgspec
import pytest

from harness.judge import starvation
from harness.judge.probe_verdict import ConsoleSlice, judge_probe
from harness.records.probe import HostLoad, ProbeEvidence, Status, VcpuTime

EVIDENCE = ProbeEvidence(
    name="hgm/stress/1G",
    ended="budget",
    exit_code=None,
    seconds=100.0,
    budget=100.0,
    console_from=0,
    console_to=0,
)


def host(*vcpus: tuple[float, float], steal: float = 0.0, pressure: float | None = 97) -> HostLoad:
    times = tuple(VcpuTime(ran=ran, waited=waited) for ran, waited in vcpus)
    return HostLoad(seconds=100.0, vcpus=times, steal=steal, pressure=pressure, load=20.5)


STARVED = host((3.0, 97.0), (3.0, 97.0))
BUSY = host((30.0, 70.0), (0.0, 0.0))
IDLE = host((0.05, 1.9), (0.0, 0.0))
ALONE = host((100.0, 0.1), (0.2, 0.0))


@pytest.mark.parametrize(
    ("load", "share"),
    [
        (STARVED, 0.03),
        (BUSY, 0.3),
        (IDLE, None),
        (host(), None),
        (host((0.0, 100.0)), 0.0),
        (host((100.0, 0.0), steal=0.95), 0.05),
    ],
)
def test_the_share_is_of_what_was_wanted(load: HostLoad, share: float | None) -> None:
    assert starvation.share(load) == (share if share is None else pytest.approx(share))


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (None, False),
        (STARVED, True),
        (host((9.9, 90.1)), True),
        (host((10.0, 90.0)), False),
        (IDLE, False),
        (host((100.0, 0.0), steal=0.95), True),
    ],
)
def test_below_a_tenth_a_guest_is_starved(load: HostLoad | None, expected: bool) -> None:
    assert starvation.starved(load) is expected


def test_a_reason_mentions_a_busy_host_alone() -> None:
    assert starvation.remark(STARVED) == (
        "the vCPUs got 3 % of the CPU time that they wanted: the host is busy "
        "(load 20.5, CPU pressure 97 %)"
    )
    stolen = starvation.remark(host((90.0, 0.0), steal=0.75, pressure=None))
    assert stolen.endswith(
        "got 25 % of the CPU time that they wanted: the host is busy (load 20.5, steal 75 %)"
    )
    assert starvation.remark(BUSY) != ""
    assert {starvation.remark(each) for each in (None, IDLE, ALONE)} == {""}


@pytest.mark.parametrize("ended", ["budget", "stalled"])
@pytest.mark.parametrize(
    ("load", "status", "mentioned"),
    [
        (None, "HANG", False),
        (ALONE, "HANG", False),
        (IDLE, "HANG", False),
        (BUSY, "HANG", True),
        (STARVED, "LOST", True),
    ],
)
def test_a_starved_probe_is_lost_and_not_hung(
    ended: str, load: HostLoad | None, status: Status, mentioned: bool
) -> None:
    evidence = msgspec.structs.replace(EVIDENCE, ended=ended, host=load)
    result = judge_probe(evidence, "KTAP version 1\n1..1\n", "", ConsoleSlice("", 0))
    assert result.status == status
    assert ("the host is busy" in result.reason) is mentioned


STALL = "[    9.000000] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:\n"
WARNING = "[    9.000000] WARNING: CPU: 0 PID: 7 at mm/hugetlb.c:1 f+0x1/0x2\n"


@pytest.mark.parametrize(
    ("console", "load", "status"),
    [
        (STALL, STARVED, "LOST"),
        (STALL, BUSY, "FAIL"),
        (STALL, None, "FAIL"),
        (WARNING, STARVED, "FAIL"),
        (WARNING + STALL, STARVED, "FAIL"),
        ("", STARVED, "PASS"),
    ],
)
def test_a_stall_of_a_starved_guest_is_not_the_kernels(
    console: str, load: HostLoad | None, status: Status
) -> None:
    ended = msgspec.structs.replace(EVIDENCE, ended="exit", exit_code=0, host=load)
    text = "KTAP version 1\n1..1\nok 1 a\n"
    result = judge_probe(ended, text, "", ConsoleSlice(console, len(console)))
    assert result.status == status
    assert ("the host is busy" in result.reason) is (status == "LOST")
    failed = judge_probe(
        ended, text.replace("ok", "not ok"), "", ConsoleSlice(console, len(console))
    )
    assert failed.status == "FAIL"


@pytest.mark.parametrize(("after_the_probe", "status"), [(False, "LOST"), (True, "FAIL")])
def test_a_stall_by_a_clock_that_was_too_fast_during_the_probe_is_not_the_kernels(
    after_the_probe: bool, status: Status
) -> None:
    stall, later = STALL, "[  131.000000] later\n"  # 122 seconds in the 100 of ALONE
    length = len(stall) if after_the_probe else len(stall + later)
    exited = msgspec.structs.replace(EVIDENCE, ended="exit", exit_code=0, host=ALONE)
    text = "KTAP version 1\n1..1\nok 1 a\n"
    result = judge_probe(exited, text, "", ConsoleSlice(stall + later, length))
    assert result.status == status
    assert ("clock went ahead" in result.reason) is (status == "LOST")


@pytest.mark.parametrize(("scale", "status"), [(9.9, "FAIL"), (10.0, "LOST")])
def test_a_stall_of_a_guest_that_was_slow_before_the_probe_is_not_the_kernels(
    scale: float, status: Status
) -> None:
    slow = msgspec.structs.replace(
        EVIDENCE, ended="exit", exit_code=0, host=ALONE, timeout_scale=scale
    )
    text = "KTAP version 1\n1..1\nok 1 a\n"
    result = judge_probe(slow, text, "", ConsoleSlice(STALL, len(STALL)))
    assert result.status == status
    assert ("10 times slower than the reference" in result.reason) is (status == "LOST")
