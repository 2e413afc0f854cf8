# SPDX-License-Identifier: GPL-2.0-only
"""The cache, locks and atomic writes.

The cache is outside every checkout, in ``$HGM_CACHE`` or the user's cache directory::

    sources.git/     bare git object store: every kernel source and patched tree is a tree in it
    sources/         which package, tarball or commit became which tree
    configs/         what Kconfig made of which requests
    trees/           private work trees and their build directories, for incremental builds
    kernels/         finished kernels by content
    images/          finished guest images by content
    snapshots/       saved guests, by what they were booted from and by what
    recipes/         which state of the guest's recipes became which image
    apt/             lists of Debian's packages, a directory for each set of suites
    probes/          compiled probes, and the kernels' own tests, by content
    inputs/          what a cluster's scheduler or worker has of other hosts, by content
    b4/              run directories of `hgm b4-check`
    accel/           whether KVM works on this host, per boot
    facts/           measurements of this host, such as how many objects a build makes
    sizes.json       the last measured sizes of the entries
    locks/           one file a lock; a lock ends with the process that holds it
    tmp/             unfinished directories, and leases of guests that run; removed when their
                     process has ended
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import command
from harness.deadline import Deadline
from harness.errors import DeadlineExpired
from harness.progress import Progress, Silent

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Workspace:
    """The cache of one user on one host.

    Attributes:
        cache: its root, an absolute path.
    """

    cache: Path

    @classmethod
    def default(cls) -> Workspace:
        """Return the workspace in ``$HGM_CACHE``, else in the user's cache directory."""
        chosen = os.environ.get("HGM_CACHE")
        if chosen:
            return cls(Path(chosen).absolute())
        import platformdirs

        return cls(Path(platformdirs.user_cache_dir("hgm")).absolute())

    def room(self, name: str) -> Path:
        """Return the cache's subdirectory ``name``, made if it was not there."""
        path = self.cache / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextlib.contextmanager
    def lock(self, name: str, deadline: Deadline, progress: Progress) -> Iterator[None]:
        """Hold the lock ``name`` against every other process of this user.

        If another process has it, a note says so once.

        Raises:
            DeadlineExpired: if the other process did not release it in time.
        """
        import filelock  # it brings asyncio, and a run with all in its cache takes no lock

        path = self.room("locks") / f"{digest(name)[:16]}.lock"
        guard = filelock.FileLock(path)
        try:
            guard.acquire(timeout=0)
        except filelock.Timeout:
            progress.note(f"waiting for another hgm process that is using {name}")
            try:
                guard.acquire(timeout=deadline.remaining())
            except filelock.Timeout:
                raise deadline.error() from None
        try:
            yield
        finally:
            guard.release()

    def locked(self, name: str) -> bool:
        """Return whether another process holds the lock ``name`` right now."""
        try:
            with self.lock(name, Deadline.after(0, "trying a lock"), Silent()):
                return False
        except DeadlineExpired:
            return True

    def temporary(self, kind: str) -> Path:
        """Return a new path; what is there when this process has ended is removed by `sweep`."""
        return self.room("tmp") / f"{kind}.{os.getpid()}.{secrets.token_hex(4)}"

    @contextlib.contextmanager
    def unfinished(self, kind: str) -> Iterator[Path]:
        """Yield a new directory in the cache that is removed at the end unless published."""
        path = self.temporary(kind)
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def publish(self, unfinished: Path, finished: Path) -> None:
        """Give a directory its final name atomically; one that another process published stays.

        Args:
            unfinished: what `unfinished` yielded, or a directory inside it.
            finished: its place in the cache.
        """
        finished.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.rename(finished)
        except OSError:
            if not finished.is_dir():
                raise

    def sweep(self) -> None:
        """Remove the unfinished directories, and the leases, of processes that have ended."""
        for path in self.room("tmp").iterdir():
            _, _, owner = path.stem.rpartition(".")
            if owner.isdigit() and command.ended(int(owner)):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def atomic_write(path: Path, data: bytes | str) -> None:
    """Write a whole file or none of it: readers see the old content or the new one.

    That holds if this process is killed, but not if the host crashes: waiting for the disk would
    make a run a tenth longer.
    """
    raw = data.encode() if isinstance(data, str) else data
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(raw)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def boot_id() -> str:
    """Return the ID of this boot of the host."""
    return _BOOT_ID.read_text().strip()


def newest_first(paths: Iterable[Path]) -> list[Path]:
    """Return files by the time of their last change, without those that have been removed."""
    times = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            times[path] = path.stat().st_mtime
    return sorted(times, key=times.__getitem__, reverse=True)


def readable(text: str) -> str:
    """Return the last 40 characters of a text, without those unfit for file names."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-")[-40:]


def digest(*parts: str | bytes) -> str:
    """Return the SHA-256 of the parts in hex; ``ab, c`` and ``a, bc`` differ."""
    whole = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        whole.update(len(raw).to_bytes(8, "big") + raw)
    return whole.hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
