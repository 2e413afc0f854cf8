# SPDX-License-Identifier: GPL-2.0-only
"""Saved guests in the cache: booted once, and restored whenever a probe is to have a fresh guest.

A saved guest is the state of its devices, which takes half a megabyte, and its memory in a sparse
file that restored guests map copy-on-write: they share what they do not touch. It is found by what
it was booted from and by what, and removed when a file of it is not what was written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from harness import cache, command
from harness.arch import arch
from harness.context import Context
from harness.errors import SnapshotError
from harness.image.overlay import overlay_archive
from harness.records.base import Record, from_json, to_json
from harness.vm import guest, memory_file, spec
from harness.vm.guest import BootRequest, SavedGuest
from harness.workspace import Workspace, atomic_write, boot_id, digest

#: Increased whenever a snapshot that was made before cannot be used any more.
_FORMAT = "1"

_ROOM = "snapshots"
_DEVICES = "devices"
_CONSOLE = "console"
_MANIFEST = "manifest.json"
_VERIFIED = "verified"

# Of memory, what is zero is not kept, in pieces of this size.
_PIECE = 1 << 16
_ZEROS = bytes(_PIECE)


class SnapshotFiles(Record, frozen=True, kw_only=True):
    """The files of a snapshot; ``manifest.json`` in its directory.

    Attributes:
        sha256: by file name; of memory see `_memory_digest`.
    """

    sha256: dict[str, str]


@dataclass(frozen=True)
class Snapshot:
    """A saved guest in the cache.

    Attributes:
        key: what it is found by.
        home: its directory.
        saved: the guest.
    """

    key: str
    home: Path
    saved: SavedGuest


def key_of(request: BootRequest) -> str:
    """Return the key of the guest that a request boots: a digest of all that it depends on."""
    nodes = range(request.machine.nodes)
    launch = spec.Launch(
        machine=request.machine,
        accel=request.accel.name,
        cpu=request.accel.cpu,
        kernel="kernel",
        initrd="initrd",
        disk="disk",
        append=request.append,
        memory=tuple(f"memory{node}" for node in nodes),
        files="files",
        qmp_fd=0,
        console_fd=0,
    )
    return digest(
        _FORMAT,
        *spec.qemu_argv(launch),
        request.kernel.key,
        request.image.key,
        b"".join(overlay_archive(request.files)),
        command.identity(arch(request.machine.arch).qemu),
        # With KVM the guest has seen the host's processor, which may be another after a reboot.
        boot_id() if request.accel.name == "kvm" else "",
    )


def find(key: str, workspace: Workspace) -> Snapshot | None:
    """Return a snapshot, marked as used now, or None if there is none.

    Raises:
        SnapshotError: if it is damaged; it is removed then.
    """
    home = workspace.room(_ROOM) / key
    if not home.is_dir():
        return None
    try:
        found = _read(key, home)
    except SnapshotError:
        remove(home)
        raise
    cache.touch(home)
    return found


def remove(home: Path) -> None:
    """Remove a snapshot; guests that were restored from it keep their memory."""
    cache.forget([home])


def _read(key: str, home: Path) -> Snapshot:
    try:
        manifest = from_json((home / _MANIFEST).read_bytes(), SnapshotFiles)
        devices, console = ((home / name).read_bytes() for name in (_DEVICES, _CONSOLE))
        memory = [home / name for name in sorted(manifest.sha256) if name.startswith("memory")]
        _verify(home, manifest, devices, console, memory)
    except (OSError, msgspec.DecodeError, KeyError) as error:
        raise SnapshotError(f"snapshot {key[:12]} is damaged: {error}") from None
    return Snapshot(key, home, SavedGuest(tuple(map(str, memory)), devices, console))


def _verify(
    home: Path, manifest: SnapshotFiles, devices: bytes, console: bytes, memory: list[Path]
) -> None:
    """Raise SnapshotError if a file is not what was written.

    Memory takes a fifth of a second, so it is read once in each boot of the host, and again if its
    file has changed since.
    """
    for name, data in ((_DEVICES, devices), (_CONSOLE, console)):
        _compare(home, name, hashlib.sha256(data).hexdigest(), manifest)
    stats = [path.stat() for path in memory]
    mark = f"{boot_id()} {[(s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats]}"
    verified = home / _VERIFIED
    if verified.exists() and verified.read_text() == mark:
        return
    for path in memory:
        with path.open("rb") as file:
            _compare(home, path.name, _memory_digest(_pieces(file.fileno())), manifest)
    atomic_write(verified, mark)


def _compare(home: Path, name: str, found: str, manifest: SnapshotFiles) -> None:
    if found != manifest.sha256[name]:
        raise SnapshotError(f"snapshot {home.name[:12]} is damaged: {name} is not what was saved")


def make(request: BootRequest, key: str, directory: Path, context: Context) -> Snapshot:
    """Boot a guest, save it and return the snapshot.

    Args:
        request: what to boot; its files are in every guest that is restored.
        key: of the request.
        directory: takes ``serial.log``, ``qmp.log`` and ``qemu.stderr``.
        context: cache, deadline, progress.

    Raises:
        HarnessError: if the guest did not boot, or could not be saved.
        OSError: with ENOSPC, if the cache's file system is full.
    """
    home = context.workspace.room(_ROOM) / key
    with context.workspace.unfinished("snapshot") as scratch, ExitStack() as stack:
        scratch.chmod(0o700)
        size = request.machine.memory // request.machine.nodes
        memory = [memory_file.create(size, stack) for _ in range(request.machine.nodes)]
        saved = guest.save(request, directory, context, memory)
        digests = {
            _DEVICES: hashlib.sha256(saved.devices).hexdigest(),
            _CONSOLE: hashlib.sha256(saved.console).hexdigest(),
        }
        (scratch / _DEVICES).write_bytes(saved.devices)
        (scratch / _CONSOLE).write_bytes(saved.console)
        for node, descriptor in enumerate(memory):
            name = f"memory{node}"
            digests[name] = _copy_memory(descriptor, size, scratch / name)
        manifest = SnapshotFiles(sha256=digests)
        (scratch / _MANIFEST).write_bytes(to_json(manifest))
        context.workspace.publish(scratch, home)
    cache.prune(context.workspace, cache.limit(), context.progress, remembered=True)
    return _read(key, home)


def _copy_memory(source: int, size: int, target: Path) -> str:
    """Write a sparse file with a guest's memory and return its digest."""
    with target.open("xb") as file:
        file.truncate(size)
        return _memory_digest(_written(_pieces(source), file))


def _written(pieces: Iterable[tuple[int, bytes]], file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Write each piece at its offset, and yield it."""
    for offset, piece in pieces:
        file.seek(offset)
        file.write(piece)
        yield offset, piece


def _memory_digest(pieces: Iterable[tuple[int, bytes]]) -> str:
    """Return the SHA-256 of a memory file in hex: of the pieces that are not zero, and where."""
    whole = hashlib.sha256()
    for offset, piece in pieces:
        whole.update(offset.to_bytes(8) + piece)
    return whole.hexdigest()


def _pieces(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """Yield offset and content of each piece that is not zero, without reading holes."""
    size = os.fstat(descriptor).st_size
    offset = 0
    for start, end in memory_file.extents(descriptor):
        offset = max(offset, start - start % _PIECE)
        while offset < end:
            piece = os.pread(descriptor, min(_PIECE, size - offset), offset)
            if piece != _ZEROS:
                yield offset, piece
            offset += _PIECE
