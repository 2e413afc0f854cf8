# SPDX-License-Identifier: GPL-2.0-only
"""A program: finds file and line of ``func+0x12/0x40`` and of addresses, through drgn.

``python -m harness.evidence.symbolize VMLINUX TEXT ADDRESS...`` prints a JSON object: for each
``func+0x12/0x40`` in the file TEXT, and for each address, a list of ``func at mm/file.c:12``, the
innermost inlined function first. What is not in the vmlinux is left out. Without debug information
there are functions and no lines.

It does the work of the kernel's scripts/decode_stacktrace.sh for a kernel without modules. It runs
in a process of its own because drgn reads, in C, a file that was built from patches we do not
trust. Addresses are those of the vmlinux: our kernels are not relocated
(`# CONFIG_RELOCATABLE is not set`), and of one that is, ``func+0x12/0x40`` is found all the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import drgn

from harness.judge.lines import PROGRAM_COUNTER, SYMBOL
from harness.judge.source_path import below_tree


def load(vmlinux: str) -> drgn.Program:
    """Return a program that has the symbols and the debug information of a vmlinux only."""
    # drgn moves the first address of a file to the first of its module: move it back.
    bias = _module(vmlinux, 0).loaded_file_bias or 0
    module = _module(vmlinux, -bias % 2**64)
    if module.loaded_file_status is not drgn.ModuleFileStatus.HAVE:
        raise LookupError(f"{vmlinux} is not an ELF file with symbols")
    return module.prog


def _module(vmlinux: str, first: int) -> drgn.Module:
    module = drgn.Program().extra_module(vmlinux, create=True)
    module.address_ranges = [(first, 2**64 - 1)]
    module.try_file(vmlinux, force=True)
    return module


def resolve(prog: drgn.Program, text: str, addresses: Iterable[int]) -> dict[str, list[str]]:
    """Return what `Capture.symbols` holds for a text of the console and for program counters."""
    found: dict[str, list[str]] = {}
    functions: dict[str, list[drgn.Symbol]] = {}
    for match in SYMBOL.finditer(text):
        name, offset, size = match[1], int(match[2], 16), int(match[3], 16)
        if match[0] in found:
            continue
        if name not in functions:
            symbols = prog.symbols(name)
            functions[name] = [each for each in symbols if each.kind is not drgn.SymbolKind.OBJECT]
        if functions[name]:
            # Several functions can have one name; their size, padded by kallsyms, tells which.
            symbol = min(functions[name], key=lambda each: abs(each.size - size))
            address = symbol.address + offset
            if not text.endswith(PROGRAM_COUNTER, 0, match.start()):
                address -= 1  # In a trace, the address is that of the instruction to return to.
            if address < symbol.address:  # The call is the last instruction of its function.
                found[match[0]] = _of_address(prog, address)
            else:
                found[match[0]] = _frames(prog, address) or [name]
    found |= {f"{address:#x}": _of_address(prog, address) for address in addresses}
    return {place: frames for place, frames in found.items() if frames}


def _of_address(prog: drgn.Program, address: int) -> list[str]:
    try:
        symbol = prog.symbol(address)
    except LookupError:
        return []
    name = f"{symbol.name}+{address - symbol.address:#x}/{symbol.size:#x}"
    *inlined, outermost = _frames(prog, address) or [symbol.name]
    # The last is the function that all others are inlined into.
    return [*inlined, " at ".join([name, *outermost.split(" at ")[1:]])]


def _frames(prog: drgn.Program, address: int) -> list[str]:
    try:
        locations = prog.source_location(address)
    except LookupError:
        return []
    return [
        f"{each.name() or '?'} at {below_tree(each.filename)}:{each.line}" for each in locations
    ]


def main(argv: list[str]) -> int:
    """Print the object; return 0, or 1 where the vmlinux cannot be read."""
    vmlinux, path, *addresses = argv
    try:
        prog = load(vmlinux)
    except Exception as error:  # noqa: BLE001 - drgn raises it plain for what libelf reports
        sys.stderr.write(f"{error}\n")
        return 1
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    sys.stdout.write(json.dumps(resolve(prog, text, (int(each, 16) for each in addresses))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
