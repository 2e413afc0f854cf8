# SPDX-License-Identifier: GPL-2.0-only
"""The pytest plugin in a pytest of its own, without a guest."""

import subprocess
import sys
from pathlib import Path

TESTS = """
limits = []


def test_one(hgm_context):
    limits.append(hgm_context.deadline.at)


def test_other(hgm_context):
    assert hgm_context.deadline.at > limits[0]
"""


def test_each_test_has_a_deadline_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "test_limits.py").write_text(TESTS)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
