# SPDX-License-Identifier: GPL-2.0-only
"""A file tree in memory: the content of a guest image before it is written in a format.

It is in memory and not in a directory, so that owners, modes and device nodes are exact without
root, and do not depend on the builder's umask, time zone or file system.
"""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from harness.errors import UserError

_HEADER_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
}


@dataclass(frozen=True)
class Entry:
    """One file, directory, symbolic link or character device, owned by root, dated 1970.

    Attributes:
        path: relative to the root, without ``.`` and ``..``.
        mode: type and permission bits as in ``st_mode``.
        data: a file's contents, or a link's target.
        device: major and minor number of a character device.
    """

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)

    @property
    def kind(self) -> int:
        """Return the type bits, such as ``stat.S_IFREG``."""
        return stat.S_IFMT(self.mode)


#: Entries by their path.
Tree = Mapping[str, Entry]


def file(path: str, data: bytes, mode: int = 0o644) -> Entry:
    """Return a regular file."""
    return Entry(path, stat.S_IFREG | mode, data)


def directory(path: str, mode: int = 0o755) -> Entry:
    """Return a directory."""
    return Entry(path, stat.S_IFDIR | mode)


def link(path: str, target: str) -> Entry:
    """Return a symbolic link."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int, mode: int = 0o600) -> Entry:
    """Return a character device node."""
    return Entry(path, stat.S_IFCHR | mode, device=(major, minor))


def is_directory(entry: Entry) -> bool:
    """Return whether an entry is a directory."""
    return entry.kind == stat.S_IFDIR


def plain_path(name: str) -> str:
    """Return ``usr/bin/x`` for ``./usr/bin/x``; the empty string for the root itself.

    Raises:
        ValueError: if the path is absolute or has ``..``.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name!r} leaves the tree")
    return "" if path == PurePosixPath() else str(path)


def with_parents(tree: Tree) -> dict[str, Entry]:
    """Return the tree with a directory of mode 0755 for each parent it lacks, parents first."""
    whole = dict(tree)
    for path in tree:
        for parent in PurePosixPath(path).parents:
            if parent != PurePosixPath():
                whole.setdefault(str(parent), directory(str(parent)))
    return dict(sorted(whole.items()))


def overlay(trees: Iterable[tuple[str, Tree]]) -> dict[str, Entry]:
    """Return the union of named trees; the same path twice must be the same entry.

    Raises:
        UserError: if two trees have different entries for a path that is not a directory.
    """
    whole: dict[str, Entry] = {}
    owner: dict[str, str] = {}
    for name, tree in trees:
        for path, entry in tree.items():
            known = whole.setdefault(path, entry)
            both_directories = is_directory(known) and is_directory(entry)
            if known != entry and not both_directories:
                raise UserError(f"{path} of {name} differs from the one of {owner[path]}")
            owner.setdefault(path, name)
    return whole


def read_tar(archive: IO[bytes]) -> dict[str, Entry]:
    """Return the tree in an uncompressed tar archive; hard links become copies.

    Raises:
        ValueError: if it holds devices, or a path outside itself.
        tarfile.TarError: if it is damaged.
    """
    tree: dict[str, Entry] = {}
    with tarfile.open(fileobj=archive, mode="r:") as tar:
        for member in tar:
            path = plain_path(member.name)
            if path:
                tree[path] = _entry(tar, member, path)
    return tree


def _entry(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> Entry:
    if member.isdir():
        return directory(path, stat.S_IMODE(member.mode))
    if member.issym():
        return link(path, member.linkname)
    contents = tar.extractfile(member)  # follows hard links, which dpkg keeps inside the archive
    if contents is None:
        raise ValueError(f"{path} is neither file, link nor directory")
    return file(path, contents.read(), stat.S_IMODE(member.mode))


def write_tar(tree: Tree, archive: IO[bytes]) -> None:
    """Write a tree as an uncompressed tar archive: sorted, owned by root, dated 1970."""
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for entry in sorted(tree.values(), key=lambda one: one.path):
            header, contents = _header(entry)
            tar.addfile(header, contents)


def _header(entry: Entry) -> tuple[tarfile.TarInfo, IO[bytes] | None]:
    header = tarfile.TarInfo(entry.path)
    header.type = _HEADER_TYPES[entry.kind]
    header.mode = stat.S_IMODE(entry.mode)
    header.devmajor, header.devminor = entry.device
    if entry.kind == stat.S_IFLNK:
        header.linkname = entry.data.decode()
        return header, None
    header.size = len(entry.data)
    return header, io.BytesIO(entry.data)


def below(source: Tree, top: str) -> dict[str, Entry]:
    """Return the subtree under the directory ``top``, as a tree of its own."""
    prefix = f"{top}/"
    return {
        path.removeprefix(prefix): Entry(
            path.removeprefix(prefix), entry.mode, entry.data, entry.device
        )
        for path, entry in source.items()
        if path.startswith(prefix)
    }
