# SPDX-License-Identifier: GPL-2.0-only
"""Kernels, guest images and programs on their way to the workers, by content.

The client gives the scheduler's host what it lacks; a worker takes from there what its own host
lacks, so that each travels once to a host. Both keep them in their cache::

    inputs/SHA256.tar    at the scheduler: the archive
    inputs/SHA256/       at a worker: its files
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from distributed import Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin

from harness import cache
from harness.cluster import archive
from harness.context import Context
from harness.errors import InfrastructureError
from harness.records.run import Ingredients
from harness.workspace import Workspace, atomic_write

ROOM = "inputs"

#: Bytes that travel in one message.
_CHUNK = 4 << 20

#: What lies beside a kernel and no guest needs.
_SKIPPED = frozenset({"headers", "System.map"})


class InputStore(SchedulerPlugin):
    """Keeps inputs at the scheduler for the workers; a client installs it."""

    name = "hgm-inputs"
    idempotent = True

    async def start(self, scheduler: Scheduler) -> None:
        """Answer clients and workers from now on."""
        self._home = Workspace.default().room(ROOM)
        self._coming: dict[str, bytearray] = {}
        scheduler.handlers.update(hgm_lacking=self._lacking, hgm_put=self._put, hgm_get=self._get)

    def _path(self, digest: str) -> Path:
        if len(digest) != 64 or not digest.isalnum():
            raise ValueError(f"{digest!r} is not a hash")
        return self._home / f"{digest}.tar"

    def _lacking(self, digests: Iterable[str]) -> list[str]:
        """Return those that are not here, and mark the others as used."""
        there = [each for each in digests if self._path(each).exists()]
        for each in there:
            cache.touch(self._path(each))
        return [each for each in digests if each not in there]

    def _put(self, digest: str, sender: str, data: bytes, last: bool) -> bool:
        """Take the next piece from a sender; return whether all of them are what was promised."""
        path, key = self._path(digest), f"{sender} {digest}"
        whole = self._coming.setdefault(key, bytearray())
        whole += data
        if last:
            del self._coming[key]
            if hashlib.sha256(whole).hexdigest() != digest:
                return False
            atomic_write(path, bytes(whole))
        return True

    def _get(self, digest: str, offset: int) -> bytes:
        """Return the piece at an offset; empty at the end, or if it is not here."""
        try:
            with self._path(digest).open("rb") as file:
                file.seek(offset)
                return file.read(_CHUNK)
        except FileNotFoundError:
            return b""


def roots(made_of: Ingredients) -> tuple[Path, ...]:
    """Return the directories and files that a run's ingredients lie in."""
    kernel, image = Path(made_of.kernel.image).parent, Path(made_of.image.manifest).parent
    return (kernel, image, *sorted({Path(path) for path in made_of.programs.values()}))


def packed(root: Path) -> bytes:
    """Return one of the `roots` as an archive."""
    return archive.packed(root, _SKIPPED)


def pieces(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield the pieces of an archive, each with whether it is the last."""
    offsets = range(0, max(len(data), 1), _CHUNK)
    for offset in offsets:
        yield data[offset : offset + _CHUNK], offset == offsets[-1]


def fetched(
    digests: Sequence[str], read: Callable[[str, int], bytes], context: Context
) -> tuple[Path, ...]:
    """Return the directories with inputs on this host, each fetched unless it is here.

    Args:
        digests: which ones.
        read: returns the piece of an archive that begins at an offset, empty at its end.
        context: cache, deadline, progress.

    Raises:
        InfrastructureError: if the scheduler does not have one.
    """
    return tuple(_fetched(digest, read, context) for digest in digests)


def _fetched(digest: str, read: Callable[[str, int], bytes], context: Context) -> Path:
    workspace = context.workspace
    home = workspace.room(ROOM) / digest
    with workspace.lock(f"{ROOM}/{digest}", context.deadline, context.progress):
        if home.is_dir():
            cache.touch(home)
            return home
        whole = bytearray()
        while piece := read(digest, len(whole)):
            context.deadline.check()
            whole += piece
        if hashlib.sha256(whole).hexdigest() != digest:
            raise InfrastructureError(f"the scheduler does not have the input {digest[:12]}")
        with workspace.unfinished("input") as scratch:
            archive.unpack(bytes(whole), scratch)
            workspace.publish(scratch, home)
    return home


def located(made_of: Ingredients, homes: dict[str, str]) -> Ingredients:
    """Return ingredients with the paths that they have on this host.

    Args:
        made_of: with the paths that they have at the client.
        homes: the directory here that has the files of each of the `roots`.
    """

    def here(path: str) -> str:
        if path in homes:  # a single file
            return str(Path(homes[path]) / Path(path).name)
        root = next((root for root in homes if path.startswith(f"{root}/")), None)
        return "" if root is None else homes[root] + path.removeprefix(root)

    kernel, image = made_of.kernel, made_of.image
    parts = ("image", "config", "vmlinux", "coverage", "modules")
    return msgspec.structs.replace(
        made_of,
        kernel=msgspec.structs.replace(
            kernel, headers="", **{name: here(getattr(kernel, name)) for name in parts}
        ),
        image=msgspec.structs.replace(
            image,
            **{name: here(getattr(image, name)) for name in ("initramfs", "disk", "manifest")},
        ),
        programs={name: here(path) for name, path in made_of.programs.items()},
    )
