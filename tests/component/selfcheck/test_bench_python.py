# SPDX-License-Identifier: GPL-2.0-only
"""What is seen of a command from outside: when it starts another one, and its memory."""

import sys

import pytest

from harness.deadline import Deadline
from harness.errors import InfrastructureError
from harness.selfcheck import bench_python

#: Takes 64 MiB, then starts a program with as much, as a thread of it.
PROGRAM = """
import subprocess, sys, threading
held = bytes(range(256)) * (1 << 18)
child = [sys.executable, "-c", "held = bytes(range(256)) * (1 << 19); import time; time.sleep(0.5)"]
thread = threading.Thread(target=lambda: subprocess.run(child, check=True))
thread.start()
thread.join()
"""


def watched(program: str) -> bench_python.Watched:
    argv = (sys.executable, "-c", program)
    return bench_python.watch(argv, Deadline.after(60, "the test"))


def test_the_first_child_and_the_memory_without_it_are_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = watched(PROGRAM)
    assert seen.first > 0
    assert 64 << 20 < seen.resident < 128 << 20
    assert seen.guests == 0
    monkeypatch.setattr(bench_python, "_is_qemu", lambda pid: True)
    assert watched(PROGRAM).guests == 1


@pytest.mark.parametrize(
    ("program", "said"),
    [("print('some'); 1 / 0", "ZeroDivisionError"), ("pass", "started no other program")],
)
def test_a_command_that_fails_or_has_no_child_is_an_error(program: str, said: str) -> None:
    with pytest.raises(InfrastructureError, match=said):
        watched(program)
