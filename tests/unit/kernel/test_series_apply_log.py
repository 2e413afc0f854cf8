# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import pytest

from harness.kernel.series.apply_log import Placed, read_apply_log

# What git 2.39 says, in order.
OFFSET = """\
Checking patch mm/a.c...
Hunk #1 succeeded at 4 (offset 1 line).
Hunk #3 succeeded at 90 (offset -12 lines).
Checking patch mm/b.c...
Applied patch mm/a.c cleanly.
Applied patch mm/b.c cleanly.
"""
FUZZ = """\
Checking patch mm/a.c...
Hunk #2 succeeded at 4 (offset 2 lines).
Context reduced to (2/1) to apply fragment at 4
Context reduced to (2/2) to apply fragment at 31
Applied patch mm/a.c cleanly.
"""
MERGED = """\
Checking patch mm/a.c...
Performing three-way merge...
Applied patch to 'mm/a.c' cleanly.
Checking patch mm/b.c...
error: repository lacks the necessary blob to perform 3-way merge.
Falling back to direct application...
Applied patch mm/a.c cleanly.
"""
CONFLICT = """\
Checking patch mm/a.c...
error: while searching for:
error: something in a patch
error: patch failed: mm/a.c:30
error: mm/a.c: patch does not apply
error: mm/b.c: does not exist in index
"""


def test_offsets() -> None:
    log = read_apply_log(0, OFFSET)
    assert (log.applied, log.exact) == (True, False)
    assert [placed.text() for placed in log.placed] == [
        "mm/a.c hunk 1 at 4 (+1)",
        "mm/a.c hunk 3 at 90 (-12)",
    ]


def test_reduced_context() -> None:
    log = read_apply_log(0, FUZZ)
    assert log.placed == (
        Placed(path="mm/a.c", hunk=2, line=4, context=1),
        Placed(path="mm/a.c", hunk=0, line=31, context=2),
    )
    assert log.placed[0].text() == "mm/a.c hunk 2 with 1 line of context"
    assert log.placed[1].text() == "mm/a.c line 31 with 2 lines of context"


def test_merge() -> None:
    log = read_apply_log(0, MERGED)
    assert log.exact
    assert log.merged == ("mm/a.c",)


def test_conflict() -> None:
    log = read_apply_log(1, CONFLICT.replace("error: something in a patch\n", ""))
    assert log.failed == (("mm/a.c", 30),)
    assert log.conflict


@pytest.mark.parametrize(
    ("said", "damaged", "hopeless"),
    [
        ("error: corrupt patch at line 17\n", "corrupt patch at line 17", ""),
        ("error: corrupt patch at /t/patch:17\n", "corrupt patch at line 17", ""),
        (
            'error: No valid patches in input (allow with "--allow-empty")\n',
            "No valid patches in input",
            "",
        ),
        ("error: invalid path '../x'\n", "", "invalid path '../x'"),
        ("error: affected file 'd/x' is beyond a symbolic link\n", "", "beyond a symbolic link"),
    ],
)
def test_errors_that_no_base_would_avoid(said: str, damaged: str, hopeless: str) -> None:
    log = read_apply_log(1, said)
    assert not log.conflict
    assert log.damaged == damaged
    assert hopeless in "".join(log.hopeless)
