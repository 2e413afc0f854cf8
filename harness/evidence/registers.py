# SPDX-License-Identifier: GPL-2.0-only
"""Parse QEMU's ``info registers -a``: where each virtual CPU is. Pure."""

from __future__ import annotations

import re

from harness.records.probe import Vcpu

_CPU = re.compile(r"^CPU#(\d+)\s*$", re.MULTILINE)
_PC = re.compile(r"\bRIP=([0-9a-f]{16})\b")
_LEVEL = re.compile(r"\bCPL=([0-3])\b")
_HALTED = re.compile(r"\bHLT=([01])\b")


def parse(text: str) -> tuple[Vcpu, ...]:
    """Return the virtual CPUs in a text of ``info registers -a``; none from any other text."""
    starts = list(_CPU.finditer(text))
    ends = [match.start() for match in starts[1:]] + [len(text)]
    found = (_vcpu(int(m[1]), text[m.end() : end]) for m, end in zip(starts, ends, strict=True))
    return tuple(vcpu for vcpu in found if vcpu is not None)


def _vcpu(number: int, text: str) -> Vcpu | None:
    pc, level, halted = _PC.search(text), _LEVEL.search(text), _HALTED.search(text)
    if pc is None or level is None or halted is None:
        return None
    return Vcpu(number=number, pc=int(pc[1], 16), level=int(level[1]), halted=halted[1] == "1")
