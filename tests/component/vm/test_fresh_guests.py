# SPDX-License-Identifier: GPL-2.0-only
"""Runs whose guests are to be restored, and are ended from outside or cannot be saved.

The QEMU is a fake, and no probe runs; tests/kernel/test_snapshot.py restores real guests.
"""

import dataclasses
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from harness.context import Context
from harness.deadline import Deadline
from harness.errors import QemuError
from harness.records.probe import ProbeSpec
from harness.records.run import RunRecord
from harness.run import guests, parallel
from harness.run.prepare import Prepared
from harness.run.starting import guest_with_probes
from harness.store.rundir import RunStore
from harness.vm import guest, hoststat, lease
from harness.vm.guest import BootRequest, SavedGuest
from harness.vm.lease import Promised
from harness.vm.qemu import Qemu
from harness.vm.ssh import CommandOutput, Ssh

PROBES = tuple(
    ProbeSpec(name=f"test/{name}", shows="", source="c/counters.c", language="c")
    for name in ("one", "two")
)


@pytest.fixture
def prepared(prepared: Prepared, fake_qemu: Callable[[str], None]) -> Prepared:
    """All that guests need of which each probe has one of its own."""
    fake_qemu("waits")
    return dataclasses.replace(prepared, fresh_guest=True)


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have guests saved and restored by a QEMU that can."""

    def save(
        request: BootRequest, directory: Path, context: Context, memory: Sequence[int]
    ) -> SavedGuest:
        os.pwrite(memory[0], b"guest", 0)
        return SavedGuest((), b"devices", b"console\n")

    monkeypatch.setattr(guest, "save", save)
    monkeypatch.setattr(Qemu, "load", lambda *_: None)


def run(prepared: Prepared, tmp_path: Path) -> RunRecord:
    directory = tmp_path / "run"
    directory.mkdir(exist_ok=True)
    store = RunStore(directory, RunRecord())
    guests.run_probes(prepared, PROBES, store)
    return store.record


def snapshots(prepared: Prepared) -> list[str]:
    return [path.name for path in prepared.context.workspace.room("snapshots").iterdir()]


def test_a_guest_that_the_oom_killer_ends_in_its_restore_is_restored_again(
    prepared: Prepared, saved: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No test may make this host run out of memory: it ends the QEMU as the OOM killer does.
    killed: list[int] = []
    monkeypatch.setattr(hoststat, "oom_kills", lambda: len(killed))

    def load(machine: Qemu, state: bytes, deadline: Deadline) -> None:
        if not killed:
            killed.append(1)
            machine.process.kill()
            machine.process.wait(deadline)
            raise machine.death()

    monkeypatch.setattr(Qemu, "load", load)
    record = run(prepared, tmp_path)
    assert [(each.name, each.status) for each in record.probes] == [
        ("test/one", "PASS"),
        ("test/two", "PASS"),
    ]
    assert [(each.how, each.reason) for each in record.guests] == [("restored", "")] * 2
    assert record.notes == ("test/one: the host's OOM killer ended its guest; it is run again",)
    assert snapshots(prepared) == [record.guests[0].snapshot]


def test_a_guest_that_the_run_itself_ends_in_its_restore_leaves_the_snapshot(
    prepared: Prepared, saved: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Qemu] = []
    restoring = threading.Event()

    def load(machine: Qemu, state: bytes, deadline: Deadline) -> None:
        calls.append(machine)
        if len(calls) == 2:
            restoring.set()
            machine.process.wait(deadline)
            raise machine.death()

    def fails(*_: object) -> Iterator[ProbeSpec]:
        restoring.wait(30)
        raise QemuError("the other guest failed")

    monkeypatch.setattr(Qemu, "load", load)
    monkeypatch.setattr(guests._Lanes, "_one_guest", fails)
    monkeypatch.setattr(parallel, "admitted", lambda wanted, *_: (wanted, ""))
    with pytest.raises(QemuError, match="the other guest failed"):
        run(dataclasses.replace(prepared, guests=2), tmp_path)
    assert len(calls) == 2
    assert len(snapshots(prepared)) == 1


def test_without_a_way_to_leave_memory_out_guests_are_booted_and_the_record_says_why(
    prepared: Prepared, tmp_path: Path
) -> None:
    record = run(prepared, tmp_path)
    assert [each.status for each in record.probes] == ["PASS", "PASS"]
    why = "could not be saved: QEMU 7.2.0 cannot save a guest without its memory"
    assert [(each.how, each.reason) for each in record.guests] == [("booted", why)] * 2
    assert snapshots(prepared) == []
    asked = (tmp_path / "run" / "qmp.log").read_text()
    assert asked.count("query-migrate-capabilities") == 1, "it is not tried again"


def test_of_several_guests_the_probe_that_took_longest_is_first(
    prepared: Prepared, saved: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "admitted", lambda wanted, *_: (wanted, ""))
    monkeypatch.setattr(parallel, "work", lambda count, lane, stop: lane(0))
    seconds = {"test/one": 1.0, "test/two": 9.0}
    record = run(dataclasses.replace(prepared, guests=2, seconds=seconds), tmp_path)
    assert [each.name for each in record.probes] == ["test/two", "test/one"]


def test_a_run_holds_a_lease_for_its_guests(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Promised] = []

    def look(count: int, lane: Callable[[int], None], stop: Callable[[], None]) -> None:
        seen.append(lease.promised(prepared.context.workspace))
        lane(0)

    monkeypatch.setattr(parallel, "admitted", lambda wanted, *_: (wanted, ""))
    monkeypatch.setattr(parallel, "work", look)
    # This process may have children of other tests, such as a server of PostgreSQL.
    monkeypatch.setattr(hoststat, "touched_by_children", lambda pid: 0)
    run(dataclasses.replace(prepared, guests=2), tmp_path)
    each = parallel.may_touch(prepared.machine)
    assert seen == [Promised(2 * prepared.machine.cpus, 2 * each)]
    assert lease.promised(prepared.context.workspace) == Promised()


def test_a_run_beside_others_says_why_it_has_fewer_guests(
    prepared: Prepared, saved: None, tmp_path: Path
) -> None:
    cpus = len(os.sched_getaffinity(0))
    with lease.held(cpus, 0, prepared.context.workspace):
        record = run(dataclasses.replace(prepared, guests=2), tmp_path)
    assert record.notes == (
        f"1 of 2 guests at the same time: this host has {cpus} CPUs, {cpus} of them promised to"
        f" guests of other commands, and each guest {prepared.machine.cpus} (--cpus)",
    )


@pytest.mark.parametrize(
    ("disk", "accounting", "wanted"),
    [
        (False, False, "exec /bin/busybox cat /run/facts"),
        (True, False, "/bin/hgm-disk && exec /bin/busybox cat /run/facts"),
        (True, True, "/bin/hgm-disk && /bin/busybox cat /run/facts && exec /probes/counters"),
    ],
)
def test_a_booted_guest_is_asked_once(
    prepared: Prepared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    disk: bool,
    accounting: bool,
    wanted: str,
) -> None:
    asked = []

    def answer(ssh: Ssh, argv: Sequence[str], *_: object, **__: object) -> CommandOutput:
        asked.append(tuple(argv))
        return CommandOutput(0, "what it found out", "")

    monkeypatch.setattr(Ssh, "run", answer)
    with guest_with_probes(prepared, tmp_path, disk=disk, accounting=accounting) as host:
        assert asked == [("sh", "-c", wanted)]
        assert host.facts == "what it found out"


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        (0.0, "/probes/features && /probes/calibrate && exec /probes/counters"),
        (2.5, "exec /probes/counters"),
    ],
)
def test_a_restored_guest_is_asked_once_and_not_for_what_is_known(
    prepared: Prepared,
    saved: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    known: float,
    wanted: str,
) -> None:
    asked = set()

    def answer(ssh: Ssh, argv: Sequence[str], *_: object, **__: object) -> CommandOutput:
        asked.add(tuple(argv))
        return CommandOutput(0, "", "")

    monkeypatch.setattr(Ssh, "run", answer)
    store = RunStore(tmp_path, RunRecord(timeout_scale=known))
    guests.run_probes(prepared, PROBES, store)
    assert [each.how for each in store.record.guests] == ["restored"] * 2
    assert asked - {("poweroff", "-f")} == {("sh", "-c", wanted)}
