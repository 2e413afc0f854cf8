# SPDX-License-Identifier: GPL-2.0-only
"""Which compiler and linker this host has, and which tools a build would miss."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness import command, records
from harness.deadline import Deadline
from harness.errors import ToolMissing
from harness.records import Record
from harness.workspace import Workspace, atomic_write

#: Program, and the Debian package it comes in.
TOOLS: tuple[tuple[str, str], ...] = (
    ("gcc", "gcc"),
    ("ld", "binutils"),
    ("make", "make"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("perl", "perl"),
    ("rsync", "rsync"),
    ("lz4", "lz4"),
    ("xz", "xz-utils"),
    ("git", "git"),
)

#: Header that objtool is compiled with, and its Debian package.
HEADERS: tuple[tuple[str, str], ...] = (("/usr/include/libelf.h", "libelf-dev"),)


class Identity(Record, frozen=True, kw_only=True):
    """A toolchain, and the files that it was asked of.

    Attributes:
        line: compiler and linker, each with its version, in one line.
        files: path, inode, size and time of each program: while they stay, so does the line.
    """

    line: str
    files: tuple[str, ...]


def missing(
    tools: Sequence[tuple[str, str]] = TOOLS, headers: Sequence[tuple[str, str]] = HEADERS
) -> tuple[tuple[str, str], ...]:
    """Return (what, Debian package) of everything a build needs and this host lacks."""
    programs = [(tool, package) for tool, package in tools if shutil.which(tool) is None]
    return (*programs, *((path, package) for path, package in headers if not Path(path).exists()))


def require() -> None:
    """Raise ToolMissing, naming all at once, if a build would miss a tool."""
    lacking = missing()
    if lacking:
        packages = " ".join(dict.fromkeys(package for _, package in lacking))
        raise ToolMissing(
            f"a kernel build needs {', '.join(what for what, _ in lacking)}",
            hint=f"`apt-get install {packages}` (as root)",
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
        known = records.from_json(memory.read_bytes(), Identity)
        if known.files == files:
            return known.line
    except (FileNotFoundError, msgspec.DecodeError):
        pass
    versions = [command.run([tool, "--version"], deadline).stdout for tool in ("gcc", "ld")]
    line = "; ".join(text.splitlines()[0].strip() for text in versions)
    atomic_write(memory, records.to_json(Identity(line=line, files=files)))
    return line


def _fingerprint(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        return ""
    path = Path(found).resolve()
    stat = path.stat()
    return f"{path} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"
