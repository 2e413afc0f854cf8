# SPDX-License-Identifier: GPL-2.0-only
"""The guest's serial console: kept in ``serial.log``, watched, and written to when SSH is dead.

A thread reads all the time, because a guest blocks when its console is not read. QEMU's own
``logfile=`` is not used: it writes a byte twice when the socket was full for a moment (seen with
7.2: "Harddware name").
"""

from __future__ import annotations

import codecs
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
from pexpect.socket_pexpect import SocketSpawn
from pexpect.spawnbase import SpawnBase

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, GuestLost, InfrastructureError, no_space

#: The prompt of our init's emergency shell.
PROMPT = "hgm-emergency# "

_POLL_SECONDS = 0.2
_GATHER_SECONDS = 0.005


class Console:
    """The harness's end of the serial console, with the thread that reads it.

    Args:
        sock: a connected socket to QEMU's character device; this object closes it.
        log: gets every byte unchanged.
        on_line: called in the reading thread with each whole line, decoded, without its newline.
        on_end: called in the reading thread once QEMU has closed the console.
        history: what this guest wrote before it was saved, if it is restored; goes into the log.
    """

    def __init__(
        self,
        sock: socket.socket,
        log: Path,
        *,
        on_line: Callable[[str], None] = lambda line: None,
        on_end: Callable[[], None] = lambda: None,
        history: bytes = b"",
    ) -> None:
        self._spawn: SocketSpawn[bytes] = SocketSpawn(sock, timeout=_POLL_SECONDS, maxread=65536)
        self._log = log.open("ab", buffering=0)
        self._path = log
        self._on_line = on_line
        self._on_end = on_end
        self._rest = b""
        #: Where in the log this console's first byte is: a later guest of a run appends.
        self.start = log.stat().st_size
        self._size = self.start
        self._failure: InfrastructureError | None = None
        self._changed = threading.Condition()
        self._keep(history)
        #: Where in the log the first byte of this QEMU is.
        self.after_history = self._size
        self._ended = False
        self._thread = threading.Thread(target=self._pump, name="console", daemon=True)
        self._thread.start()

    @property
    def size(self) -> int:
        """Return the size of ``serial.log``, with all that has come so far."""
        with self._changed:
            return self._size

    @property
    def ended(self) -> bool:
        """Return whether QEMU has closed the console."""
        with self._changed:
            return self._ended

    @property
    def silent(self) -> bool:
        """Return whether no byte has come."""
        return self.size == self.start

    def text(self, start: int | None = None, end: int | None = None) -> str:
        """Return what came between two offsets in the log, undecodable bytes replaced.

        Args:
            start: this console's first byte by default.
            end: the last byte so far by default.
        """
        begin = self.start if start is None else start
        with self._path.open("rb") as file:
            file.seek(begin)
            return file.read(-1 if end is None else max(0, end - begin)).decode(errors="replace")

    def last_lines(self, count: int = 12) -> tuple[str, ...]:
        """Return the last lines that are not empty, oldest first."""
        lines = [
            line.rstrip() for line in self.text(max(self.start, self.size - 16384)).splitlines()
        ]
        return tuple([line for line in lines if line][-count:])

    def expect(
        self, pattern: str, deadline: Deadline, *, start: int | None = None
    ) -> re.Match[str]:
        """Wait until a regular expression matches what came from offset ``start`` on.

        Args:
            pattern: as pexpect takes it: lines end in CR LF, ``.`` matches newlines too.
            deadline: when it must have matched.
            start: where in the log to begin; this console's first byte by default.

        Raises:
            GuestLost: if QEMU closed the console before it matched.
            InfrastructureError: if the log could not be written any more.
            DeadlineExpired: if it did not match in time.
        """
        follower = _Follower(self, self.start if start is None else start, deadline)
        try:
            follower.expect(pattern, timeout=None)
        except pexpect.EOF:
            if self._failure is not None:
                raise self._failure from None
            raise GuestLost(
                f"the guest ended before {pattern!r} appeared on its console",
                log=self._path,
                console=self.last_lines(),
            ) from None
        except pexpect.TIMEOUT:
            raise deadline.error() from None
        match = follower.match
        assert isinstance(match, re.Match)  # noqa: S101 - neither EOF nor TIMEOUT: both raised
        return match

    def read_from(self, offset: int, deadline: Deadline) -> bytes:
        """Return what came after ``offset``, waiting for at least a byte; empty at the end.

        Raises:
            DeadlineExpired: if nothing came in time.
        """
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._size > offset or self._ended, deadline.remaining()
            ):
                raise deadline.error()
            end = self._size
        with self._path.open("rb") as file:
            file.seek(offset)
            return file.read(end - offset)

    def send(self, text: str | bytes) -> None:
        """Type text into the console; a newline ends a command."""
        self._spawn.send(text)

    def command(self, line: str, deadline: Deadline) -> str:
        """Run one command in the emergency shell and return its output.

        Kernel messages may be mixed in; the console is one channel.

        Raises:
            GuestLost: if QEMU closed the console meanwhile.
            DeadlineExpired: if no prompt came back in time.
        """
        start = self.size
        self.send("\n")
        prompt = re.escape(PROMPT)
        self.expect(prompt, deadline, start=start)
        start = self.size
        self.send(line + "\n")
        printed = self.expect(rf"(.*?){prompt}$", deadline, start=start).group(1)
        return printed.replace("\r\n", "\n").removeprefix(line).lstrip("\n")

    def wait_ended(self, deadline: Deadline) -> None:
        """Wait until QEMU has closed the console and every byte is in the log."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended, deadline.remaining()):
                raise deadline.error()

    def wait_quiet(self, seconds: float, deadline: Deadline) -> None:
        """Wait until nothing has come for so many seconds, or QEMU has closed the console.

        Raises:
            DeadlineExpired: if it was not quiet for so long by then.
        """
        with self._changed:
            while not self._ended:
                before = self._size
                if not self._changed.wait_for(
                    lambda before=before: self._size > before or self._ended,  # type: ignore[misc]
                    min(seconds, deadline.remaining()),
                ):
                    break
        deadline.check()

    def close(self) -> None:
        """Stop reading; calling it twice does nothing."""
        if self._log.closed:
            return
        self._stop()
        self._thread.join()
        self._log.close()

    def _stop(self) -> None:
        try:
            self._spawn.close()
        except OSError:
            return  # QEMU has closed it

    def _keep(self, chunk: bytes) -> bool:
        """Append to the log; return False if that failed, which ends the console.

        Called in the reading thread, so the error is kept for the thread that waits.
        """
        try:
            kept = 0
            while kept < len(chunk):  # a file system that fills up takes a part
                kept += self._log.write(chunk[kept:])
        except OSError as error:
            self._failure = no_space(error, self._path) or InfrastructureError(
                f"cannot write {self._path}: {error.strerror}"
            )
        with self._changed:
            self._size += kept
            self._changed.notify_all()
        return self._failure is None

    def _pump(self) -> None:
        while True:
            try:
                chunk = self._spawn.read_nonblocking(65536, timeout=None)
            except pexpect.TIMEOUT:
                continue
            except (pexpect.EOF, OSError):
                break
            if not self._keep(chunk):
                break
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._on_line(line.decode(errors="replace").rstrip("\r"))
            # QEMU writes a serial port byte by byte. Waiting for more bytes, instead of waking
            # for each, takes half a second off a boot of 1.2 s.
            time.sleep(_GATHER_SECONDS)
        if self._rest:
            self._on_line(self._rest.decode(errors="replace"))
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._on_end()


if TYPE_CHECKING:
    _TextSpawn = SpawnBase[str]
else:
    _TextSpawn = SpawnBase  # generic in the type stubs only


class _Follower(_TextSpawn):
    """pexpect over what the reading thread has kept, so that waiting does not consume text.

    It has its own deadline: pexpect uses wall-clock time, and expires at once when the clock is
    set ahead (seen with `hgm selfcheck inject`).
    """

    def __init__(self, console: Console, start: int, deadline: Deadline) -> None:
        super().__init__(timeout=None, maxread=65536, encoding="utf-8", codec_errors="replace")
        self._console = console
        self._offset = start
        self._deadline = deadline
        self._text = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read_nonblocking(self, size: int = 1, timeout: float | None = -1) -> str:
        """Return the next text as `pexpect.spawnbase.SpawnBase` wants it."""
        try:
            chunk = self._console.read_from(self._offset, self._deadline)
        except DeadlineExpired:
            raise pexpect.TIMEOUT("no more text in time") from None
        if not chunk:
            raise pexpect.EOF("the console has ended")
        self._offset += len(chunk)
        return self._text.decode(chunk)
