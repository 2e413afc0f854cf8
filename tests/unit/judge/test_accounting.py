# SPDX-License-Identifier: GPL-2.0-only
"""The books before and after a probe."""

from __future__ import annotations

import pytest

from harness.judge.accounting import describe, differences, parse, tables_left_out
from harness.records.probe import Leak

FREE = "pool.1G.node0.free"
TABLES = "pagetables.unowned"
BOOKS = {TABLES: 232, FREE: 2, "cgroup.1G.used": 0}


def test_a_reading_is_read_line_by_line() -> None:
    text = f"{TABLES} 232\n{FREE} 2\nnonsense\npool.2M.reserved -1\n{FREE}x y\ncut 1"
    assert parse(text) == {TABLES: 232, FREE: 2, "pool.2M.reserved": -1, "cut": 1}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), ""),
        (("CONFIG_VMAP_STACK",), "the stacks of tasks (CONFIG_VMAP_STACK)"),
        (
            ("hugetlb_free_vmemmap",),
            "the memory map of huge pages (hugetlb_free_vmemmap)",
        ),
        (
            ("CONFIG_VMAP_STACK", "hugetlb_free_vmemmap"),
            "the stacks of tasks (CONFIG_VMAP_STACK) and"
            " the memory map of huge pages (hugetlb_free_vmemmap)",
        ),
        (("\33[2J",), ""),
    ],
)
def test_why_a_reading_has_no_page_tables(words: tuple[str, ...], why: str) -> None:
    lines = [f"pagetables.left_out {word}" for word in words]
    text = "\n".join(["madv_split.2M=ok", *lines, f"{FREE} 2", ""])
    because = f"PageTables has this kernel's own, which change with {why}"
    assert tables_left_out(text) == (because if why else "")
    assert parse(text) == {FREE: 2}


@pytest.mark.parametrize(
    ("changed", "leaks"),
    [
        ({}, ()),
        ({FREE: 1}, (Leak(what=FREE, before=2, after=1),)),
        ({FREE: 3}, (Leak(what=FREE, before=2, after=3),)),
        ({"cgroup.1G.used": 1 << 30}, (Leak(what="cgroup.1G.used", before=0, after=1 << 30),)),
        ({TABLES: 236}, (Leak(what=TABLES, before=232, after=236),)),
        ({TABLES: 228}, (Leak(what=TABLES, before=232, after=228),)),
        ({"pool.2M.node1.free": 4}, (Leak(what="pool.2M.node1.free", before=None, after=4),)),
    ],
)
def test_a_number_that_differs_is_a_leak(changed: dict[str, int], leaks: tuple[Leak, ...]) -> None:
    assert differences(BOOKS, BOOKS | changed) == leaks


@pytest.mark.parametrize(("after", "is_leak"), [(248, False), (216, False), (252, True)])
def test_an_old_record_may_differ_by_four_page_tables(after: int, is_leak: bool) -> None:
    before = BOOKS | {"meminfo.PageTables": 232}
    assert bool(differences(before, before | {"meminfo.PageTables": after})) == is_leak


def test_a_number_that_disappears_is_a_leak() -> None:
    (leak,) = differences(BOOKS, {TABLES: 232, FREE: 2})
    assert describe(leak) == "cgroup.1G.used 0 -> absent"


def test_two_empty_readings_do_not_differ() -> None:
    assert differences({}, {}) == ()
