# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import pytest

from harness.run.serial_console import split_keys


@pytest.mark.parametrize(
    ("typed", "todo"),
    [
        (b"ls\r", [b"ls\r"]),
        (b"\x03", [b"\x03"]),
        (b"\x01x", ["end"]),
        (b"\x01X", ["end"]),
        (b"a\x01bt", [b"a", "break", b"t"]),
        (b"\x01\x01x", [b"\x01x"]),
        (b"a\x01qb", [b"ab"]),
        (b"\xff\x01", [b"\xff"]),
        (b"", []),
    ],
)
def test_keys_after_ctrl_a_are_taken_out(typed: bytes, todo: list[bytes | str]) -> None:
    assert split_keys(typed, escaped=False)[0] == todo


def test_ctrl_a_and_its_key_may_come_apart() -> None:
    todo, escaped = split_keys(b"a\x01", escaped=False)
    assert (todo, escaped) == ([b"a"], True)
    assert split_keys(b"x", escaped) == (["end"], False)
