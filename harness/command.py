# SPDX-License-Identifier: GPL-2.0-only
"""Run other programs: an argv and a deadline in, an exit code and output out.

Nothing else in the harness starts a process, and no shell line is ever made from data. Every
program leads its own process group. The whole group is ended when the deadline passes, when an
exception (Ctrl-C included) leaves the call, or, through the parent-death signal, when this process
is killed.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness.deadline import Deadline
from harness.errors import CommandFailed, NoSpace, ToolMissing, full_disk

#: Seconds that a process group gets between SIGTERM and SIGKILL.
GRACE_SECONDS = 2.0

_CHUNK = 1 << 16

# setpriv sets the parent-death signal in the child; a Python pre-exec hook would not be safe in a
# process with threads. This constant line checks that the parent had not died before, then becomes
# the program, whose argv is passed as arguments and never parsed.
_IF_PARENT_LIVES = '[ "$PPID" = "$0" ] && exec "$@"'


@dataclass(frozen=True)
class Completed:
    """A program that ended.

    Attributes:
        argv: what was run.
        exit_code: as the shell counts: 0..255, or 128 + N when signal N ended it.
        stdout: its standard output, empty where a log took it.
        stderr: its standard error, empty where a log took it.
        seconds: wall time.
        log: the file that took both streams, if one was given.
    """

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    log: Path | None


class Process:
    """A running program and its process group; as a context manager it ends the group.

    A program that ended stays a zombie until `end`: its process ID, which is its group's, is then
    not yet another program's when the rest of the group is killed.
    """

    def __init__(self, argv: Sequence[str], popen: subprocess.Popen[bytes]) -> None:
        self.argv = tuple(argv)
        self.popen = popen
        self._reaping = threading.Lock()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Return the process ID, which is the process group's too."""
        return self.popen.pid

    def poll(self) -> int | None:
        """Return the exit code as the shell counts it, or None while the program runs."""
        with self._reaping:
            if self.popen.returncode is not None:
                return _shell_code(self.popen.returncode)
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status

    def wait(self, deadline: Deadline) -> int:
        """Wait for the end and return the exit code; raise DeadlineExpired if it comes too late."""
        code = self.poll()
        if code is None and self._ends_within(deadline.remaining()):
            code = self.poll()
        if code is None:
            raise deadline.error()
        return code

    def kill(self) -> None:
        """Send SIGKILL to the whole group and do not wait; `end` follows."""
        self._signal(signal.SIGKILL)

    def end(self, grace: float = GRACE_SECONDS) -> int:
        """End the whole group: SIGTERM, ``grace`` seconds, SIGKILL; return the exit code."""
        if self.poll() is None:
            self._signal(signal.SIGTERM)
            self._ends_within(grace)
        self._signal(signal.SIGKILL)
        # No one may signal the group between these two: the ID is free once this returns.
        with self._reaping:
            code = self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        return _shell_code(code)

    def _ends_within(self, seconds: float) -> bool:
        """Wait at most ``seconds`` for the program's end, which leaves it a zombie."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:  # another thread has ended it
            return True
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(pidfd, selectors.EVENT_READ)
                return bool(selector.select(seconds))
        finally:
            os.close(pidfd)

    def _signal(self, number: int) -> None:
        with self._reaping, contextlib.suppress(ProcessLookupError, PermissionError):
            if self.popen.returncode is None:
                os.killpg(self.pid, number)


def state(pid: int) -> str:
    """Return the state letter of a process as in proc_pid_stat(5); ``X`` where it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "X"
    return stat.rpartition(")")[2].split()[0]


def ended(pid: int) -> bool:
    """Return whether a process has ended, reaped or not."""
    return state(pid) in "ZX"


def identity(program: str) -> str:
    """Return what is another for another version of a program, without running it.

    Empty if it is not installed.
    """
    found = shutil.which(program)
    if found is None:
        return ""
    path = Path(found).resolve()
    stat = path.stat()
    return f"{path} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"


def start(  # noqa: PLR0913 - every program is started here; all but argv have defaults
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    death_signal: signal.Signals = signal.SIGTERM,
) -> Process:
    """Start a program in a process group of its own and return at once.

    Args:
        argv: the program and its arguments; the program is looked up in PATH.
        cwd: the directory it starts in.
        env: variables on top of this process's environment; messages are always in English.
        stdin: as `subprocess.Popen` takes it, like stdout and stderr.
        stdout: see stdin.
        stderr: see stdin.
        pass_fds: file descriptors that stay open in the program.
        death_signal: what the program gets when this process is killed. SIGTERM suits make, which
            passes it on to its children; SIGKILL suits a program without children.

    Raises:
        ToolMissing: if the program is not installed.
    """
    tool = shutil.which(argv[0])
    if tool is None:
        raise ToolMissing(
            f"the program {argv[0]} is not installed",
            hint="`hgm doctor` prints the command that installs it",
        )
    guarded = ["setpriv", "--pdeathsig", death_signal.name, "--"]
    guarded += ["sh", "-c", _IF_PARENT_LIVES, str(os.getpid()), tool, *argv[1:]]
    popen = subprocess.Popen(
        guarded,
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": "", **(env or {})},
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=tuple(pass_fds),
        start_new_session=True,
    )
    return Process(argv, popen)


def run(  # noqa: PLR0913 - see start
    argv: Sequence[str],
    deadline: Deadline,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: Path | None = None,
    log: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    ok: Sequence[int] | None = (0,),
) -> Completed:
    """Run a program to its end.

    Args:
        argv: the program and its arguments.
        deadline: when it must have ended.
        cwd: the directory it starts in.
        env: variables on top of this process's environment.
        stdin: a file that it reads from; nothing by default.
        log: a file that both output streams are appended to; without it they are returned.
        on_line: called with each whole line of standard output (of both streams with a log).
        ok: the exit codes that are not an error; None for all.

    Raises:
        ToolMissing: if the program is not installed.
        DeadlineExpired: if it did not end in time; it has been killed.
        NoSpace: if it failed and its output says that a file system is full.
        CommandFailed: if its exit code is not in ``ok``.
    """
    began = time.monotonic()
    out, err = bytearray(), bytearray()
    lines = _LineSplitter(on_line)
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(stdin.open("rb")) if stdin else subprocess.DEVNULL
        sink = stack.enter_context(log.open("ab", buffering=0)) if log else None
        process = stack.enter_context(
            start(
                argv,
                cwd=cwd,
                env=env,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if sink else subprocess.PIPE,
            )
        )
        for is_error, chunk in _output(process.popen, deadline):
            if sink is not None:
                sink.write(chunk)
            else:
                (err if is_error else out).extend(chunk)
            if not is_error:
                lines.feed(chunk)
        lines.close()
        code = process.wait(deadline)
    stdout, stderr = out.decode(errors="replace"), err.decode(errors="replace")
    done = Completed(tuple(argv), code, stdout, stderr, time.monotonic() - began, log)
    if ok is not None and code not in ok:
        raise failure(done)
    return done


def failure(done: Completed) -> CommandFailed | NoSpace:
    """Return the error for a program that ended with an unexpected exit code."""
    text = done.stderr or done.stdout
    if done.log is not None:
        text = tail(done.log, 40)
    lines = [line for line in text.splitlines() if line.strip()]
    last = lines[-1].strip() if lines else "no output"
    if any("No space left on device" in line for line in lines):
        message = f"{done.argv[0]} found no space left on the device"
        return full_disk(message, command=done.argv, log=done.log)
    return CommandFailed(
        f"{done.argv[0]} ended with exit code {done.exit_code}: {last}",
        command=done.argv,
        log=done.log,
    )


def tail(path: Path, lines: int) -> str:
    """Return the last ``lines`` lines of a text file, at most 64 KiB of them."""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _CHUNK))
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:])


def _output(popen: subprocess.Popen[bytes], deadline: Deadline) -> Iterator[tuple[bool, bytes]]:
    """Yield (is standard error, chunk) until both streams have ended."""
    with selectors.DefaultSelector() as selector:
        for stream, is_error in ((popen.stdout, False), (popen.stderr, True)):
            if stream is not None:
                selector.register(stream, selectors.EVENT_READ, is_error)
        while selector.get_map():
            ready = selector.select(timeout=deadline.remaining())
            if not ready and deadline.expired():
                raise deadline.error()
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK)
                if chunk:
                    yield key.data, chunk
                else:
                    selector.unregister(key.fileobj)


class _LineSplitter:
    """Cuts chunks of bytes into whole lines for a callback."""

    def __init__(self, callback: Callable[[str], None] | None) -> None:
        self._callback = callback
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        if self._callback is None:
            return
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            self._callback(line.decode(errors="replace"))

    def close(self) -> None:
        if self._callback is not None and self._rest:
            self._callback(self._rest.decode(errors="replace"))


def _shell_code(code: int) -> int:
    return 128 - code if code < 0 else code
