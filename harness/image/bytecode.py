# SPDX-License-Identifier: GPL-2.0-only
"""Compile byte code for the guest's Python, because its disk is read-only and its CPU emulated.

Debian's packages do this in maintainer scripts, which do not run here. Byte code fits one version
of Python only, so the compiler is the guest's own Python, run on the host from the unpacked tree
with its own dynamic linker.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from harness import command
from harness.deadline import Deadline
from harness.image import tree
from harness.image.tree import Entry, Tree

#: The guest's interpreter, dynamic linker and libraries, relative to its root.
_PYTHON = "usr/bin/python3"
_LINKER = "ld-linux-x86-64.so.2"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"

#: Python need not check whether a source changed: the disk is read-only.
_NEVER_STALE = ("--invalidation-mode", "unchecked-hash")

#: Variables that change the byte code or where it goes, if they come from the caller's environment.
#: The compiler's own modules get their byte code from compileall, not from being imported.
_SETTINGS = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONPATH": "",
    "PYTHONPYCACHEPREFIX": "",
}


def compiled(
    source: Tree, directories: Sequence[str], scratch: Path, deadline: Deadline
) -> dict[str, Entry]:
    """Return the tree with a ``__pycache__`` for each Python source below the directories.

    Args:
        source: a tree that holds Python in ``usr``.
        directories: relative to the tree's root.
        scratch: a path at which the tree is unpacked for the compiler.
        deadline: when it must be done.

    Raises:
        CommandFailed: if a source does not compile, or the host cannot run the guest's Python.
    """
    if not directories:
        return dict(source)
    unpack(source, scratch)
    linker = scratch / _LIBRARIES / _LINKER
    command.run(
        [
            *(str(linker), "--library-path", str(scratch / _LIBRARIES)),
            *(str(scratch / _PYTHON), "-S", "-m", "compileall", "-q", *_NEVER_STALE),
            *("-s", str(scratch), "-p", "/", *(str(scratch / one) for one in directories)),
        ],
        deadline,
        env={"PYTHONHOME": str(scratch / "usr"), **_SETTINGS},
    )
    return tree.with_parents({**source, **_byte_code(scratch)})


def unpack(source: Tree, home: Path) -> None:
    """Write a tree's files and links below a new directory, as the caller's own."""
    home.mkdir()
    for entry in source.values():
        path = home / entry.path
        if entry.kind == stat.S_IFREG:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(entry.data)
            path.chmod(stat.S_IMODE(entry.mode) | stat.S_IRUSR | stat.S_IWUSR)
        elif entry.kind == stat.S_IFLNK:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(entry.data.decode())


def _byte_code(scratch: Path) -> dict[str, Entry]:
    return {
        path: tree.file(path, one.read_bytes())
        for one in scratch.rglob("__pycache__/*.pyc")
        for path in [one.relative_to(scratch).as_posix()]
    }
