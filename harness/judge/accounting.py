# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's books on huge pages before and after a probe: what a probe took must come back.

A reading maps names to numbers, as the guest's program ``counters`` prints them::

    pool.1G.node0.free 2            pages; also total and surplus
    pool.1G.reserved 0              pages
    cgroup.1G.used 0                bytes that probes in this guest are charged for; also reserved
    meminfo.HugePages_Free 64       pages of the default size; also Total, Rsvd, Surp
    meminfo.Hugetlb 2228224         kB
    meminfo.PageTables 500          kB
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from harness.records.probe import Leak

#: How far a number may be from where it was, both ways; any other must be exactly there.
#:
#: PageTables are every process's, that of ``counters`` and the SSH server's among them, and where a
#: process's mappings lie is random: one that straddles 2 MiB takes a table more. Over 48 probes
#: that leak nothing readings differed by one table, 4 kB; four are let pass. That is no blind spot:
#: the kernel itself checks each process's tables when it ends ("non-zero pgtables_bytes on freeing
#: mm"), a complaint and so a FAIL. What that check cannot see is larger: the tables of one page of
#: 1 GiB that was split and never given back are 2052 kB.
TOLERANCE = {"meminfo.PageTables": 16}

_LINE = re.compile(r"^([\w.]+) (-?\d{1,18})$", re.MULTILINE)


def parse(text: str) -> dict[str, int]:
    """Return the reading that ``counters`` printed; what is no line of it is left out."""
    return {match[1]: int(match[2]) for match in _LINE.finditer(text)}


def differences(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[Leak, ...]:
    """Return what is not where it was, in the order of the first reading.

    What only one of the readings has is a difference too: no kernel makes a pool come or go.
    """
    names = dict.fromkeys((*before, *after))
    return tuple(
        Leak(what=name, before=before.get(name), after=after.get(name))
        for name in names
        if not _same(name, before.get(name), after.get(name))
    )


def _same(name: str, before: int | None, after: int | None) -> bool:
    if before is None or after is None:
        return before == after
    return abs(after - before) <= TOLERANCE.get(name, 0)


def describe(leak: Leak) -> str:
    """Return a difference for people, such as ``pool.1G.node0.free 2 -> 1``."""
    numbers = ["absent" if each is None else str(each) for each in (leak.before, leak.after)]
    return f"{leak.what} {' -> '.join(numbers)}"
