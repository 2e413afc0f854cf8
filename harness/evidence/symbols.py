# SPDX-License-Identifier: GPL-2.0-only
"""From what the kernel prints to file and line: ``func+0x12/0x40``, or an address of ours.

The work of the kernel's scripts/decode_stacktrace.sh for a kernel without modules: `nm` says where
a function begins, `addr2line` what is at an address. A vmlinux without debug information yields
functions and no lines. Addresses are those of the vmlinux: our kernels are not relocated
(`# CONFIG_RELOCATABLE is not set`), and one that is gives offsets from names all the same.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness import command
from harness.deadline import Deadline
from harness.judge.source_path import below_tree

#: ``func+0x12/0x40``: name, offset, size.
PLACE = re.compile(r"([A-Za-z_][\w.]*)\+0x([0-9a-f]+)/0x([0-9a-f]+)")

_SYMBOL = re.compile(r"^([0-9a-f]{16}) [TtWw] (\S+)$", re.MULTILINE)
_ADDRESS = re.compile(r"0x[0-9a-f]+\Z")

_UNKNOWN = "??"


class Map:
    """The functions of a kernel by address.

    Args:
        text: what ``nm -n vmlinux`` prints.
    """

    def __init__(self, text: str) -> None:
        found = sorted((int(m[1], 16), m[2]) for m in _SYMBOL.finditer(text))
        self._starts = [start for start, _ in found]
        self._names = [name for _, name in found]
        self._by_name: dict[str, list[int]] = {}
        for index, (_, name) in enumerate(found):
            self._by_name.setdefault(name, []).append(index)

    def address(self, name: str, offset: int, size: int) -> int | None:
        """Return the address of ``name+offset/size``; None where it is in no such function.

        Several functions can have one name; their size tells them apart.
        """
        indices = self._by_name.get(name, [])
        same = [index for index in indices if self._size(index) == size] or indices[:1]
        return self._starts[same[0]] + offset if same else None

    def name(self, address: int) -> str:
        """Return ``func+0x12/0x40`` for an address; empty where it is in no function."""
        index = bisect.bisect_right(self._starts, address) - 1
        # Aliases share a start; the first is what kallsyms prints.
        while index > 0 and self._starts[index - 1] == self._starts[index]:
            index -= 1
        size = self._size(index) if index >= 0 else 0
        if index < 0 or address - self._starts[index] >= size:
            return ""
        return f"{self._names[index]}+{address - self._starts[index]:#x}/{size:#x}"

    def _size(self, index: int) -> int:
        """Return the bytes until the next symbol, as kallsyms counts them."""
        start = self._starts[index]
        after = bisect.bisect_right(self._starts, start)
        return self._starts[after] - start if after < len(self._starts) else 0


def resolve(
    texts: Iterable[str], addresses: Iterable[int], vmlinux: Path, deadline: Deadline
) -> dict[str, tuple[str, ...]]:
    """Return what `Capture.symbols` holds for texts of the kernel and program counters.

    Args:
        texts: lines in which places are looked for.
        addresses: program counters; each is a key in hex as well.
        vmlinux: the kernel's ELF file.
        deadline: when it must be done.

    Raises:
        ToolMissing: without binutils.
        CommandFailed: if it is no ELF file.
    """
    symbols = Map(command.run(["nm", "-n", str(vmlinux)], deadline).stdout)
    wanted: dict[str, int] = {}
    for text in texts:
        for match in PLACE.finditer(text):
            offset = int(match[2], 16)
            address = symbols.address(match[1], offset, int(match[3], 16))
            if address is not None:
                # What a trace names is the instruction to return to, but for RIP.
                back = 1 if offset and not _at_rip(text, match.start()) else 0
                wanted[match[0]] = address - back
    for address in addresses:
        wanted[f"{address:#x}"] = address
    if not wanted:
        return {}
    lines = _addr2line(sorted(set(wanted.values())), vmlinux, deadline)
    return {key: _described(key, at, symbols, lines.get(at, ())) for key, at in wanted.items()}


def _at_rip(text: str, at: int) -> bool:
    return text[max(0, at - 10) : at].endswith("RIP: 0010:")


def _described(
    key: str, address: int, symbols: Map, frames: Sequence[tuple[str, str]]
) -> tuple[str, ...]:
    """Return what one address is, the innermost inlined function first."""
    if _ADDRESS.match(key):
        name = symbols.name(address)
        if not name:
            return ()
        if not frames:
            return (name,)
        # The last is the function that all others are inlined into.
        frames = [*frames[:-1], (name, frames[-1][1])]
    return tuple(f"{function} at {where}" if where else function for function, where in frames)


def _addr2line(
    addresses: Sequence[int], vmlinux: Path, deadline: Deadline
) -> dict[int, tuple[tuple[str, str], ...]]:
    """Return the inlined frames at each address: pairs of function and ``file:line`` or ``""``."""
    argv = ["addr2line", "-a", "-f", "-i", "-e", str(vmlinux), *(f"{at:#x}" for at in addresses)]
    return parse_addr2line(command.run(argv, deadline).stdout)


def parse_addr2line(text: str) -> dict[int, tuple[tuple[str, str], ...]]:
    """Return what ``addr2line -a -f -i`` printed: for each address its frames, innermost first."""
    found: dict[int, list[tuple[str, str]]] = {}
    frames: list[tuple[str, str]] = []
    function = ""
    for line in text.splitlines():
        if _ADDRESS.match(line) and not function:
            frames = found.setdefault(int(line, 16), [])
        elif not function:
            function = line
        else:
            if function != _UNKNOWN:
                frames.append((function, in_tree(line)))
            function = ""
    return {at: tuple(each) for at, each in found.items()}


def in_tree(where: str) -> str:
    """Return ``mm/hugetlb.c:12`` for ``/build/src/mm/hugetlb.c:12 (discriminator 3)``.

    Empty where the line is not known.
    """
    path, _, line = where.partition(" (")[0].rpartition(":")
    if path in ("", _UNKNOWN) or not line.isdigit() or line == "0":
        return ""
    return f"{below_tree(path)}:{line}"


def decoded(text: str, symbols: Mapping[str, Sequence[str]]) -> str:
    """Return a text of the kernel with what each of its places is behind it, in parentheses."""

    def explained(match: re.Match[str]) -> str:
        wheres = [frame.partition(" at ")[2] for frame in symbols.get(match[0], ())]
        inlined = symbols.get(match[0], ())[:-1]
        if not wheres or not wheres[-1]:
            return match[0]
        through = "".join(f", inlined {frame}" for frame in reversed(inlined))
        return f"{match[0]} ({wheres[-1]}{through})"

    return PLACE.sub(explained, text)
