# SPDX-License-Identifier: GPL-2.0-only
"""Which of a kernel's splats outside of any probe are the machine's. Pure.

Those before init that another kernel has too, and a lack of progress on a starved host.

A CPU that a hypervisor emulates incompletely makes every kernel warn, and a kernel that is wrong
about a CPU warns alone. Only a kernel of other sources, on the same machine, tells one from the
other: one that boots well elsewhere says nothing, because the CPU there is another one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from harness.judge import dmesg, lines, starvation
from harness.records.probe import Splat, Stalled

#: The first lines of a kernel; a run's guests write to one log, one after the other.
BANNER = re.compile(rb"^(?:.*\bBooting Linux on .*\n)?.*\bLinux version \d", re.MULTILINE)

#: Printed before the first program starts: all of a splat before it is the kernel's own work.
INIT = r"Run \S+ as init process"
_INIT = re.compile(INIT.encode())

_FILE = re.compile(r"\b[\w/.-]+\.[chS]\b")
_FUNCTION = re.compile(r"\b([A-Za-z_]\w*)[\w.]*\+0x")
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+")


class BootSplats(NamedTuple):
    """Splats outside of any probe.

    Attributes:
        kernel: those that count against the kernel.
        machine: those that do not.
    """

    kernel: tuple[Splat, ...]
    machine: tuple[Splat, ...]


def before_init(splats: Sequence[Splat], console: bytes) -> tuple[Splat, ...]:
    """Return the splats that a kernel printed before it started init.

    Args:
        splats: of the console, by their offsets.
        console: of one guest after the other.
    """
    banners = [match.start() for match in BANNER.finditer(console)]
    return tuple(splat for splat in splats if _is_early(splat.offset, banners, console))


def _is_early(offset: int, banners: Sequence[int], console: bytes) -> bool:
    start = max((banner for banner in banners if banner <= offset), default=None)
    return start is not None and _INIT.search(console, start, offset) is None


def divide(
    splats: Sequence[Splat], console: bytes, other: bytes, stalled: Sequence[Stalled] = ()
) -> BootSplats:
    """Divide splats outside of any probe into the kernel's and the machine's.

    Args:
        splats: of the console, by their offsets.
        console: of the kernel under test.
        other: of the other kernel, booted on the same machine; empty if none was.
        stalled: where the kernel under test reported a lack of progress, and what the host gave it.
    """
    theirs = before_init(dmesg.scan(lines.decode(other)), other)
    known = {_signature(splat) for splat in theirs}
    theirs_too = [s for s in before_init(splats, console) if _signature(s) in known]
    excused = {splat.offset for splat in theirs_too}
    for span in stalled:
        meanwhile = [s for s in splats if span.console_from <= s.offset < span.console_to]
        stamps = lines.stamps(lines.decode(console[span.console_from : span.console_to]))
        if starvation.excuse(span.host, stamps):
            excused |= {splat.offset for splat in starvation.stuck(meanwhile)}
    return BootSplats(
        tuple(splat for splat in splats if splat.offset not in excused),
        tuple(splat for splat in splats if splat.offset in excused),
    )


def _signature(splat: Splat) -> tuple[str, ...]:
    """Return what two kernels have in common that print a splat for the same reason.

    The file and the function of a title that names them, whatever their order; else all but the
    numbers.
    """
    file, function = _FILE.search(splat.title), _FUNCTION.search(splat.title)
    if file and function:
        return (splat.kind, file[0], function[1])
    return (splat.kind, _NUMBERS.sub("N", splat.title))
