# SPDX-License-Identifier: GPL-2.0-only
"""Which compiler and linker this host has, and which tools a build would miss."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import msgspec

from harness import command, host
from harness.deadline import Deadline
from harness.errors import ToolMissing
from harness.records.base import Record, from_json, to_json
from harness.workspace import Workspace, atomic_write


class Identity(Record, frozen=True, kw_only=True):
    """A toolchain, and the files that it was asked of.

    Attributes:
        line: compiler and linker, each with its version, in one line.
        files: path, inode, size and time of each program: while they stay, so does the line.
    """

    line: str
    files: tuple[str, ...]


def require() -> None:
    """Raise ToolMissing, naming all at once, if a build would miss a tool."""
    lacking = [each for each in host.packages() if each.needed_by == "build" and not each.present()]
    if lacking:
        raise ToolMissing(
            f"a kernel build needs {', '.join(each.shown_by for each in lacking)}",
            hint=f"`{shlex.join(host.install_line(lacking))}` installs them",
        )


def identify(workspace: Workspace, deadline: Deadline) -> str:
    """Return compiler and linker in one line; asked again only when one of them has changed.

    Raises:
        ToolMissing: if there is no compiler or no linker.
    """
    memory = workspace.room("facts") / "toolchain.json"
    files = tuple(_fingerprint(tool) for tool in ("gcc", "ld"))
    if "" in files:
        require()
    try:
        known = from_json(memory.read_bytes(), Identity)
        if known.files == files:
            return known.line
    except (FileNotFoundError, msgspec.DecodeError):
        pass
    versions = [command.run([tool, "--version"], deadline).stdout for tool in ("gcc", "ld")]
    line = "; ".join(text.splitlines()[0].strip() for text in versions)
    atomic_write(memory, to_json(Identity(line=line, files=files)))
    return line


def _fingerprint(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        return ""
    path = Path(found).resolve()
    stat = path.stat()
    return f"{path} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"
