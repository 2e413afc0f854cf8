# SPDX-License-Identifier: GPL-2.0-only
"""The leak check: the kernel's huge-page accounting before and after a probe must agree. Pure.

A reading maps names to numbers, as the guest's program ``counters`` prints them::

    pool.1G.node0.free 2            pages; also total and surplus
    pool.1G.reserved 0              pages
    cgroup.1G.used 0                bytes that probes in this guest are charged for; also reserved
    meminfo.HugePages_Free 64       pages of the default size; also Total, Rsvd, Surp
    meminfo.Hugetlb 2228224         kB
    pagetables.unowned 20           kB: PageTables of meminfo less VmPTE of every process

Where the kernel's own page tables are in PageTables and change by themselves (counters.c), the last
one is not there, and it prints what they change with instead::

    pagetables.left_out CONFIG_VMAP_STACK
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from harness.records.probe import Leak

#: How far a number may differ, up or down; any other must be the same.
#:
#: Runs recorded before December 2026 have PageTables itself, which the random addresses of living
#: processes change: a mapping that straddles 2 MiB takes a table more.
TOLERANCE = {"meminfo.PageTables": 16}

#: What the kernel's own page tables change with, by the word that ``counters`` prints.
_OWN_TABLES = {
    "CONFIG_VMAP_STACK": "the stacks of tasks (CONFIG_VMAP_STACK)",
    "hugetlb_free_vmemmap": "the memory map of huge pages (hugetlb_free_vmemmap)",
}

_LINE = re.compile(r"^([\w.]+) (-?\d{1,18})$", re.MULTILINE)


def parse(text: str) -> dict[str, int]:
    """Return the reading that ``counters`` printed; other lines are left out."""
    return {match[1]: int(match[2]) for match in _LINE.finditer(text)}


def tables_left_out(text: str) -> str:
    """Return why ``counters`` printed no page tables; empty if it did."""
    lines = text.splitlines()
    with_ = [what for word, what in _OWN_TABLES.items() if f"pagetables.left_out {word}" in lines]
    if not with_:
        return ""
    return f"PageTables has this kernel's own, which change with {' and '.join(with_)}"


def differences(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[Leak, ...]:
    """Return the numbers that differ, in the order of the first reading.

    A name that only one reading has is a difference too: pools do not come or go.
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
