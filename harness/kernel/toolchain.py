# SPDX-License-Identifier: GPL-2.0-only
"""The compiler and linker of this host, and the tools that a build lacks."""

from __future__ import annotations

import shlex

from harness import command, host
from harness.arch import Arch
from harness.deadline import Deadline
from harness.errors import ToolMissing
from harness.records.base import Record, read_json, to_json
from harness.workspace import Workspace, atomic_write


class Identity(Record, frozen=True, kw_only=True):
    """A toolchain and the files of its programs.

    Attributes:
        line: compiler and linker, each with its version.
        files: path, inode, size and mtime of each program; the line holds while these do.
    """

    line: str
    files: tuple[str, ...]


def require(arch: Arch) -> None:
    """Raise ToolMissing, naming all, if a build for an architecture lacks a tool."""
    needed = (each for each in host.wanted_packages(arch.name) if each.needed_by == "build")
    lacking = [each for each in needed if not each.present()]
    if lacking:
        line = shlex.join(host.install_line(lacking))
        raise ToolMissing(
            f"a kernel build needs {', '.join(each.shown_by for each in lacking)}",
            hint=f"`{line}` installs them"
            if host.has_apt()
            else "`hgm doctor` says what each is for",
        )


def identify(arch: Arch, workspace: Workspace, deadline: Deadline) -> str:
    """Return compiler and linker in one line; they are run only if one of them has changed.

    Raises:
        ToolMissing: if there is no compiler or no linker.
    """
    memory = workspace.room("facts") / f"{arch.cross}toolchain.json"
    tools = tuple(f"{arch.cross}{tool}" for tool in ("gcc", "ld"))
    files = tuple(map(command.identity, tools))
    if "" in files:
        require(arch)
    known = read_json(memory, Identity)
    if known is not None and known.files == files:
        return known.line
    versions = [command.run([tool, "--version"], deadline).stdout for tool in tools]
    line = "; ".join(text.splitlines()[0].strip() for text in versions)
    atomic_write(memory, to_json(Identity(line=line, files=files)))
    return line


def kconfig_programs() -> tuple[str, ...]:
    """Return the fingerprints of the other programs whose versions Kconfig writes down."""
    return tuple(command.identity(tool) for tool in ("pahole", "rustc", "bindgen"))
