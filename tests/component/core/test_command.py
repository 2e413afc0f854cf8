# SPDX-License-Identifier: GPL-2.0-only
"""harness.command against real small programs."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from harness import command
from harness.deadline import Deadline
from harness.errors import CommandFailed, DeadlineExpired, NoSpace, ToolMissing


def soon(seconds: float = 20.0) -> Deadline:
    return Deadline.after(seconds, "the test")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def await_death(pid: int, seconds: float = 5.0) -> bool:
    limit = Deadline.after(seconds, "a death")
    while alive(pid) and not limit.expired():
        time.sleep(0.02)
    return not alive(pid)


def test_streams_are_separate_and_the_exit_code_is_returned() -> None:
    done = command.run(["sh", "-c", "echo out; echo err >&2; exit 7"], soon(), ok=(7,))
    assert (done.stdout, done.stderr, done.exit_code) == ("out\n", "err\n", 7)


def test_words_reach_the_program_unchanged() -> None:
    nasty = "a b;$(touch /tmp/never) 'q' \n`x`"
    assert command.run(["printf", "%s", nasty], soon()).stdout == nasty


def test_an_unexpected_exit_code_is_an_error_that_quotes_the_last_line() -> None:
    with pytest.raises(CommandFailed, match="exit code 3: the reason"):
        command.run(["sh", "-c", "echo noise; echo the reason >&2; exit 3"], soon())


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ToolMissing, match="no-such-program"):
        command.run(["no-such-program"], soon())


def test_a_full_file_system_is_an_error_of_its_own() -> None:
    with pytest.raises(NoSpace):
        command.run(["sh", "-c", "echo 'cc: No space left on device' >&2; exit 1"], soon())


def test_a_log_gets_both_streams_and_the_callback_gets_lines(tmp_path: Path) -> None:
    seen: list[str] = []
    log = tmp_path / "log"
    command.run(
        ["sh", "-c", "echo one; echo two >&2; printf three"], soon(), log=log, on_line=seen.append
    )
    assert log.read_text() == "one\ntwo\nthree"
    assert seen == ["one", "two", "three"]


def test_the_deadline_ends_the_whole_group(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    script = f"sleep 60 & echo $! > {pidfile}; wait"
    with pytest.raises(DeadlineExpired, match="the nap took longer"):
        command.run(["sh", "-c", script], Deadline.after(0.5, "the nap"))
    assert await_death(int(pidfile.read_text()))


def test_a_program_that_ignores_sigterm_is_killed() -> None:
    process = command.start(["sh", "-c", "trap '' TERM; sleep 60"])
    time.sleep(0.1)
    assert process.end(grace=0.2) == 128 + signal.SIGKILL


def test_a_child_that_outlives_its_parent_does_not_hold_up_the_end(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    with command.start(["sh", "-c", f"sleep 60 & echo $! > {pidfile}"]) as process:
        assert process.wait(soon()) == 0
    assert await_death(int(pidfile.read_text()))


def test_a_program_that_ended_keeps_its_process_id_until_its_group_is_ended() -> None:
    process = command.start(["sh", "-c", "exit 7"])
    assert process.wait(soon()) == 7
    assert process.poll() == 7
    assert Path(f"/proc/{process.pid}").exists()
    assert process.end() == 7
    assert not Path(f"/proc/{process.pid}").exists()


def test_a_program_that_was_ended_is_not_signalled_again() -> None:
    process = command.start(["true"])
    assert process.wait(soon()) == process.end() == 0
    # A process with the ID of the first, as if the kernel had given it out again.
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        process.popen.pid = other.pid
        process.kill()
        process.end()
        assert process.poll() == 0
        assert alive(other.pid)
        other.kill()


def test_an_end_by_a_signal_counts_as_the_shell_counts_it() -> None:
    process = command.start(["sh", "-c", "kill -9 $$"])
    assert process.wait(soon()) == 128 + signal.SIGKILL
    assert process.end() == 128 + signal.SIGKILL


@pytest.mark.parametrize("death", [signal.SIGTERM, signal.SIGKILL])
def test_killing_this_process_ends_what_it_started(tmp_path: Path, death: signal.Signals) -> None:
    program = textwrap.dedent(
        """
        import signal, sys
        from harness import command
        process = command.start(["sleep", "60"], death_signal=signal.Signals(int(sys.argv[1])))
        print(process.pid, flush=True)
        sys.stdin.read()
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(int(death))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        os.kill(parent.pid, signal.SIGKILL)
    assert await_death(pid)


def test_an_interrupt_leaves_no_process(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    program = textwrap.dedent(
        f"""
        from harness import command
        from harness.deadline import Deadline
        command.run(["sh", "-c", "echo $$ > {pidfile}; exec sleep 60"], Deadline.after(60, "it"))
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as parent:
        limit = soon()
        while not (pidfile.exists() and pidfile.read_text()) and not limit.expired():
            time.sleep(0.02)
        parent.send_signal(signal.SIGINT)
        parent.wait(timeout=10)
    assert await_death(int(pidfile.read_text()))


def test_an_identity_changes_when_the_program_does(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    first = command.identity(str(program))
    assert first == command.identity(str(program))
    program.write_text("#!/bin/sh\necho newer\n")
    assert command.identity(str(program)) != first
    assert command.identity("no-such-program") == ""
