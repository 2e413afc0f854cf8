# SPDX-License-Identifier: GPL-2.0-only
"""Snapshots in the cache: what they are found by, and that a damaged one is never returned.

The saved guest here is a fake; tests/kernel/test_snapshot.py saves and restores real ones.
"""

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from harness import cache
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import SnapshotError
from harness.image.overlay import OverlayFile
from harness.progress import Silent
from harness.vm import guest, snapshot, spec
from harness.vm.guest import BootRequest, SavedGuest
from harness.workspace import Workspace

PIECE = 1 << 16
CONTENT = b"guest" * PIECE


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Workspace(tmp_path / "cache"), Deadline.after(20, "the test"), Silent())


@pytest.fixture
def saved(fake_qemu: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a guest saved that wrote to three places of its memory."""

    def save(
        request: BootRequest, directory: Path, context: Context, memory: Sequence[int]
    ) -> SavedGuest:
        for descriptor in memory:
            for offset in (PIECE // 2, 2**20, os.fstat(descriptor).st_size - len(CONTENT)):
                os.pwrite(descriptor, CONTENT, offset)
            os.pwrite(descriptor, bytes(10 * PIECE), 2**26)
        return SavedGuest((), b"devices", b"console")

    monkeypatch.setattr(guest, "save", save)


@pytest.fixture
def made(
    saved: None, request_to_boot: BootRequest, context: Context, tmp_path: Path
) -> snapshot.Snapshot:
    return snapshot.make(request_to_boot, "key", tmp_path, context)


def test_a_snapshot_is_what_was_saved_private_and_sparse(
    made: snapshot.Snapshot, context: Context
) -> None:
    found = snapshot.find("key", context.workspace)
    assert found == made
    assert (found.saved.devices, found.saved.console) == (b"devices", b"console")
    (memory,) = map(Path, found.saved.memory)
    with memory.open("rb") as file:
        for offset in (PIECE // 2, 2**20, memory.stat().st_size - len(CONTENT)):
            file.seek(offset)
            assert file.read(len(CONTENT)) == CONTENT
    assert memory.stat().st_blocks * 512 < 4 * len(CONTENT), "zeros and holes take no space"
    assert found.home.stat().st_mode & 0o777 == 0o700
    (entry,) = (each for each in cache.entries(context.workspace) if each.kind == "snapshot")
    assert entry.path == str(found.home)


@pytest.mark.parametrize("name", ["devices", "console", "manifest.json", "memory0"])
def test_a_damaged_snapshot_is_removed(
    name: str, made: snapshot.Snapshot, context: Context
) -> None:
    with (made.home / name).open("r+b") as file:
        start = os.lseek(file.fileno(), 0, os.SEEK_DATA) + 3
        file.seek(start)
        byte = file.read(1)[0]
        file.seek(start)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(SnapshotError, match="damaged"):
        snapshot.find("key", context.workspace)
    assert snapshot.find("key", context.workspace) is None
    assert not made.home.exists()


@pytest.mark.parametrize("name", ["devices", "console", "manifest.json", "memory0"])
def test_an_incomplete_snapshot_is_removed(
    name: str, made: snapshot.Snapshot, context: Context
) -> None:
    (made.home / name).unlink()
    with pytest.raises(SnapshotError, match="damaged"):
        snapshot.find("key", context.workspace)
    assert snapshot.find("key", context.workspace) is None


def test_memory_is_read_once_and_again_when_it_has_changed(
    made: snapshot.Snapshot, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    pieces = snapshot._pieces

    def counted(descriptor: int) -> Iterator[tuple[int, bytes]]:
        read.append(descriptor)
        return pieces(descriptor)

    monkeypatch.setattr(snapshot, "_pieces", counted)
    snapshot.find("key", context.workspace)
    assert read == []
    os.utime(made.home / "memory0")
    snapshot.find("key", context.workspace)
    snapshot.find("key", context.workspace)
    assert len(read) == 1


def test_the_key_has_all_that_a_saved_guest_depends_on(
    request_to_boot: BootRequest, fake_qemu: Callable[[str], None]
) -> None:
    changed = dataclasses.replace
    one = request_to_boot
    others = [
        changed(one, kernel=msgspec.structs.replace(one.kernel, key="1" * 64)),
        changed(one, image=msgspec.structs.replace(one.image, key="1" * 64)),
        changed(one, machine=spec.machine((), memory=2**31, arch_name="x86_64")),
        changed(one, machine=spec.machine((), cpus=1, arch_name="x86_64")),
        changed(
            one, machine=spec.machine(spec.parse_hugepages("2M:1", "x86_64"), arch_name="x86_64")
        ),
        changed(one, accel=msgspec.structs.replace(one.accel, cpu="other")),
        changed(one, accel=msgspec.structs.replace(one.accel, name="kvm")),
        changed(one, append=("quiet",)),
        changed(one, files=(OverlayFile("/probes/counters", b"1"),)),
    ]
    keys = [snapshot.key_of(each) for each in (one, *others)]
    assert len(set(keys)) == len(keys)
    elsewhere = changed(one, kernel=msgspec.structs.replace(one.kernel, image="/elsewhere"))
    assert snapshot.key_of(elsewhere) == keys[0]
    os.utime(shutil.which("qemu-system-x86_64") or "", (1, 1))
    assert snapshot.key_of(one) != keys[0]
