# SPDX-License-Identifier: GPL-2.0-only
"""Sessions that break off after a command has begun, with a paramiko server in the guest's place.

The thread that reads a socket learns of its end later than a call that writes to it. A writer that
fails as paramiko's own does holds that moment still.
"""

import contextlib
import io
import socket
import threading
from collections.abc import Iterator

import paramiko
import pytest

from harness.deadline import Deadline
from harness.errors import GuestLost
from harness.image.keys import make_keys
from harness.vm.ssh import Ssh
from harness.vm.wakeup import WakeupEvent

#: More than a tenth of paramiko's window: so much is acknowledged while it is read.
_MUCH = 1 << 20


class _Server(paramiko.ServerInterface):
    """Lets everybody in; a command is the number of bytes that it prints.

    Attributes:
        transport: what it serves.
        spoilt: whether it answers the next session with a text that is not UTF-8.
        may_end: whether a command may end; until then it has printed all.
    """

    def __init__(self, transport: paramiko.Transport) -> None:
        self.transport = transport
        self.spoilt = False
        self.may_end = threading.Event()
        self.may_end.set()

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.common.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if self.spoilt:
            self.transport._send_message(_refusal(chanid))  # type: ignore[attr-defined]
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._print, args=(channel, int(command))).start()
        return True

    def _print(self, channel: paramiko.Channel, count: int) -> None:
        with contextlib.suppress(OSError, EOFError):  # whoever asked may be gone
            channel.sendall(bytes(count))
            self.may_end.wait()
            channel.send_exit_status(0)
            channel.shutdown_write()


def _refusal(chanid: int) -> paramiko.Message:
    message = paramiko.Message()
    message.add_byte(paramiko.common.cMSG_CHANNEL_OPEN_FAILURE)
    message.add_int(chanid)
    message.add_int(paramiko.common.OPEN_FAILED_CONNECT_FAILED)
    message.add_string(b"\xff")
    message.add_string(b"en")
    return message


@contextlib.contextmanager
def _connected(stalled: int = 0) -> Iterator[tuple[Ssh, _Server]]:
    """Yield a session and its server, which says nothing on so many connections before."""
    ours, theirs = make_keys(), make_keys()
    listener = socket.create_server(("127.0.0.1", 0))
    servers: list[_Server] = []
    silent: list[socket.socket] = []

    def serve() -> None:
        silent.extend(listener.accept()[0] for _ in range(stalled))
        transport = paramiko.Transport(listener.accept()[0])
        servers.append(_Server(transport))
        transport.add_server_key(
            paramiko.ECDSAKey.from_private_key(io.StringIO(theirs.client_private))
        )
        transport.start_server(server=servers[0])

    accepting = threading.Thread(target=serve)
    accepting.start()
    died = WakeupEvent()
    session = Ssh(died)
    session.connect(
        listener.getsockname()[1],
        theirs.client_public,
        ours.client_private,
        Deadline.after(10, "the login"),
    )
    accepting.join()
    yield session, servers[0]
    servers[0].may_end.set()
    session.close()
    servers[0].transport.close()
    for each in silent:
        each.close()
    listener.close()
    died.close()


@pytest.fixture
def pair() -> Iterator[tuple[Ssh, _Server]]:
    with _connected() as both:
        yield both


@pytest.fixture
def ssh(pair: tuple[Ssh, _Server]) -> Ssh:
    return pair[0]


def _break(ssh: Ssh) -> None:
    def broken(_: bytes) -> None:
        raise EOFError

    assert ssh._transport is not None
    ssh._transport.packetizer.write_all = broken  # type: ignore[assignment,method-assign]


def test_a_connection_that_stalls_does_not_take_the_time_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.vm.ssh._ATTEMPT_SECONDS", 0.3)
    with _connected(stalled=2) as (session, _):
        assert session.run(["5"], Deadline.after(10, "the command")).stdout == "\0" * 5


def test_an_answer_is_whole_even_if_closing_the_channel_fails(ssh: Ssh) -> None:
    got = bytearray()

    def take(chunk: bytes) -> None:
        got.extend(chunk)
        _break(ssh)

    soon = Deadline.after(10, "a test")
    assert ssh.run(["7"], soon, on_stdout=take).exit_code == 0
    assert got == bytes(7)
    with pytest.raises(GuestLost, match="does not answer"):
        ssh.run(["7"], soon)


def test_output_that_cannot_be_acknowledged_means_that_the_guest_is_lost(
    pair: tuple[Ssh, _Server],
) -> None:
    ssh, server = pair
    server.may_end.clear()  # nothing is acknowledged once the end is known
    got = bytearray()

    def take(chunk: bytes) -> None:
        got.extend(chunk)
        _break(ssh)

    with pytest.raises(GuestLost, match="the SSH connection to the guest broke: EOFError"):
        ssh.run([str(_MUCH)], Deadline.after(10, "a test"), on_stdout=take)
    assert 0 < len(got) < _MUCH


def test_errors_of_an_output_callback_are_passed_on(ssh: Ssh) -> None:
    def take(chunk: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        ssh.run(["7"], Deadline.after(10, "a test"), on_stdout=take)


def test_an_invalid_answer_of_ssh_means_that_the_guest_is_lost(pair: tuple[Ssh, _Server]) -> None:
    ssh, server = pair
    server.spoilt = True
    with pytest.raises(GuestLost, match="does not answer: 'utf-8' codec"):
        ssh.run(["7"], Deadline.after(10, "a test"))
