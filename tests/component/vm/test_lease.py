# SPDX-License-Identifier: GPL-2.0-only
"""Leases that other processes hold, and how guests are admitted beside them; no guest runs."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.context import Context
from harness.deadline import Deadline
from harness.progress import Silent
from harness.run import parallel
from harness.vm import hoststat, lease, spec
from harness.vm.lease import Promised
from harness.workspace import Workspace

_MIB = 1 << 20

Start = Callable[..., subprocess.Popen[str]]

#: Holds a lease until its input ends, beside a child with so many bytes of memory.
HOLDER = """
import subprocess, sys
from pathlib import Path
from harness.vm import lease
from harness.workspace import Workspace
cache, cpus, memory, touched = sys.argv[1], *map(int, sys.argv[2:])
touch = f"import sys; memory = b'x' * {touched}; print(flush=True); sys.stdin.read()"
child = [sys.executable, "-c", touch]
with lease.held(cpus, memory, Workspace(Path(cache))):
    with subprocess.Popen(child, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        print("held", flush=True)
        sys.stdin.readline()
        process.stdin.close()
"""

#: Begins at a line of its input, and holds as many guests of one CPU as it may have of four.
CHOOSER = """
import os, sys, time
from pathlib import Path
from harness.context import Context
from harness.deadline import Deadline
from harness.progress import Silent
from harness.run import parallel
from harness.vm import hoststat, spec
from harness.workspace import Workspace
os.sched_getaffinity = lambda pid: set(range(4))
hoststat.available = lambda: 64 << 30
def slowly(*arguments, decide=parallel.admitted):
    result = decide(*arguments)
    time.sleep(0.3)  # the others decide meanwhile, if they may
    return result
parallel.admitted = slowly
context = Context(Workspace(Path(sys.argv[1])), Deadline.after(60, "the test"), Silent())
machine = spec.machine((), cpus=1, arch_name="x86_64")
print("ready", flush=True)
sys.stdin.readline()
with parallel.leased(4, machine, context) as (count, why):
    print(count, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Workspace(tmp_path / "cache"), Deadline.after(60, "the test"), Silent())


@pytest.fixture
def start(context: Context) -> Iterator[Start]:
    """Start a program with the cache and numbers as arguments, and wait for its first line."""
    with contextlib.ExitStack() as stack:

        def begun(program: str, *numbers: int) -> subprocess.Popen[str]:
            argv = [sys.executable, "-c", program, str(context.workspace.cache)]
            process = stack.enter_context(
                subprocess.Popen(
                    [*argv, *map(str, numbers)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert line(process)
            return process

        yield begun


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_what_other_processes_may_take_is_added_up_until_they_end(
    start: Start, context: Context
) -> None:
    assert lease.promised(context.workspace) == Promised()
    first, second = start(HOLDER, 2, 1000 * _MIB, 0), start(HOLDER, 3, 500 * _MIB, 0)
    cpus, memory = lease.promised(context.workspace)
    assert cpus == 5
    assert 1400 * _MIB < memory < 1500 * _MIB, "their children, two Pythons, have touched a little"
    go_on(first)
    assert first.wait(30) == 0
    assert lease.promised(context.workspace).cpus == 3
    second.kill()
    os.waitid(os.P_PID, second.pid, os.WEXITED | os.WNOWAIT)  # its ID is still in use
    assert lease.promised(context.workspace) == Promised()
    (left,) = context.workspace.room("tmp").iterdir()
    assert left.name.startswith(f"lease.{second.pid}.")
    context.workspace.sweep()
    assert not left.exists()


def test_what_guests_have_touched_is_not_promised_any_more(start: Start, context: Context) -> None:
    start(HOLDER, 1, 1000 * _MIB, 100 * _MIB)
    promised = lease.promised(context.workspace).memory
    assert 850 * _MIB < promised < 900 * _MIB
    start(HOLDER, 1, 1 * _MIB, 60 * _MIB)
    with_more = lease.promised(context.workspace).memory
    assert promised - _MIB < with_more < promised + _MIB, "too much touched is not taken off others"


def test_guests_on_other_cpus_take_none_of_these(
    start: Start, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = os.sched_getaffinity(0)
    start(HOLDER, 2, 1000 * _MIB, 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: here if pid else {max(here) + 1})
    promised = lease.promised(context.workspace)
    assert promised.cpus == 0
    assert promised.memory > 900 * _MIB


def test_what_workers_offer_is_promised_to_no_guest(context: Context) -> None:
    workspace = context.workspace
    with lease.held(2, 8 * _MIB, workspace, "offer"), lease.held(1, _MIB, workspace, "offer"):
        assert lease.offered(workspace) == Promised(3, 9 * _MIB)
        assert lease.promised(workspace) == Promised()
    assert lease.offered(workspace) == Promised()


def test_a_lease_that_is_not_understood_does_not_count(context: Context) -> None:
    with lease.held(1, 0, context.workspace):
        (path,) = context.workspace.room("tmp").iterdir()
        path.write_text("{}")
        assert lease.promised(context.workspace) == Promised()


def test_of_processes_that_choose_at_once_one_gets_all_and_the_others_one_guest(
    start: Start,
) -> None:
    processes = [start(CHOOSER) for _ in range(3)]
    for each in processes:
        go_on(each)
    assert sorted(int(line(each)) for each in processes) == [1, 1, 4]


def test_one_guest_is_leased_without_waiting_for_those_that_choose(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This process may have children of other tests, such as a server of PostgreSQL.
    monkeypatch.setattr(hoststat, "touched_by_children", lambda pid: 0)
    machine = spec.machine((), cpus=3, arch_name="x86_64")
    with (
        context.workspace.lock("leases", context.deadline, context.progress),
        parallel.leased(1, machine, context) as chosen,
    ):
        assert chosen == (1, "")
        promised = Promised(3, parallel.may_touch(machine))
        assert lease.promised(context.workspace) == promised
    assert lease.promised(context.workspace) == Promised()
