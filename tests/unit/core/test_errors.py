# SPDX-License-Identifier: GPL-2.0-only
"""What an exception is to people: an error of the tree, or a defect of ours."""

import errno
import re
from pathlib import Path

import pytest

import harness
from harness.errors import GuestLost, HarnessError, NoSpace, foreseen, no_space


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_foreseen_wherever_it_is_met(number: int) -> None:
    known = foreseen(OSError(number, "full", "/cache/x"))
    assert isinstance(known, NoSpace)
    assert known.line().startswith("no space left to write /cache/x; free some space")
    assert known.exit_code == 3
    other = no_space(OSError(number, "full"), Path("/runs/result.json"))
    assert other is not None
    assert "/runs/result.json" in other.line()


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), ValueError("x"), EOFError()])
def test_a_defect_of_ours_is_not(error: Exception) -> None:
    assert foreseen(error) is None


def test_an_error_of_the_tree_is_itself() -> None:
    error: HarnessError = GuestLost("x")
    assert foreseen(error) is error


def test_a_full_disk_is_recognised_in_one_place() -> None:
    root = Path(harness.__file__).parent
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if re.search(r"errno\.(ENOSPC|EDQUOT)", path.read_text())
    }
    assert found == {"errors.py"}
