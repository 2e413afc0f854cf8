# SPDX-License-Identifier: GPL-2.0-only
"""QEMU migrates a guest by post-copy on the kernel under test, from hugetlb to hugetlb.

`./hgm test long -k migrat`. The guest under test has Debian's QEMU on its disk, and runs a source
and a destination, which are driven from here. What they migrate writes to all of its memory without
end (see migrated.S), so that pre-copy cannot finish, and nearly each huge page that pre-copy has
brought is stale when post-copy begins: it is discarded and comes once more, by UFFDIO_COPY of a
whole huge page.
"""

import contextlib
import json
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tenacity

from harness.arch import arch
from harness.context import Context
from harness.deadline import Deadline
from harness.image import image
from harness.judge import dmesg
from harness.run.prepare import Prepared
from harness.vm import pool
from harness.vm.guest import Guest, forwarded_port
from harness.vm.qmp import Qmp
from tests.kernel.conftest import STOCK
from tests.long import migrated

_HUGE = 2 << 20
_PAGES = migrated.SIZE // _HUGE
_SECONDS = 900.0
_PORTS = {"source": 4441, "destination": 4442}
_CAPABILITIES = ("events", "postcopy-ram", "postcopy-blocktime", "postcopy-preempt")
_FIRMWARE = "/tmp/firmware"
_TRACE = "/tmp/trace"
_LINK = "unix:/tmp/link"
_FAULT = re.compile(r"postcopy_ram_fault_thread_request .*HVA=(\w+) rb=ram offset=(\w+)")
_PLACED = re.compile(r"postcopy_place_page host=(\w+)")


@pytest.fixture
def hgm_prepared(hgm_prepared: Prepared, hgm_context: Context, tmp_path: Path) -> Prepared:
    """Return what a guest needs, with QEMU on its disk."""
    recipes = shutil.copytree(image.RECIPES, tmp_path / "guest-images")
    disk = recipes / "disk.toml"
    disk.write_text(disk.read_text().replace("packages = [", 'packages = [\n"qemu-system-x86",', 1))
    machine = arch(hgm_prepared.machine.arch)
    return replace(hgm_prepared, image=image.obtain(machine, hgm_context, directory=recipes))


@contextlib.contextmanager
def _machine(name: str, guest: Guest, log: Path, limit: Deadline, *words: str) -> Iterator[Qmp]:
    """Start a machine inside the guest and yield its QMP session, by a port of the host."""
    port = _PORTS[name]
    memory = f"memory-backend-memfd,id=ram,size={migrated.SIZE},share=on,hugetlb=on,hugetlbsize=2M"
    argv = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-daemonize", "-accel", "tcg"]
    argv += ["-machine", "pc,memory-backend=ram", "-object", memory, "-m", f"{migrated.SIZE}b"]
    argv += ["-bios", _FIRMWARE, "-qmp", f"tcp:10.0.2.15:{port},server=on,wait=off"]
    guest.ssh.run([*argv, *words], limit, check=True)
    guest.qmp.monitor(f"hostfwd_add net tcp:127.0.0.1:0-:{port}", limit)
    reached = forwarded_port(guest.qmp.monitor("info usernet", limit), port)
    qmp = Qmp(socket.create_connection(("127.0.0.1", reached)), log)
    with contextlib.closing(qmp):
        qmp.connect(limit)
        yield qmp


def _await_pass(machine: Qmp, number: int, limit: Deadline) -> None:
    """Wait until the machine is in a later pass than NUMBER, which is then complete."""

    def counted() -> int:
        limit.check()
        line = machine.monitor(f"xp /1xw {migrated.BEGIN:#x}", limit)
        return int(line.split()[-1], 16) - migrated.BEGIN

    poll = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda count: count <= number),
        wait=tenacity.wait_fixed(0.2),
    )
    poll(counted)


def _await(machine: Qmp, event: str, limit: Deadline, **data: object) -> None:
    machine.wait_event(
        lambda seen: seen["event"] == event and data.items() <= seen["data"].items(), limit
    )


def _memory(machine: Qmp, guest: Guest, name: str, limit: Deadline) -> bytes:
    """Return the memory of a machine that is stopped."""
    where = {"val": 0, "size": migrated.SIZE, "filename": f"/tmp/{name}"}
    machine.execute("pmemsave", where, deadline=limit)
    return guest.ssh.get(f"/tmp/{name}", limit)


def _migrate(source: Qmp, destination: Qmp, limit: Deadline) -> None:
    """Migrate, by post-copy from the second round on."""
    wanted = [{"capability": name, "state": True} for name in _CAPABILITIES]
    for each in (source, destination):
        each.execute("migrate-set-capabilities", {"capabilities": wanted}, deadline=limit)
    # Pre-copy never comes to its end, and the push not before the guest has touched something.
    parameters: dict[str, object] = {"downtime-limit": 1, "max-postcopy-bandwidth": 4 << 20}
    source.execute("migrate-set-parameters", parameters, deadline=limit)
    destination.execute("migrate-incoming", {"uri": _LINK}, deadline=limit)
    source.execute("migrate", {"uri": _LINK}, deadline=limit)
    _await(source, "MIGRATION_PASS", limit, **{"pass": 2})
    source.execute("migrate-start-postcopy", deadline=limit)
    for each in (source, destination):
        _await(each, "MIGRATION", limit, status="completed")


def _figures(source: Qmp, destination: Qmp, trace: str, limit: Deadline) -> dict[str, Any]:
    """Return what moved: by QEMU's own counts, and by its trace of the destination.

    ``faulted`` and ``placed`` number huge pages of the memory, in the order of events.
    """
    sent = source.execute("query-migrate", deadline=limit)
    come = destination.execute("query-migrate", deadline=limit)
    faults = [(int(address, 16), int(offset, 16)) for address, offset in _FAULT.findall(trace)]
    assert faults, trace
    start = faults[0][0] - faults[0][1]
    placed = [int(address, 16) - start for address in _PLACED.findall(trace)]
    names = ("postcopy-requests", "postcopy-bytes", "precopy-bytes", "dirty-sync-count")
    return {
        **{name: sent["ram"][name] for name in names},
        **{name: value for name, value in come.items() if name.startswith("postcopy-")},
        "downtime": sent["downtime"],
        "faulted": [offset / _HUGE for _, offset in faults],
        "placed": [offset / _HUGE for offset in placed if 0 <= offset < migrated.SIZE],
    }


def _sent(huge: int) -> int:
    """Return the bytes that QEMU sends for a huge page.

    These are its base pages, with 8 bytes in front of each; one of zeros as 1 byte more than that.
    """
    zeros = migrated.BEGIN // migrated.PAGE if huge == 0 else 0
    return (_HUGE // migrated.PAGE - zeros) * (migrated.PAGE + 8) + zeros * 9


def _on(source: str, series: str) -> Any:
    return pytest.param(
        marks=pytest.mark.hgm_kernel(source, series=series), id=f"{source}+{series}"
    )


@pytest.mark.hgm_disk
@pytest.mark.hgm_machine(hugepages=f"2M:{2 * _PAGES}", cpus=2)
@pytest.mark.parametrize(
    (), [_on(STOCK, "none"), _on(STOCK, "hgm-6.12"), _on("debian:linux-source-7.3", "none")]
)
def test_qemu_migrates_by_post_copy_from_hugetlb_to_hugetlb(
    hgm_guest: Guest, hgm_context: Context, tmp_path: Path
) -> None:
    limit = hgm_context.deadline.within(_SECONDS, "the migration")
    before, after, figures = _migration(hgm_guest, tmp_path, limit)
    hgm_context.progress.note(json.dumps(figures))
    mistakes = migrated.mistakes(before, after)
    assert mistakes == []
    # A huge page comes once and whole; one that was not written to since pre-copy does not come.
    placed, faulted = figures["placed"], set(figures["faulted"])
    assert len(set(placed)) == len(placed)
    assert faulted <= set(placed) <= set(range(_PAGES))
    assert figures["postcopy-requests"] >= len(faulted) > 0
    assert 0 <= figures["postcopy-bytes"] - sum(map(_sent, placed)) < migrated.PAGE
    hgm_guest.ssh.run(["sh", "-c", "while pidof qemu-system-x86_64; do sleep 0.1; done"], limit)
    assert pool.read(hgm_guest.ssh, limit) == hgm_guest.pools
    assert dmesg.scan(hgm_guest.console.text()) == ()


@pytest.mark.hgm_disk
@pytest.mark.hgm_machine(hugepages=f"2M:{2 * _PAGES}", cpus=2)
@pytest.mark.hgm_kernel(STOCK, series="fault:last-page-lost-in-copy")
def test_a_kernel_that_copies_wrongly_is_seen_in_the_migrated_memory(
    hgm_guest: Guest, hgm_context: Context, tmp_path: Path
) -> None:
    limit = hgm_context.deadline.within(_SECONDS, "the migration")
    before, after, figures = _migration(hgm_guest, tmp_path, limit)
    found = migrated.mistakes(before, after)
    hgm_context.progress.note(json.dumps(found))
    each = _HUGE // migrated.PAGE
    last = sorted(int(huge) * each + each - 1 for huge in figures["placed"])
    wrong = [f"destination: page {page} has other contents than the guest wrote" for page in last]
    assert wrong
    assert found[: len(wrong)] == wrong
    assert not any(line.startswith("source") for line in found)


def _migration(guest: Guest, room: Path, limit: Deadline) -> tuple[bytes, bytes, dict[str, Any]]:
    """Migrate a guest, and return the memory of both sides and what moved."""
    guest.ssh.put(migrated.firmware(room, limit), _FIRMWARE, limit)
    log = room / "nested-qmp.log"
    traced = ["-D", _TRACE, "-trace", "postcopy_ram_fault_thread_request"]
    traced += ["-trace", "postcopy_place_page", "-incoming", "defer"]
    with (
        _machine("source", guest, log, limit) as source,
        _machine("destination", guest, log, limit, *traced) as destination,
    ):
        _await_pass(source, 1, limit)
        _migrate(source, destination, limit)
        before = _memory(source, guest, "source", limit)
        _await_pass(destination, max(migrated.passes(before)) + 1, limit)
        destination.execute("stop", deadline=limit)
        after = _memory(destination, guest, "destination", limit)
        trace = guest.ssh.get(_TRACE, limit).decode()
        figures = _figures(source, destination, trace, limit)
        # Both have all of their memory in the pool.
        assert [each.free for each in pool.read(guest.ssh, limit) if each.size == _HUGE] == [0]
        for each in (source, destination):
            each.execute("quit", deadline=limit)
    return before, after, figures
