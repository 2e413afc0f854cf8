# SPDX-License-Identifier: GPL-2.0-only
"""The check of a migrated guest's memory in tests/long sees each kind of damage."""

import functools
from array import array

import pytest

from tests.long import migrated

FIRST = migrated.BEGIN // migrated.PAGE
LAST = migrated.SIZE // migrated.PAGE - 1
#: 100 pages into its tenth pass, and later.
THEN = (10, 100)
NOW = (12, 7)


@functools.cache
def _addresses() -> bytes:
    words = array("I", bytes(migrated.BEGIN))
    words.extend(range(migrated.BEGIN, migrated.SIZE, 4))
    return words.tobytes()


def memory(passes: int, pages_ahead: int) -> bytearray:
    """What the guest leaves: its first PAGES_AHEAD pages are counted once more than the others."""
    words = array("I", _addresses())
    per_page = migrated.PAGE // 4
    for page in range(FIRST, LAST + 1):
        words[page * per_page] += passes + (page < FIRST + pages_ahead)
    return bytearray(words.tobytes())


def at(page: int, offset: int = 0) -> slice:
    return slice(page * migrated.PAGE + offset, (page + 1) * migrated.PAGE)


def test_memory_that_moved_and_was_written_to_is_right() -> None:
    assert migrated.mistakes(bytes(memory(*THEN)), bytes(memory(*NOW))) == []
    assert migrated.mistakes(bytes(memory(*THEN)), bytes(memory(*THEN))) == []
    assert migrated.mistakes(bytes(memory(4, 0)), bytes(memory(4, LAST + 1 - FIRST))) == []


@pytest.mark.parametrize(("page", "byte"), [(FIRST, 4), (700, 2048), (LAST, migrated.PAGE - 1)])
def test_one_byte_that_differs_is_found(page: int, byte: int) -> None:
    after = memory(*NOW)
    after[page * migrated.PAGE + byte] ^= 1
    assert migrated.mistakes(bytes(memory(*THEN)), bytes(after)) == [
        f"destination: page {page} has other contents than the guest wrote"
    ]


def test_a_page_that_was_not_moved_again_is_found() -> None:
    """Pre-copy had brought it three passes before; the destination went on from there."""
    after = memory(*NOW)
    stale = memory(NOW[0] - 3, NOW[1])
    after[at(3000)] = stale[at(3000)]
    assert migrated.mistakes(bytes(memory(*THEN)), bytes(after)) == [
        "destination: the count of passes goes from 13 to 12 and changes at pages 263, 3000, 3001",
        "destination: page 3000 has 9 passes, the source had 10",
    ]


def test_a_huge_page_that_was_not_moved_again_is_found_at_the_end_of_memory() -> None:
    after = memory(NOW[0], 0)
    first = LAST + 1 - 512
    after[first * migrated.PAGE :] = memory(NOW[0] - 2, 0)[first * migrated.PAGE :]
    assert migrated.mistakes(bytes(memory(*THEN)), bytes(after)) == [
        f"destination: the count of passes goes from 12 to 10 and changes at pages {first}"
    ]


def test_pages_that_changed_places_are_found() -> None:
    after = memory(*NOW)
    after[at(800)], after[at(900)] = after[at(900)], after[at(800)]
    found = migrated.mistakes(bytes(memory(*THEN)), bytes(after))
    assert "destination: page 800 has other contents than the guest wrote" in found
    assert "destination: page 900 has other contents than the guest wrote" in found


def test_a_page_of_zeros_is_found() -> None:
    after = memory(*NOW)
    after[at(LAST)] = bytes(migrated.PAGE)
    found = migrated.mistakes(bytes(memory(*THEN)), bytes(after))
    assert f"destination: page {LAST} has other contents than the guest wrote" in found


def test_memory_that_the_guest_does_not_write_to_is_compared() -> None:
    after = memory(*NOW)
    after[5] = 1
    assert migrated.mistakes(bytes(memory(*THEN)), bytes(after)) == [
        "the first MiB, which the guest does not write to, differs"
    ]


def test_a_source_that_is_wrong_is_not_taken_for_right() -> None:
    before, after = memory(*THEN), memory(*NOW)
    for each in (before, after):
        each[at(800, 4)] = bytes(migrated.PAGE - 4)
    found = migrated.mistakes(bytes(before), bytes(after))
    assert "source: page 800 has other contents than the guest wrote" in found
