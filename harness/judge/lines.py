# SPDX-License-Identifier: GPL-2.0-only
"""Lines from a serial console: escapes, control characters and printk's time stamps. Pure.

Shared by the readers of KTAP and of the console.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.arch import arches

# Colours and cursor moves (ECMA-48 CSI and OSC sequences) and lone two-byte escapes.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_=>])")

# NUL and the other control characters except tab; XML allows none of them.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ufffe\uffff]")

# What printk puts first: `<4>`, `[   12.345678]`, and with CONFIG_PRINTK_CALLER `[  T123]`.
_STAMP = re.compile(r"(?:<[0-9]{1,3}>)?\[ *[0-9]{1,9}\.[0-9]{6}\](?: ?\[ *[TC][0-9]{1,9}\])? ?")

#: What a register dump puts before the address where a kernel was.
PROGRAM_COUNTER = tuple(each.registers.printed_pc for each in arches().values())

#: How a line of a register dump begins that has an address of code, and one that has numbers only.
PRINTED_CODE = "|".join(each.registers.printed_code for each in arches().values())
PRINTED_NUMBERS = "|".join(each.registers.printed_numbers for each in arches().values())

#: A code address as printk prints it (``%pS``), ``func+0x12/0x40``: name, offset, size.
SYMBOL = re.compile(r"([A-Za-z_][\w.]*)\+0x([0-9a-f]+)/0x([0-9a-f]+)")

_NUMBERS = re.compile(r"\b0x[0-9a-f]+\b|\b[0-9a-f]{8,}\b|\d+(?:\.\d+)?")

# The width of a reason: it must fit a row of a table.
_SHORT = 200


@dataclass(frozen=True)
class Line:
    """One line of text.

    Attributes:
        number: from 1.
        offset: bytes from the start of the text.
        text: without its end, escapes and control characters.
        ended: whether a newline ended it.
    """

    number: int
    offset: int
    text: str
    ended: bool


def decode(data: bytes) -> str:
    """Return bytes from a guest as text from which offsets in bytes can still be counted."""
    return data.decode("utf-8", errors="surrogateescape")


def clean(text: str) -> str:
    """Return a line without escapes, control characters and bytes that are not UTF-8."""
    if text.isascii() and text.isprintable():
        return text
    plain = _CONTROL.sub("", _ESCAPES.sub("", text))
    return plain.encode("utf-8", errors="replace").decode()


def split(text: str) -> list[Line]:
    """Return the lines of a text; a newline at its very end opens no further line."""
    found: list[Line] = []
    offset = 0
    for number, raw in enumerate(text.split("\n"), 1):
        found.append(Line(number, offset, clean(raw), ended=True))
        # A byte that is not UTF-8 is one surrogate and becomes one question mark.
        offset += len(raw.encode("utf-8", errors="replace")) + 1
    last = found.pop()
    if last.text:
        found.append(Line(last.number, last.offset, last.text, ended=False))
    return found


def stamp(text: str) -> tuple[bool, str]:
    """Return whether printk's time stamp opens a line, and the line without it."""
    match = _STAMP.match(text)
    return (True, text[match.end() :]) if match else (False, text)


def embedded_stamp(text: str) -> int:
    """Return where in a line a kernel message begins after another writer's text; -1 if nowhere."""
    match = _STAMP.search(text)
    return match.start() if match else -1


def message(text: str) -> str:
    """Return the kernel message in a line, without its stamp and what another writer put first."""
    return stamp(text[max(0, embedded_stamp(text)) :])[1]


def stamp_seconds(text: str) -> float | None:
    """Return the time in a line's stamp; None without one."""
    match = _STAMP.match(text)
    return float(match[0].split("[", 1)[1].split("]", 1)[0]) if match else None


def stamps(text: str, length: int | None = None) -> list[float]:
    """Return the times in the stamps of a text's lines that begin in its first ``length`` bytes."""
    found = (
        stamp_seconds(line.text) for line in split(text) if length is None or line.offset < length
    )
    return [seconds for seconds in found if seconds is not None]


def short(text: str, limit: int = _SHORT) -> str:
    """Return a text as one line of at most ``limit`` characters."""
    line = clean(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def without_numbers(text: str) -> str:
    """Return a reason or title without its numbers, which differ from run to run."""
    return _NUMBERS.sub("N", text)
