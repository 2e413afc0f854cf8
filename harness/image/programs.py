# SPDX-License-Identifier: GPL-2.0-only
"""Run programs of the image's packages on the host, with their own dynamic linker and libraries.

What they write is part of the image, so the host's versions of them must not matter.
"""

from __future__ import annotations

import stat
from pathlib import Path

from harness.image import tree
from harness.image.tree import Tree

_LINKER = "ld-linux-x86-64.so.2"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


class Programs:
    """The programs of packages, unpacked below a directory.

    Args:
        source: the packages' files; only those below ``usr`` are unpacked.
        root: a path for a new directory.
    """

    def __init__(self, source: Tree, root: Path) -> None:
        self.root = root
        unpack({path: entry for path, entry in source.items() if path.startswith("usr/")}, root)

    def argv(self, name: str, *arguments: str) -> list[str]:
        """Return an argv that runs a program of ``usr/bin`` on a host with the guest's CPU."""
        libraries = self.root / _LIBRARIES
        linker = [str(libraries / _LINKER), "--library-path", str(libraries)]
        return [*linker, str(self.root / "usr/bin" / name), *arguments]


def unpack(source: Tree, root: Path) -> None:
    """Write a tree's files and links below a new directory, as the caller's own.

    Without absolute links, which would lead to the host's files.
    """
    root.mkdir()
    for entry in source.values():
        path = root / entry.path
        if not tree.is_directory(entry):
            path.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind == stat.S_IFREG:
            path.write_bytes(entry.data)
            path.chmod(stat.S_IMODE(entry.mode) & 0o777 | stat.S_IRUSR | stat.S_IWUSR)
        elif entry.kind == stat.S_IFLNK and not entry.data.startswith(b"/"):
            path.symlink_to(entry.data.decode())
