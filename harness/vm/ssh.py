# SPDX-License-Identifier: GPL-2.0-only
"""SSH into the guest through paramiko: run, copy, exit codes, both streams apart, deadlines.

The guest's only network is one loopback port of the host. Its host key was made for this run and
is pinned; the only key that logs in was made for this run too; there are no passwords.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import selectors
import shlex
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import paramiko
import tenacity

from harness.deadline import Deadline
from harness.errors import CommandFailed, GuestLost, HarnessError, SshUnreachable
from harness.vm.wakeup import WakeupEvent

_CHUNK = 65536
_POLL_SECONDS = 0.05
_TERMINAL_SECONDS = 20.0

#: How a connection ends that nobody spoils. What a guest can send to stop paramiko's thread has no
#: bounds (UnicodeDecodeError for one), and whatever did so is raised by the next call.
_BROKEN = (OSError, EOFError, paramiko.SSHException)

# What goes wrong reaches the caller as an error; paramiko's tracebacks would go to standard error.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class MovableDeadline(Protocol):
    """How long a command may take, where that depends on what happens meanwhile."""

    def fileno(self) -> int:
        """Return a file descriptor that becomes readable when the deadline has moved."""

    def current(self) -> Deadline:
        """Return the deadline as it is now; one that has expired ends the command."""


@dataclass(frozen=True)
class CommandOutput:
    """What a command in the guest answered.

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
        died: rung when the guest is known to be dead, so that no call waits for it in vain.
    """

    def __init__(self, died: WakeupEvent) -> None:
        self._died = died
        self._transport: paramiko.Transport | None = None
        self._way: tuple[int, str, paramiko.PKey] | None = None

    def connect(self, port: int, host_key: str, client_key: str, deadline: Deadline) -> None:
        """Connect, check the host key and log in as root.

        Args:
            port: the loopback port that leads to the guest.
            host_key: the only host key to accept, as an OpenSSH public key without comment.
            client_key: the private key that logs in, as OpenSSH's PEM.
            deadline: when the login must have succeeded.

        Raises:
            SshUnreachable: if no server answered in time, or another host key came.
        """
        retry = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_BROKEN),
            wait=tenacity.wait_fixed(0.05),
            stop=lambda _: deadline.expired() or self._died.is_set(),
            reraise=True,
        )
        key = paramiko.Ed25519Key.from_private_key(io.StringIO(client_key))
        self._way = (port, host_key, key)
        try:
            self._transport = retry(self._login, *self._way, deadline)
        except SshUnreachable:
            raise
        except Exception as error:  # noqa: BLE001 - see _BROKEN
            raise SshUnreachable(
                f"no SSH login within {deadline.seconds:g} s: {error or type(error).__name__}",
                hint="the console log shows how far the guest's init came",
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
            deadline: when it must have ended, or what knows. The command is not ended by it; the
                guest is.
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
        patience = _Fixed(deadline) if isinstance(deadline, Deadline) else deadline
        with self._session(patience.current()) as channel:
            _start(channel, argv, stdin, patience)
            self._drain(channel, on_stdout or out.extend, on_stderr or err.extend, patience)
            code = channel.recv_exit_status() if channel.exit_status_ready() else -1
        if code < 0:
            raise GuestLost(f"the guest gave no exit code for {shlex.join(argv)}")
        answer = CommandOutput(code, out.decode(errors="replace"), err.decode(errors="replace"))
        if check and code != 0:
            said = (answer.stderr or answer.stdout).strip().splitlines()
            raise CommandFailed(
                f"in the guest, {shlex.join(argv)} ended with exit code {code}: "
                f"{said[-1] if said else 'it said nothing'}",
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
    def terminal(self, columns: int, lines: int) -> Iterator[paramiko.Channel]:
        """Yield a channel with a login shell on a terminal of that size.

        What is asked of the channel is to be asked within `as_guest_lost`.

        Raises:
            GuestLost: if the guest gave none.
        """
        with self._session(Deadline.after(_TERMINAL_SECONDS, "the terminal")) as channel:
            with as_guest_lost():
                channel.get_pty(os.environ.get("TERM", "vt100"), columns, lines)
                channel.invoke_shell()
            yield channel

    def close(self) -> None:
        """End the session; calling it twice does nothing."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def accepts_new_connection(self, deadline: Deadline) -> bool:
        """Return whether the guest lets us in over another connection.

        If it does, a session that broke off says something about its connection and nothing about
        the guest. The session itself stays broken.
        """
        if self._way is None or self._died.is_set():
            return False
        try:
            self._login(*self._way, deadline).close()
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
            _ask_for_the_cheapest(transport)
            transport.banner_timeout = deadline.remaining()
            transport.auth_timeout = deadline.remaining()
            transport.start_client(timeout=max(0.001, deadline.remaining()))
            shown = transport.get_remote_server_key()
            if f"{shown.get_name()} {shown.get_base64()}" != host_key:
                raise SshUnreachable("the guest showed a host key that is not the one we made")
            transport.auth_publickey("root", client_key)
            undo.pop_all()
            return transport

    @contextlib.contextmanager
    def _session(self, deadline: Deadline) -> Iterator[paramiko.Channel]:
        channel = self._opened(deadline)
        try:
            yield channel
        finally:
            # It takes leave of the guest, which may be gone: what was to be had of it is here.
            with contextlib.suppress(*_BROKEN):
                channel.close()

    def _opened(self, deadline: Deadline) -> paramiko.Channel:
        if self._transport is None or self._died.is_set():
            raise GuestLost("the guest is gone")
        while True:
            try:
                return self._transport.open_session(timeout=max(0.001, deadline.remaining()))
            except Exception as error:  # noqa: BLE001 - see _BROKEN
                # paramiko counts on the clock on the wall, which may have been set ahead.
                early = str(error) == "Timeout opening channel." and not deadline.expired()
                if not (early and self._transport.is_active()):
                    raise GuestLost(f"the guest's SSH server does not answer: {error}") from None

    def _drain(
        self,
        channel: paramiko.Channel,
        on_stdout: Callable[[bytes], object],
        on_stderr: Callable[[bytes], object],
        patience: MovableDeadline,
    ) -> None:
        """Hand on both streams until the command has ended, the guest died or time is up."""
        deadline = patience.current()
        with selectors.DefaultSelector() as selector:
            selector.register(channel, selectors.EVENT_READ)
            selector.register(self._died, selectors.EVENT_READ)
            if patience.fileno() >= 0:
                selector.register(patience, selectors.EVENT_READ)
            while not (channel.eof_received or channel.closed):
                ready = [key.fileobj for key, _ in selector.select(timeout=deadline.remaining())]
                _hand_on(channel, on_stdout, on_stderr)
                if patience in ready:
                    selector.unregister(patience)
                if patience in ready or deadline.expired():
                    deadline = patience.current()
                self._check(deadline)
        # The exit code may come after the end of the streams, and rings no file descriptor.
        while not (channel.status_event.wait(timeout=_POLL_SECONDS) or channel.closed):
            self._check(deadline)
        _hand_on(channel, on_stdout, on_stderr)

    def _check(self, deadline: Deadline) -> None:
        if self._died.is_set():
            raise GuestLost("the guest died")
        deadline.check()


@contextlib.contextmanager
def as_guest_lost() -> Iterator[None]:
    """Say of a connection that ends meanwhile that the guest is lost.

    Raises:
        GuestLost: if it ended.
    """
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:  # noqa: BLE001 - see _BROKEN
        why = str(error) or type(error).__name__
        raise GuestLost(f"the connection to the guest broke off: {why}") from None


def _start(
    channel: paramiko.Channel, argv: Sequence[str], stdin: bytes, patience: MovableDeadline
) -> None:
    """Start a command and give it its input."""
    with as_guest_lost():
        # The one string there is: SSH hands the remote shell a line, quoted word by word.
        channel.exec_command(shlex.join(argv))
        if stdin:
            channel.settimeout(max(0.001, patience.current().remaining()))
            try:
                channel.sendall(stdin)
            except TimeoutError:
                raise patience.current().error() from None
        channel.shutdown_write()


@dataclass(frozen=True)
class _Fixed:
    """A deadline that does not move."""

    deadline: Deadline

    def fileno(self) -> int:
        return -1

    def current(self) -> Deadline:
        return self.deadline


def _ask_for_the_cheapest(transport: paramiko.Transport) -> None:
    """Offer only what an emulated CPU does fastest; measured against dropbear under TCG."""
    options = transport.get_security_options()
    options.kex = ("curve25519-sha256@libssh.org",)
    options.ciphers = ("aes128-ctr",)
    options.digests = ("hmac-sha2-256",)


def _hand_on(
    channel: paramiko.Channel,
    on_stdout: Callable[[bytes], object],
    on_stderr: Callable[[bytes], object],
) -> None:
    # What is read is acknowledged now and then, so that reading can break off as well; what takes
    # the bytes may have troubles of its own, a full disk for one.
    while channel.recv_ready():
        with as_guest_lost():
            chunk = channel.recv(_CHUNK)
        on_stdout(chunk)
    while channel.recv_stderr_ready():
        with as_guest_lost():
            chunk = channel.recv_stderr(_CHUNK)
        on_stderr(chunk)
