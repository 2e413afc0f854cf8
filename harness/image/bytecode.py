# SPDX-License-Identifier: GPL-2.0-only
"""Compile byte code for the guest's Python, because its disk is read-only and its CPU emulated.

Debian's packages do this in maintainer scripts, which do not run here. Byte code fits one version
of Python only, so the compiler is the Python of the guest's Debian release. It is the same for all
architectures.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import source_from_cache
from pathlib import Path

from harness import command
from harness.deadline import Deadline
from harness.image import tree
from harness.image.programs import Programs
from harness.image.tree import Entry, Tree

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
    source: Tree, directories: Sequence[str], root: Path, programs: Programs, deadline: Deadline
) -> dict[str, Entry]:
    """Return the tree with a ``__pycache__`` for each Python source below the directories.

    Args:
        source: the tree.
        directories: relative to the tree's root.
        root: where the tree's files are unpacked; takes the byte code.
        programs: an unpacked Python.
        deadline: when it must be done.

    Raises:
        CommandFailed: if a source does not compile, or the host cannot run the guest's Python.
    """
    if not directories:
        return dict(source)
    words = ["python3", "-S", "-m", "compileall", "-q", *_NEVER_STALE, "-s", str(root), "-p", "/"]
    command.run(
        programs.argv(*words, *(str(root / one) for one in directories)),
        deadline,
        env={"PYTHONHOME": str(programs.root / "usr"), **_SETTINGS},
    )
    made = {
        path: tree.file(path, file.read_bytes())
        for file in root.rglob("__pycache__/*.pyc")
        for path in [file.relative_to(root).as_posix()]
        if source_from_cache(path) in source
    }
    return tree.with_parents({**source, **made})
