# SPDX-License-Identifier: GPL-2.0-only
"""Run programs of the image's packages on the host, with their own dynamic linker and libraries.

What they write is part of the image, so the host's versions of them must not matter.
"""

from __future__ import annotations

import stat
from pathlib import Path

from harness.arch import host_arch
from harness.image import tree
from harness.image.tree import Tree


class Programs:
    """The programs of packages for this host's CPU, unpacked below a directory.

    Args:
        source: the packages' files; only those below ``usr`` are unpacked.
        root: a path for a new directory.
    """

    def __init__(self, source: Tree, root: Path) -> None:
        self.root = root
        unpack(source, root)

    def argv(self, name: str, *arguments: str) -> list[str]:
        """Return an argv that runs a program of ``usr/bin``."""
        host = host_arch()
        linker = [str(self.root / host.linker), "--library-path", str(self.root / host.libraries)]
        return [*linker, str(self.root / "usr/bin" / name), *arguments]


def unpack(source: Tree, root: Path) -> None:
    """Write the part of a tree in ``usr`` below a new directory: files and links, as the caller's.

    Without absolute links, which would lead to the host's files.
    """
    root.mkdir()
    for entry in source.values():
        if not entry.path.startswith("usr/"):
            continue
        path = root / entry.path
        if not tree.is_directory(entry):
            path.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind == stat.S_IFREG:
            path.write_bytes(entry.data)
            path.chmod(stat.S_IMODE(entry.mode) & 0o777 | stat.S_IRUSR | stat.S_IWUSR)
        elif entry.kind == stat.S_IFLNK and not entry.data.startswith(b"/"):
            path.symlink_to(entry.data.decode())
