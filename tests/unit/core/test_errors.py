# SPDX-License-Identifier: GPL-2.0-only
"""What an exception is to people: an error of the tree, or a defect of ours."""

import errno
import re
from pathlib import Path

import pytest

import harness
from harness.errors import GuestLost, HarnessError, NoSpace, for_others, foreseen, no_space


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


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("mm/a.c:1:2: error; log: /home/me/runs/x/build.log", "mm/a.c:1:2: error; log: build.log"),
        ("CONFIG_X=y (/home/me/my.config:5) became n", "CONFIG_X=y (my.config:5) became n"),
        ("'~/patches/a.patch' does not apply", "'a.patch' does not apply"),
        ("https://example.org/a/b is gone", "https://example.org/a/b is gone"),
        ("../a/b, ./a/b and a/b", "../a/b, ./a/b and a/b"),
        ("cannot open /dev/mapper/root, /proc/self/maps or /init", None),
    ],
)
def test_others_are_told_the_names_of_files_alone(line: str, shown: str | None) -> None:
    assert for_others(line) == (shown or line)


def test_a_full_disk_is_recognised_in_one_place() -> None:
    root = Path(harness.__file__).parent
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if re.search(r"errno\.(ENOSPC|EDQUOT)", path.read_text())
    }
    assert found == {"errors.py"}
