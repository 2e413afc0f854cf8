# SPDX-License-Identifier: GPL-2.0-only
"""How many guests a host can hold, in which order they take probes, and how all of them end."""

import threading
from pathlib import Path

import pytest

from harness.errors import GuestKilled, QemuError
from harness.records.probe import ProbeResult, ProbeSpec
from harness.records.run import RunRecord
from harness.run import parallel
from harness.run.parallel import Queue
from harness.store.history.history import opened
from harness.store.rundir import RunStore
from harness.vm import spec
from harness.vm.lease import Promised
from tests.unit.store.pasts import night

_GIB = 1 << 30
_ERROR = GuestKilled("killed")


def _spec(name: str, budget: float = 30.0) -> ProbeSpec:
    return ProbeSpec(name=name, source="c/x.c", shows="", language="c", budget=budget)


@pytest.mark.parametrize(
    ("cpus", "memory", "count", "why"),
    [
        (8, 64 * _GIB, 4, ""),
        (4, 64 * _GIB, 2, "this host has 4 CPUs, and each guest 2 (--cpus)"),
        (1, 64 * _GIB, 1, "this host has 1 CPUs, and each guest 2 (--cpus)"),
        (8, 8 * _GIB, 2, "8192 MiB are available, and each guest may use 2688 (--hugepages)"),
        (8, 1 * _GIB, 1, "1024 MiB are available, and each guest may use 2688 (--hugepages)"),
    ],
)
def test_guests_never_overcommit_the_host(cpus: int, memory: int, count: int, why: str) -> None:
    machine = spec.machine(spec.parse_hugepages("1G:2,2M:64", "x86_64"), cpus=2, arch_name="x86_64")
    assert parallel.admitted(4, machine, Promised(), cpus, memory) == (count, why)


@pytest.mark.parametrize(
    ("promised", "count", "why"),
    [
        (Promised(2, 1 * _GIB), 3, ""),
        (
            Promised(4, 1 * _GIB),
            2,
            "this host has 8 CPUs, 4 of them promised to guests of other commands, and each guest"
            " 2 (--cpus)",
        ),
        (
            Promised(2, 8 * _GIB),
            2,
            "16384 MiB are available, 8192 of them promised to guests of other commands, and each"
            " guest may use 2688 (--hugepages)",
        ),
        (
            Promised(16, 1 * _GIB),
            1,
            "this host has 8 CPUs, 8 of them promised to guests of other commands, and each guest"
            " 2 (--cpus)",
        ),
        (
            Promised(2, 32 * _GIB),
            1,
            "16384 MiB are available, 16384 of them promised to guests of other commands, and each"
            " guest may use 2688 (--hugepages)",
        ),
    ],
)
def test_what_is_promised_to_other_guests_is_not_given_again(
    promised: Promised, count: int, why: str
) -> None:
    machine = spec.machine(spec.parse_hugepages("1G:2,2M:64", "x86_64"), cpus=2, arch_name="x86_64")
    assert parallel.admitted(3, machine, promised, 8, 16 * _GIB) == (count, why)


def test_the_longest_probe_is_first_and_one_that_never_ran_takes_its_budget() -> None:
    specs = [_spec("a"), _spec("b", 5.0), _spec("c"), _spec("d"), _spec("d#2")]
    ordered = parallel.longest_first(specs, {"a": 1.0, "c": 9.0, "d": 40.0})
    assert [each.name for each in ordered] == ["d", "d#2", "c", "b", "a"]


@pytest.mark.parametrize("where", ["runs/new", "runs/matrix-night-0123abcd/cell/new"])
def test_durations_come_from_the_history_of_all_runs(where: str, tmp_path: Path) -> None:
    with opened("", tmp_path / "runs", make=True) as history:
        history.add(night(1, {"a/x/2M": "PASS"}), tmp_path / "runs" / "1")
    specs = [_spec("a/x/2M#2"), _spec("b/y/2M")]
    assert parallel.earlier_seconds(tmp_path / where, specs) == {"a/x/2M": 1.5}


def test_a_history_that_cannot_be_read_costs_the_order_only(tmp_path: Path) -> None:
    (tmp_path / "history.db").write_text("this is text" * 100)
    assert parallel.earlier_seconds(tmp_path / "new", [_spec("a/x/2M")]) == {}


def test_a_probe_whose_guest_was_killed_is_run_again_twice() -> None:
    queue = Queue([_spec("a"), _spec("b")])
    for _ in range(2):
        first = queue.take()
        assert first is not None
        queue.give_back(first, _ERROR)
        assert first.name == "a"
    again = queue.take()
    assert again is not None
    with pytest.raises(GuestKilled):
        queue.give_back(again, _ERROR)


def test_a_closed_queue_gives_out_nothing() -> None:
    queue = Queue([_spec("a")])
    queue.close()
    assert queue.take() is None


def test_each_probe_is_taken_once_and_every_result_is_recorded(tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(60)]
    queue, store = Queue([_spec(name) for name in names]), RunStore(tmp_path, RunRecord())
    together = threading.Barrier(3)

    def lane(number: int) -> None:
        together.wait()
        while (probe := queue.take()) is not None:
            store.note([f"{number}"])
            store.add_probe(ProbeResult(name=probe.name, status="PASS"))

    parallel.work(3, lane, queue.close)
    assert sorted(probe.name for probe in store.record.probes) == sorted(names)
    assert len(store.record.notes) == len(names)


@pytest.mark.parametrize("error", [QemuError("QEMU died"), KeyboardInterrupt()])
def test_a_failure_or_an_interrupt_ends_the_other_lanes(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, ended = threading.Event(), []

    def lane(number: int) -> None:
        if number == 0 and isinstance(error, QemuError):
            raise error
        stopped.wait()
        ended.append(number)

    if isinstance(error, KeyboardInterrupt):

        def interrupted(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(parallel, "wait", interrupted)
    with pytest.raises(type(error)):
        parallel.work(3, lane, stopped.set)
    assert len(ended) == (2 if isinstance(error, QemuError) else 3)
