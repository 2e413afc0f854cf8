# SPDX-License-Identifier: GPL-2.0-only
"""Guests restored from a snapshot, on a real kernel: what they share, and what goes wrong."""

import dataclasses
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.deadline import Deadline
from harness.image.keys import HOST_KEY_PATH
from harness.records.machine import GuestOrigin, HugePages
from harness.records.probe import ProbeSpec
from harness.run import judging
from harness.run.prepare import Prepared
from harness.run.starting import FreshGuests
from harness.vm import guest, pool, snapshot
from harness.vm.guest import Guest
from harness.vm.qemu import Qemu
from harness.workspace import Workspace
from tests.kernel.conftest import machines_left, probed

pytestmark = pytest.mark.hgm_machine(hugepages="2M:8", memory="512M")

PROBE = ProbeSpec(name="test/none", shows="", source="c/counters.c", language="c")
DAY = 86400.0
CHACHA_KEY_BYTES = 32


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The cache of all tests here: what one has saved the next one restores."""
    return Workspace(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def prepared(hgm_prepared: Prepared, cache: Workspace) -> Prepared:
    context = dataclasses.replace(hgm_prepared.context, workspace=cache)
    return dataclasses.replace(hgm_prepared, context=context, fresh_guest=True)


def start(prepared: Prepared, directory: Path) -> GuestOrigin:
    """Start a guest, see that it answers, and return how it came to be."""
    with FreshGuests(prepared, directory).guest(PROBE) as (host, origin):
        assert ask(host, "id", "-u") == "0\n"
    return origin


def ask(host: Guest, *words: str) -> str:
    return host.ssh.run(words, Deadline.after(30, "a question"), check=True).stdout


def snapshots(prepared: Prepared) -> list[Path]:
    return list(prepared.context.workspace.room("snapshots").iterdir())


def nothing_is_left(prepared: Prepared) -> bool:
    return not list(prepared.context.workspace.room("tmp").iterdir()) and not machines_left()


def test_siblings_share_their_memory_and_nothing_that_is_their_own(
    prepared: Prepared, tmp_path: Path
) -> None:
    began = time.time()
    fresh = FreshGuests(prepared, tmp_path)
    with fresh.guest(PROBE) as (one, first), fresh.guest(PROBE) as (other, second):
        assert first == msgspec.structs.replace(second, seconds=first.seconds)
        assert (first.how, first.reason) == ("restored", "")
        for command in (
            ("cat", "/proc/sys/kernel/random/boot_id"),
            ("cat", "/proc/sys/kernel/random/uuid"),
            ("head", "-c", "32", "/dev/urandom"),
            ("cat", HOST_KEY_PATH),
        ):
            assert ask(one, *command) != ask(other, *command), command
        assert int(began) <= int(ask(one, "date", "+%s")) <= time.time()
        assert one.pools == other.pools == pool.read(one.ssh, Deadline.after(30, "the pools"))
        for host in (one, other):
            kib = resident(host)
            assert kib["Pss"] < kib["Rss"] - 4096, "memory is shared between the two"
        (home,) = snapshots(prepared)
        assert home.stat().st_mode & 0o777 == 0o700
        key = one.ssh.get(HOST_KEY_PATH, Deadline.after(30, "the key"))
        assert all(key[-64:-32] not in path.read_bytes() for path in home.iterdir())
    assert nothing_is_left(prepared)


def test_a_probe_with_much_memory_has_a_guest_with_a_copy_of_all_memory(
    prepared: Prepared, tmp_path: Path
) -> None:
    start(prepared, tmp_path)
    (home,) = snapshots(prepared)
    saved = (home / "memory0").stat().st_blocks * 512
    much = msgspec.structs.replace(PROBE, pages=(HugePages(size=1 << 21, count=64),))
    with FreshGuests(prepared, tmp_path).guest(much) as (host, origin):
        assert origin.how == "restored"
        assert resident(host)["Pss"] * 1024 > saved
    start(prepared, tmp_path)
    assert nothing_is_left(prepared)


def test_what_renews_a_guest_reseeds_its_generator_at_once(hgm_guest: Guest) -> None:
    # Siblings differ without it too, once the kernel's own timer has reseeded the generator, after
    # a second in a young guest and a minute in an old one. So the reseeds are counted.
    times = 30
    before = generation(hgm_guest)
    for _ in range(times):
        line = f"{time.time():.6f} {secrets.token_hex(32)}\n".encode()
        limit = Deadline.after(30, "renew")
        hgm_guest.ssh.run(["/probes/renew"], limit, stdin=line, check=True)
    assert generation(hgm_guest) - before >= times


def generation(host: Guest) -> int:
    """How often a guest's kernel has reseeded its generator: base_crng in drivers/char/random.c."""
    line = ask(host, "grep", " base_crng$", "/proc/kallsyms")
    address = int(line.split()[0], 16) + CHACHA_KEY_BYTES
    said = host.qmp.monitor(f"x /1gx {address:#x}", Deadline.after(30, "a look into the kernel"))
    return int(said.split()[-1], 16)


def resident(host: Guest) -> dict[str, int]:
    """What of a guest's QEMU is in memory, in KiB: all of it, and its share of what it shares."""
    text = Path(f"/proc/{host.qemu.process.pid}/smaps_rollup").read_text()
    fields = [line.split() for line in text.splitlines()[1:]]
    return {words[0].rstrip(":"): int(words[1]) for words in fields}


def test_the_clock_is_the_hosts_when_that_has_jumped(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(prepared, tmp_path)

    def tomorrow() -> float:
        return time.clock_gettime(time.CLOCK_REALTIME) + DAY

    monkeypatch.setattr("harness.vm.guest.time.time", tomorrow)
    began = tomorrow()
    with FreshGuests(prepared, tmp_path).guest(PROBE) as (host, origin):
        assert origin.how == "restored"
        assert int(began) <= int(ask(host, "date", "+%s")) <= tomorrow()


def test_probes_in_fresh_guests_end_as_ever_and_a_crash_leaves_the_snapshot(
    prepared: Prepared, tmp_path: Path
) -> None:
    texts = {
        "keeps": "echo 'KTAP version 1'; echo 1..1; echo 'ok 1 it is first'; touch /tmp/mark",
        "fresh": "echo 'KTAP version 1'; echo 1..1; [ ! -e /tmp/mark ] && echo 'ok 1 it is fresh'",
        "crash": "echo 'KTAP version 1'; echo c >/proc/sysrq-trigger",
        "after": "echo 'KTAP version 1'; echo 1..1; echo 'ok 1 it ran'",
    }
    programs = dict(prepared.programs)
    for name, text in texts.items():
        programs[name] = tmp_path / name
        programs[name].write_text(f"#!/bin/sh\n{text}\n")
    specs = [
        ProbeSpec(name=f"test/{name}", shows="", source=f"c/{name}.c", language="c", alone=True)
        for name in texts
    ]
    before = snapshots(prepared)
    record = probed(
        dataclasses.replace(prepared, programs=programs), specs, tmp_path / "runs"
    ).record
    assert {probe.name: probe.status for probe in record.probes} == {
        "test/keeps": "PASS",
        "test/fresh": "PASS",
        "test/crash": "CRASH",
        "test/after": "PASS",
    }
    assert [origin.how for origin in record.guests] == ["restored"] * 4
    assert all(origin.seconds > 0 for origin in record.guests)
    assert snapshots(prepared) == before
    judged = judging.judged_again(Path(record.run_dir))
    assert [(probe.name, probe.status) for probe in judged.probes] == [
        (probe.name, probe.status) for probe in record.probes
    ]


@pytest.mark.hgm_machine(hugepages="2M:8", memory="1G", nodes=2)
def test_a_damaged_snapshot_is_made_again(
    prepared: Prepared, tmp_path: Path, cache: Workspace
) -> None:
    known = set(snapshots(prepared))
    assert start(prepared, tmp_path).how == "restored"
    (home,) = set(snapshots(prepared)) - known
    with (home / "memory1").open("r+b") as file:
        file.seek(os.lseek(file.fileno(), 0, os.SEEK_DATA))
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    origin = start(prepared, tmp_path)
    assert origin.how == "restored"
    assert "memory1 is not what was saved; it was made again" in origin.reason
    assert start(prepared, tmp_path).reason == ""


def kill_qemu(machine: Qemu, state: bytes, deadline: Deadline) -> None:
    machine.process.kill()
    _LOAD(machine, state, deadline)


def cut_state(machine: Qemu, state: bytes, deadline: Deadline) -> None:
    _LOAD(machine, state[: len(state) // 2], deadline)


_LOAD, _SAVE = Qemu.load, Qemu.save


@pytest.mark.parametrize("load", [kill_qemu, cut_state])
def test_a_guest_that_cannot_be_restored_is_booted(
    load: Callable[..., Any], prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(prepared, tmp_path)
    known = set(snapshots(prepared))
    monkeypatch.setattr(Qemu, "load", load)
    fresh = FreshGuests(prepared, tmp_path)
    with fresh.guest(PROBE) as (host, origin):
        assert origin.how == "booted"
        assert origin.reason.startswith("could not be restored: QEMU")
        assert ask(host, "id", "-u") == "0\n"
    assert len(known - set(snapshots(prepared))) == 1, "it is not tried again"
    assert nothing_is_left(prepared)


def with_own_cache(prepared: Prepared, tmp_path: Path) -> tuple[Prepared, Workspace]:
    """Return the same with an empty cache, and that."""
    own = Workspace(tmp_path / "cache")
    context = dataclasses.replace(prepared.context, workspace=own)
    return dataclasses.replace(prepared, context=context), own


def test_a_full_disk_while_saving_costs_the_snapshot_only(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, own = with_own_cache(prepared, tmp_path)
    save = guest.save

    def fill_disk(*arguments: Any) -> guest.SavedGuest:
        saved = save(*arguments)
        (scratch,) = own.room("tmp").glob("snapshot.*")
        (scratch / "devices").symlink_to("/dev/full")
        return saved

    monkeypatch.setattr(guest, "save", fill_disk)
    origin = start(prepared, tmp_path)
    assert origin.how == "booted"
    assert origin.reason.startswith("could not be saved: no space left")
    assert snapshots(prepared) == []
    assert nothing_is_left(prepared)


def test_a_guest_that_stalled_in_its_boot_is_not_saved(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, _ = with_own_cache(prepared, tmp_path)
    said: list[str] = []

    def once(line: str) -> bool:
        if said or "Run /init" not in line:
            return False
        said.append(line)
        return True

    monkeypatch.setattr("harness.judge.dmesg.is_stuck", once)
    kept = probed(prepared, [PROBE], tmp_path / "runs")
    (origin,) = kept.record.guests
    assert origin.how == "booted"
    assert origin.reason == "could not be saved: its kernel reported a stall while it booted"
    # What the host gave that guest tells whether the stall says anything.
    (span,) = kept.record.stalled
    console = (kept.run_dir / "serial.log").read_bytes()
    assert said[0].encode() in console[span.console_from : span.console_to]
    assert snapshots(prepared) == []
    assert nothing_is_left(prepared)


def test_an_interrupt_while_saving_leaves_nothing(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, own = with_own_cache(prepared, tmp_path)

    def interrupted(machine: Qemu, deadline: Deadline) -> bytes:
        _SAVE(machine, deadline)
        raise KeyboardInterrupt

    monkeypatch.setattr(Qemu, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(prepared, tmp_path)
    assert snapshots(prepared) == []
    assert nothing_is_left(prepared)
    assert snapshot.find("0" * 64, own) is None
