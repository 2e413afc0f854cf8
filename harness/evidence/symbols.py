# SPDX-License-Identifier: GPL-2.0-only
"""From what the kernel prints to functions and lines: ``func+0x12/0x40``, or an address."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from harness import command
from harness.deadline import Deadline
from harness.judge.lines import SYMBOL
from harness.workspace import atomic_write

_PROGRAM = "harness.evidence.symbolize"


def resolve(
    text: Path, addresses: Iterable[int], vmlinux: Path, deadline: Deadline
) -> dict[str, tuple[str, ...]]:
    """Return what `Capture.symbols` holds for a text of the kernel and for program counters.

    Args:
        text: a file.
        addresses: program counters; the key of each is in hex.
        vmlinux: the kernel's ELF file.
        deadline: when it must be done.

    Raises:
        CommandFailed: if it is not an ELF file.
    """
    argv = [sys.executable, "-P", "-m", _PROGRAM, str(vmlinux), str(text)]
    done = command.run([*argv, *(f"{address:#x}" for address in addresses)], deadline)
    return msgspec.json.decode(done.stdout, type=dict[str, tuple[str, ...]])


def write_decoded(
    path: Path, text: str, addresses: Iterable[int], vmlinux: Path, deadline: Deadline
) -> dict[str, tuple[str, ...]]:
    """Write a text of the kernel with file and line into a file, and return what `resolve` does.

    What cannot be resolved in time is written as it is.

    Raises:
        CommandFailed, DeadlineExpired: as `resolve`.
    """
    atomic_write(path, text.encode(errors="surrogateescape"))
    found = resolve(path, addresses, vmlinux, deadline)
    atomic_write(path, decoded(text, found).encode(errors="surrogateescape"))
    return found


def decoded(text: str, symbols: Mapping[str, Sequence[str]]) -> str:
    """Return a text of the kernel with file and line after each ``func+0x12/0x40``."""

    def explained(match: re.Match[str]) -> str:
        wheres = [frame.partition(" at ")[2] for frame in symbols.get(match[0], ())]
        inlined = symbols.get(match[0], ())[:-1]
        if not wheres or not wheres[-1]:
            return match[0]
        through = "".join(f", inlined {frame}" for frame in reversed(inlined))
        return f"{match[0]} ({wheres[-1]}{through})"

    return SYMBOL.sub(explained, text)
