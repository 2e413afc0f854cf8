# SPDX-License-Identifier: GPL-2.0-only
"""What lies in the cache, how large it is, who uses it, and how it is kept within its limit."""

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
from harness.errors import DeadlineExpired, HarnessError, InfrastructureError, SpecError
from harness.kernel.git import Store
from harness.progress import Progress, Silent
from harness.records.base import Record
from harness.workspace import Workspace, atomic_write

#: Bytes that the cache may have when ``$HGM_CACHE_LIMIT`` says nothing.
DEFAULT_LIMIT = 20 * 2**30

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\Z", re.IGNORECASE)
_FACTORS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class CacheEntry(Record, frozen=True, kw_only=True):
    """One thing in the cache that can be removed by itself.

    Attributes:
        kind: ``kernel``, ``tree``, ``image``, ``probe``, ``environment`` (Python's), ``ccache`` or
            ``sources``.
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


#: What the names of make's output directories begin with, right in a work tree.
OUTPUT = ".build-"

#: Rooms whose children are entries, by kind, and whole rooms that are one.
_ROOMS = {
    "kernels": "kernel",
    "trees": "tree",
    "images": "image",
    "probes": "probe",
    "venv": "environment",
}
_WHOLE = {"ccache": "ccache", "sources.git": "sources"}


def parse_size(text: str) -> int:
    """Return the bytes that ``20G``, ``512MiB`` or ``1.5T`` means.

    Raises:
        SpecError: if it is no size.
    """
    match = _SIZE.match(text.strip())
    if match is None:
        raise SpecError(f"{text!r} is no size", hint="such as 20G or 512M")
    return int(float(match[1]) * _FACTORS[match[2].upper()])


def limit() -> int:
    """Return the bytes that the cache may have."""
    said = os.environ.get("HGM_CACHE_LIMIT", "")
    try:
        return parse_size(said) if said else DEFAULT_LIMIT
    except SpecError as error:
        raise SpecError(f"HGM_CACHE_LIMIT: {error.message}", hint=error.hint) from None


@contextlib.contextmanager
def pin(path: Path) -> Iterator[None]:
    """Hold a directory of the cache against pruning for as long as this process needs it.

    Raises:
        InfrastructureError: if it has been pruned already.
    """
    gone = InfrastructureError(f"{path} is not in the cache any more", hint="run it again")
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        raise gone from None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        # Whoever prunes has the lock while it moves the directory away.
        if not path.exists() or not os.path.samestat(os.fstat(handle), path.stat()):
            raise gone
        yield
    finally:
        os.close(handle)


def touch(path: Path) -> None:
    """Note that an entry is used now."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(path)


def entries(workspace: Workspace, *, remembered: bool = False) -> tuple[CacheEntry, ...]:
    """Return everything in the cache that can be removed, longest unused first.

    Args:
        workspace: the cache.
        remembered: take the sizes that were measured before where they should still hold, see
            `_mark`. To measure the 90,000 files of each work tree takes a second, and seven where
            the host has forgotten them, as long as some builds take.
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
        pinned=path.is_dir() and not _claim(path),
    )


class _KnownSize(msgspec.Struct, frozen=True):
    """How large an entry was, and what must be as it was for that to hold."""

    mark: str
    size: int


def _size(kind: str, path: Path, known: _KnownSize | None) -> _KnownSize:
    mark = _mark(kind, path)
    if known is not None and mark and known.mark == mark:
        return known
    counted = _counted(path) if kind == "ccache" else None
    return _KnownSize(mark, disk_usage(path) if counted is None else counted)


def _mark(kind: str, path: Path) -> str:
    """Return what changes when an entry's size does by much; empty for one to measure each time.

    What was published is never written to again. A work tree grows with each build directory, and
    with the first kernel in one; where that is built in again it stays about as large.
    """
    if kind in _WHOLE.values():
        return ""
    builds = path.glob(f"src/{OUTPUT}*") if kind == "tree" else ()
    names = sorted(f"{each.name}{(each / 'vmlinux').exists():+d}" for each in builds)
    return " ".join([str(path.lstat().st_ino), *names])


def _counted(path: Path) -> int | None:
    """Return the bytes that ccache, which has counted them, says it holds; None if it says not."""
    now = Deadline.after(10, "a question to ccache")
    try:
        said = command.run(["ccache", "--print-stats"], now, env={"CCACHE_DIR": str(path)}, ok=None)
    except HarnessError:
        return None
    found = re.search(r"^cache_size_kibibyte\t(\d+)$", said.stdout, re.MULTILINE)
    return int(found[1]) * 1024 if found and said.exit_code == 0 else None


def _memory(workspace: Workspace) -> Path:
    return workspace.cache / "sizes.json"


def _sizes(workspace: Workspace) -> dict[str, _KnownSize]:
    """Return the sizes that are remembered, by path; none where the memory is absent or torn."""
    try:
        return msgspec.json.decode(_memory(workspace).read_bytes(), type=dict[str, _KnownSize])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


def disk_usage(path: Path) -> int:
    """Return the bytes that a file, or a directory and all below it, has on disk."""
    total, todo = path.lstat().st_blocks * 512, [path] if path.is_dir() else []
    while todo:
        with contextlib.suppress(FileNotFoundError), os.scandir(todo.pop()) as listing:
            for item in listing:
                with contextlib.suppress(FileNotFoundError):
                    total += item.stat(follow_symlinks=False).st_blocks * 512
                if item.is_dir(follow_symlinks=False):
                    todo.append(Path(item.path))
    return total


def _claim(path: Path) -> bool:
    """Return whether nobody has a directory pinned."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def to_remove(found: Sequence[CacheEntry], keep: int) -> tuple[CacheEntry, ...]:
    """Return which entries go so that at most ``keep`` bytes stay: the longest unused first.

    The sources go last, however long unused: everything else can be made from them.
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
    """Remove what was not used for longest until at most ``keep`` bytes stay; return what went.

    What a process has pinned or locked stays. For ``remembered`` see `entries`.
    """
    workspace.sweep()
    store = workspace.cache / "sources.git"
    if store.is_dir() and _claim(store):
        Store(store).sweep()
    going = to_remove(entries(workspace, remembered=remembered), keep)
    gone = tuple(entry for entry in going if _remove(workspace, entry))
    for entry in gone:
        progress.note(f"removed {entry.path} from the cache ({entry.size / 2**20:.0f} MiB)")
    return gone


def _remove(workspace: Workspace, entry: CacheEntry) -> bool:
    """Remove an entry if nobody uses it; return whether it went."""
    path = Path(entry.path)
    now = Deadline.after(0, "a look at a lock")
    try:
        with workspace.lock(f"{path.parent.name}/{path.name}", now, Silent()):
            return _remove_unlocked(workspace, path)
    except DeadlineExpired:
        return False


def _remove_unlocked(workspace: Workspace, path: Path) -> bool:
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return True
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with workspace.unfinished("pruned") as grave:
            if path.name == "sources.git":
                # What became which tree is worth nothing without the trees.
                forget(workspace.room("sources").iterdir())
            path.rename(grave / path.name)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def forget(paths: Iterable[Path]) -> None:
    """Remove files and directories, whatever they are."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
