# SPDX-License-Identifier: GPL-2.0-only
"""SSH into the guest through paramiko: commands, files, exit codes, deadlines.

The guest's only network is one loopback port of the host. Its host key is made for the run and
pinned, and so is the only key that can log in; there are no passwords.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import selectors
import shlex
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import tenacity

from harness.deadline import Deadline
from harness.errors import CommandFailed, GuestLost, HarnessError, SshUnreachable
from harness.vm.wakeup import WakeupEvent

# paramiko imports invoke, which takes half as long as paramiko itself, for `Match exec` in an
# ssh_config alone; where invoke is missing it does without.
_LEFT_OUT = sys.modules.setdefault("invoke", None) is None  # type: ignore[arg-type]
try:
    import paramiko
finally:
    if _LEFT_OUT:
        del sys.modules["invoke"]

_CHUNK = 65536
_POLL_SECONDS = 0.05
_TERMINAL_SECONDS = 20.0

# The first attempt to log in gets so long, each further one twice as long: a connection of which a
# packet was lost must not take the time of all, and a slow guest needs time for one.
_ATTEMPT_SECONDS = 8.0

#: How a connection usually fails. A hostile guest can make paramiko's thread fail in other ways,
#: such as with UnicodeDecodeError, and the next call raises that: hence `except Exception`.
_BROKEN = (OSError, EOFError, paramiko.SSHException)

# Errors reach the caller as exceptions; paramiko would print tracebacks as well.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class MovableDeadline(Protocol):
    """A deadline that may move while a command runs."""

    def fileno(self) -> int:
        """Return a file descriptor that becomes readable when the deadline has moved."""

    def current(self) -> Deadline:
        """Return the deadline as it is now; one that has expired ends the command."""


@dataclass(frozen=True)
class CommandOutput:
    """The result of a command in the guest.

    Attributes:
        exit_code: 0..255; 128 + N where signal N ended it.
        stdout: decoded, undecodable bytes replaced; empty where a callback took it.
        stderr: the same.
    """

    exit_code: int
    stdout: str
    stderr: str


class Ssh:
    """A session with the guest's SSH server.

    Args:
        died: set when the guest is known to be dead, so that no call waits for it.
    """

    def __init__(self, died: WakeupEvent) -> None:
        self._died = died
        self._transport: paramiko.Transport | None = None
        self._login_arguments: tuple[int, str, paramiko.PKey] | None = None

    def connect(self, port: int, host_key: str, client_key: str, deadline: Deadline) -> None:
        """Connect, check the host key and log in as root.

        Args:
            port: the loopback port that leads to the guest.
            host_key: the only host key to accept, as an OpenSSH public key without comment.
            client_key: the private key that logs in, of ECDSA, as OpenSSH's PEM.
            deadline: when the login must have succeeded.

        Raises:
            SshUnreachable: if no server answered in time, or its host key is another.
        """
        retry = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_BROKEN),
            wait=tenacity.wait_fixed(0.05),
            stop=lambda _: deadline.expired() or self._died.is_set(),
            reraise=True,
        )
        key = paramiko.ECDSAKey.from_private_key(io.StringIO(client_key))
        self._login_arguments = (port, host_key, key)
        seconds = _ATTEMPT_SECONDS
        try:
            for attempt in retry:
                with attempt:
                    limit = deadline.within(seconds, "an attempt to log in")
                    seconds *= 2
                    self._transport = self._login(port, host_key, key, limit)
        except SshUnreachable:
            raise
        except Exception as error:  # noqa: BLE001 - see _BROKEN
            raise SshUnreachable(
                f"no SSH login within {deadline.seconds:g} s: {error or type(error).__name__}",
                hint="serial.log shows how far the guest's init got",
            ) from None

    def run(
        self,
        argv: Sequence[str],
        deadline: Deadline | MovableDeadline,
        *,
        stdin: bytes = b"",
        on_stdout: Callable[[bytes], object] | None = None,
        on_stderr: Callable[[bytes], object] | None = None,
        check: bool = False,
    ) -> CommandOutput:
        """Run a command in the guest.

        Args:
            argv: the command; each word reaches it unchanged.
            deadline: when it must have ended. The command itself is not killed then; the guest
                is, by the caller.
            stdin: what it reads.
            on_stdout: takes standard output as it comes, instead of the answer.
            on_stderr: the same for standard error.
            check: raise CommandFailed on any exit code but 0.

        Raises:
            DeadlineExpired: if it did not end in time.
            GuestLost: if the guest died or stopped answering.
            CommandFailed: if ``check`` and it failed.
        """
        out, err = bytearray(), bytearray()
        limit = _Fixed(deadline) if isinstance(deadline, Deadline) else deadline
        with self._session(limit.current()) as channel:
            _start(channel, argv, stdin, limit)
            self._drain(channel, on_stdout or out.extend, on_stderr or err.extend, limit)
            code = channel.recv_exit_status() if channel.exit_status_ready() else -1
        if code < 0:
            raise GuestLost(f"the connection ended before the exit code of {shlex.join(argv)}")
        answer = CommandOutput(code, out.decode(errors="replace"), err.decode(errors="replace"))
        if check and code != 0:
            said = (answer.stderr or answer.stdout).strip().splitlines()
            raise CommandFailed(
                f"in the guest, {shlex.join(argv)} ended with exit code {code}: "
                f"{said[-1] if said else 'no output'}",
                command=argv,
            )
        return answer

    def put(self, data: bytes, path: str, deadline: Deadline, *, mode: int = 0o644) -> None:
        """Write a file in the guest; it appears whole or not at all."""
        part = f"{path}.part"
        self.run(["dd", f"of={part}", "bs=64k"], deadline, stdin=data, check=True)
        self.run(["chmod", f"{mode:o}", part], deadline, check=True)
        self.run(["mv", part, path], deadline, check=True)

    def get(self, path: str, deadline: Deadline) -> bytes:
        """Return the bytes of a file in the guest.

        Raises:
            CommandFailed: if it cannot be read.
        """
        data = bytearray()
        self.run(["cat", path], deadline, on_stdout=data.extend, check=True)
        return bytes(data)

    @contextlib.contextmanager
    def shell(self, terminal: tuple[int, int] | None) -> Iterator[paramiko.Channel]:
        """Yield a channel with a login shell; use it within `as_guest_lost`.

        Args:
            terminal: columns and lines of the shell's terminal; None for a shell that has none, but
                ends with its input, and whose standard error goes where its output goes.

        Raises:
            GuestLost: if the guest does not open one.
        """
        with self._session(Deadline.after(_TERMINAL_SECONDS, "the terminal")) as channel:
            with as_guest_lost():
                if terminal is None:
                    channel.set_combine_stderr(True)
                else:
                    channel.get_pty(os.environ.get("TERM", "vt100"), *terminal)
                channel.invoke_shell()
            yield channel

    def close(self) -> None:
        """End the session; calling it twice does nothing."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def accepts_new_connection(self, deadline: Deadline) -> bool:
        """Return whether the guest accepts another connection.

        If it does, a broken session is not the guest's fault. The session itself stays broken.
        """
        if self._login_arguments is None or self._died.is_set():
            return False
        try:
            self._login(*self._login_arguments, deadline).close()
        except Exception:  # noqa: BLE001 - see _BROKEN
            return False
        return True

    def _login(
        self, port: int, host_key: str, client_key: paramiko.PKey, deadline: Deadline
    ) -> paramiko.Transport:
        with contextlib.ExitStack() as undo:
            sock = socket.create_connection(
                ("127.0.0.1", port), timeout=max(0.001, deadline.remaining())
            )
            undo.callback(sock.close)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport = paramiko.Transport(sock)
            undo.callback(transport.close)
            _offer_cheapest_algorithms(transport)
            transport.banner_timeout = deadline.remaining()
            transport.auth_timeout = deadline.remaining()
            transport.start_client(timeout=max(0.001, deadline.remaining()))
            shown = transport.get_remote_server_key()
            if f"{shown.get_name()} {shown.get_base64()}" != host_key:
                raise SshUnreachable("the guest's host key is not the one made for this run")
            transport.auth_publickey("root", client_key)
            undo.pop_all()
            return transport

    @contextlib.contextmanager
    def _session(self, deadline: Deadline) -> Iterator[paramiko.Channel]:
        channel = self._opened(deadline)
        try:
            yield channel
        finally:
            # It sends a message to the guest, which may be gone; its output is here already.
            with contextlib.suppress(*_BROKEN):
                channel.close()

    def _opened(self, deadline: Deadline) -> paramiko.Channel:
        if self._transport is None or self._died.is_set():
            raise GuestLost("the guest is dead")
        while True:
            try:
                return self._transport.open_session(timeout=max(0.001, deadline.remaining()))
            except Exception as error:  # noqa: BLE001 - see _BROKEN
                # paramiko uses wall-clock time, which may have been set ahead.
                early = str(error) == "Timeout opening channel." and not deadline.expired()
                if not (early and self._transport.is_active()):
                    raise GuestLost(f"the guest's SSH server does not answer: {error}") from None

    def _drain(
        self,
        channel: paramiko.Channel,
        on_stdout: Callable[[bytes], object],
        on_stderr: Callable[[bytes], object],
        limit: MovableDeadline,
    ) -> None:
        """Pass on both streams until the command has ended, the guest died or time is up."""
        deadline = limit.current()
        with selectors.DefaultSelector() as selector:
            selector.register(channel, selectors.EVENT_READ)
            selector.register(self._died, selectors.EVENT_READ)
            if limit.fileno() >= 0:
                selector.register(limit, selectors.EVENT_READ)
            while not (channel.eof_received or channel.closed):
                ready = [key.fileobj for key, _ in selector.select(timeout=deadline.remaining())]
                _pass_on(channel, on_stdout, on_stderr)
                if limit in ready:
                    selector.unregister(limit)
                if limit in ready or deadline.expired():
                    deadline = limit.current()
                self._check(deadline)
        # The exit code may come after the end of the streams, and wakes no file descriptor.
        while not (channel.status_event.wait(timeout=_POLL_SECONDS) or channel.closed):
            self._check(deadline)
        _pass_on(channel, on_stdout, on_stderr)

    def _check(self, deadline: Deadline) -> None:
        if self._died.is_set():
            raise GuestLost("the guest died")
        deadline.check()


@contextlib.contextmanager
def as_guest_lost() -> Iterator[None]:
    """Turn any failure of the connection into `GuestLost`.

    Raises:
        GuestLost: if the connection failed.
    """
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:  # noqa: BLE001 - see _BROKEN
        why = str(error) or type(error).__name__
        raise GuestLost(f"the SSH connection to the guest broke: {why}") from None


def _start(
    channel: paramiko.Channel, argv: Sequence[str], stdin: bytes, limit: MovableDeadline
) -> None:
    """Start a command and send its standard input."""
    with as_guest_lost():
        # SSH has no argv: the remote shell gets one line, each word quoted.
        channel.exec_command(shlex.join(argv))
        if stdin:
            channel.settimeout(max(0.001, limit.current().remaining()))
            try:
                channel.sendall(stdin)
            except TimeoutError:
                raise limit.current().error() from None
        channel.shutdown_write()


@dataclass(frozen=True)
class _Fixed:
    """A deadline that does not move."""

    deadline: Deadline

    def fileno(self) -> int:
        return -1

    def current(self) -> Deadline:
        return self.deadline


def _offer_cheapest_algorithms(transport: paramiko.Transport) -> None:
    """Offer only the algorithms that are fastest on an emulated CPU (measured under TCG)."""
    options = transport.get_security_options()
    options.kex = ("curve25519-sha256@libssh.org",)
    options.ciphers = ("aes128-ctr",)
    options.digests = ("hmac-sha2-256",)


def _pass_on(
    channel: paramiko.Channel,
    on_stdout: Callable[[bytes], object],
    on_stderr: Callable[[bytes], object],
) -> None:
    # Reading sends acknowledgements, so it can fail as the connection does; the errors of the
    # callbacks, such as a full disk, are their own.
    while channel.recv_ready():
        with as_guest_lost():
            chunk = channel.recv(_CHUNK)
        on_stdout(chunk)
    while channel.recv_stderr_ready():
        with as_guest_lost():
            chunk = channel.recv_stderr(_CHUNK)
        on_stderr(chunk)
