# SPDX-License-Identifier: GPL-2.0-only
"""The cache's entries: their sizes, which of them are in use, and pruning to the size limit."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from harness import command
from harness.deadline import Deadline
from harness.errors import DeadlineExpired, HarnessError, InfrastructureError
from harness.progress import Progress, Silent
from harness.records.base import Record, decode
from harness.sizes import parse_size
from harness.workspace import Workspace, atomic_write

#: Default of ``$HGM_CACHE_LIMIT``, bytes.
DEFAULT_LIMIT = 20 * 2**30


class CacheEntry(Record, frozen=True, kw_only=True):
    """One file or directory of the cache that can be removed by itself.

    Attributes:
        kind: ``kernel``, ``tree``, ``image``, ``snapshot`` (of a guest), ``probe``, ``config`` (a
            kernel's), ``apt lists``, ``environment`` (Python's), ``input`` (from another host of a
            cluster), ``ccache`` or ``sources``.
        path: where it is, absolute.
        size: bytes on disk.
        used: when it was last used, seconds since the epoch.
        pinned: whether a process is using it now.
    """

    kind: str
    path: str
    size: int
    used: float
    pinned: bool


#: Prefix of make's output directories, at the top of a work tree.
OUTPUT = ".build-"

#: Directories whose children are entries, with their kind, and directories that are one entry.
_ROOMS = {
    "kernels": "kernel",
    "trees": "tree",
    "images": "image",
    "snapshots": "snapshot",
    "apt": "apt lists",
    "probes": "probe",
    "configs": "config",
    "venv": "environment",
    "inputs": "input",
}
_WHOLE = {"ccache": "ccache", "sources.git": "sources"}


def limit() -> int:
    """Return the size limit of the cache, bytes."""
    size = os.environ.get("HGM_CACHE_LIMIT", "")
    return parse_size(size, "HGM_CACHE_LIMIT") if size else DEFAULT_LIMIT


@contextlib.contextmanager
def pin(path: Path) -> Iterator[None]:
    """Protect a directory of the cache from pruning while this process uses it.

    Raises:
        InfrastructureError: if it has been pruned already.
    """
    gone = InfrastructureError(f"{path} is not in the cache any more", hint="run the command again")
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        raise gone from None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        # A pruning process has the lock while it moves the directory away.
        if not path.exists() or not os.path.samestat(os.fstat(handle), path.stat()):
            raise gone
        yield
    finally:
        os.close(handle)


def touch(path: Path) -> None:
    """Mark an entry as used now."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(path)


def entries(workspace: Workspace, *, remembered: bool = False) -> tuple[CacheEntry, ...]:
    """Return everything in the cache that can be removed, longest unused first.

    Args:
        workspace: the cache.
        remembered: use sizes that were measured before and should still hold, see `_mark`.
            Measuring the 90,000 files of each work tree takes a second, and seven with a cold page
            cache, as long as some builds.
    """
    known = _sizes(workspace) if remembered else {}
    sizes: dict[str, _KnownSize] = {}
    found = []
    for kind, path in _everything(workspace):
        with contextlib.suppress(FileNotFoundError):  # another process pruned it
            sizes[str(path)] = _size(kind, path, known.get(str(path)))
            found.append(_entry(kind, path, sizes[str(path)].size))
    if sizes != known:
        atomic_write(_memory(workspace), msgspec.json.encode(sizes))
    return tuple(sorted(found, key=lambda entry: entry.used))


def _everything(workspace: Workspace) -> Iterator[tuple[str, Path]]:
    """Yield kind and path of each entry."""
    for room, kind in _ROOMS.items():
        if (workspace.cache / room).is_dir():
            yield from ((kind, path) for path in (workspace.cache / room).iterdir())
    for room, kind in _WHOLE.items():
        if (workspace.cache / room).is_dir():
            yield kind, workspace.cache / room


def _entry(kind: str, path: Path, size: int) -> CacheEntry:
    return CacheEntry(
        kind=kind,
        path=str(path),
        size=size,
        used=path.lstat().st_mtime,
        pinned=path.is_dir() and _is_pinned(path),
    )


class _KnownSize(msgspec.Struct, frozen=True):
    """An entry's size, which holds while its mark does not change."""

    mark: str
    size: int


def _size(kind: str, path: Path, known: _KnownSize | None) -> _KnownSize:
    mark = _mark(kind, path)
    if known is not None and mark and known.mark == mark:
        return known
    counted = _counted(path) if kind == "ccache" else None
    return _KnownSize(mark, disk_usage(path) if counted is None else counted)


def _mark(kind: str, path: Path) -> str:
    """Return a key that changes if an entry's size may have changed; empty to always measure it.

    Published entries are never written to. A work tree grows with each build directory and with the
    first kernel built in it; later builds there keep its size about the same.
    """
    if kind in _WHOLE.values() or kind == "apt lists":
        return ""
    builds = path.glob(f"src/{OUTPUT}*") if kind == "tree" else ()
    names = sorted(f"{each.name}{(each / 'vmlinux').exists():+d}" for each in builds)
    return " ".join([str(path.lstat().st_ino), *names])


def _counted(path: Path) -> int | None:
    """Return the bytes in a ccache as `ccache --print-stats` reports them; None if it does not."""
    now = Deadline.after(10, "ccache --print-stats")
    try:
        stats = command.run(
            ["ccache", "--print-stats"], now, env={"CCACHE_DIR": str(path)}, ok=None
        )
    except HarnessError:
        return None
    found = re.search(r"^cache_size_kibibyte\t(\d+)$", stats.stdout, re.MULTILINE)
    return int(found[1]) * 1024 if found and stats.exit_code == 0 else None


def _memory(workspace: Workspace) -> Path:
    return workspace.cache / "sizes.json"


def _sizes(workspace: Workspace) -> dict[str, _KnownSize]:
    """Return the remembered sizes by path; none if there are none, or their file is damaged."""
    try:
        return decode(_memory(workspace).read_bytes(), dict[str, _KnownSize])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


def disk_usage(path: Path) -> int:
    """Return the size on disk of a file, or of a directory and all in it, bytes."""
    total, todo = path.lstat().st_blocks * 512, [path] if path.is_dir() else []
    while todo:
        with contextlib.suppress(FileNotFoundError), os.scandir(todo.pop()) as listing:
            for item in listing:
                with contextlib.suppress(FileNotFoundError):
                    total += item.stat(follow_symlinks=False).st_blocks * 512
                if item.is_dir(follow_symlinks=False):
                    todo.append(Path(item.path))
    return total


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[bool]:
    """Yield whether no process has a directory pinned; if so, none can pin it meanwhile."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _is_pinned(path: Path) -> bool:
    with _exclusive(path) as free:
        return not free


def to_remove(found: Sequence[CacheEntry], keep: int) -> tuple[CacheEntry, ...]:
    """Return the entries to remove to keep at most ``keep`` bytes: the longest unused first.

    The sources come last: everything else can be made from them.
    """
    excess = sum(entry.size for entry in found) - keep
    going = []
    for entry in sorted(found, key=lambda e: (e.kind == "sources", e.used)):
        if excess <= 0:
            break
        if not entry.pinned:
            going.append(entry)
            excess -= entry.size
    return tuple(going)


def prune(
    workspace: Workspace, keep: int, progress: Progress, *, remembered: bool = False
) -> tuple[CacheEntry, ...]:
    """Remove the longest unused entries until at most ``keep`` bytes are left; return the removed.

    Entries that a process has pinned or locked are kept. For ``remembered`` see `entries`.
    """
    workspace.sweep()
    store = workspace.cache / "sources.git"
    if store.is_dir() and not _is_pinned(store):
        for unfinished in (store / "objects" / "pack").glob("tmp_*"):  # by a git that was killed
            unfinished.unlink(missing_ok=True)
    going = to_remove(entries(workspace, remembered=remembered), keep)
    gone = tuple(entry for entry in going if _remove(workspace, entry))
    for entry in gone:
        progress.note(f"removed {entry.path} from the cache ({entry.size / 2**20:.0f} MiB)")
    return gone


def _remove(workspace: Workspace, entry: CacheEntry) -> bool:
    """Remove an entry that no process uses; return whether it was removed."""
    path = Path(entry.path)
    now = Deadline.after(0, "checking a lock")
    try:
        with workspace.lock(f"{path.parent.name}/{path.name}", now, Silent()):
            return _remove_unlocked(workspace, path)
    except DeadlineExpired:
        return False


def _remove_unlocked(workspace: Workspace, path: Path) -> bool:
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return True
    with _exclusive(path) as free:
        if free:
            with workspace.unfinished("pruned") as grave:
                if path.name == "sources.git":
                    # Which spec gave which tree is useless without the trees.
                    forget(workspace.room("sources").iterdir())
                path.rename(grave / path.name)
        return free


def forget(paths: Iterable[Path]) -> None:
    """Remove files, links and whole directories."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
