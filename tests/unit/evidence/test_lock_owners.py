# SPDX-License-Identifier: GPL-2.0-only
"""The lists of waiters in memory; real dumps are in tests/long/test_crashes.py."""

import pytest

from harness.evidence import lock_owners

FIRST, SECOND = 0x1000, 0x2000  # two task_structs
STACKS = {FIRST: range(0x10000, 0x14000, 8), SECOND: range(0x20000, 0x24000, 8)}
LOCK, ONE, TWO = 0x9010, 0x13E00, 0x23E80  # the nodes of a list: the lock's, and a waiter each


def found(task: int, words: dict[int, int]) -> int | None:
    return lock_owners.wait_list(lambda address: words.get(address, 0), task, STACKS)


def linked(*nodes: int) -> dict[int, int]:
    words: dict[int, int] = {}
    for node, following in zip(nodes, (*nodes[1:], nodes[0]), strict=True):
        words |= {node: following, following + 8: node}
    return words


@pytest.mark.parametrize("task", [FIRST, SECOND])
@pytest.mark.parametrize("after", [0, FIRST, 0xDEAD])
def test_the_lock_of_a_waiter_is_the_node_that_is_on_no_stack(task: int, after: int) -> None:
    words = linked(LOCK, ONE, TWO) | {ONE + 16: FIRST, TWO + 16: SECOND, LOCK + 16: after}
    assert found(task, words) == LOCK


def test_a_task_that_is_on_no_list_waits_for_no_lock() -> None:
    assert found(FIRST, {}) is None
    assert found(FIRST, {ONE + 16: FIRST, ONE: LOCK, LOCK + 8: 0}) is None
