# SPDX-License-Identifier: GPL-2.0-only
"""What a session that breaks off becomes before a command has begun."""

import shlex
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest

from harness.deadline import Deadline
from harness.errors import GuestLost
from harness.vm.ssh import Ssh


class _Channel:
    """A channel that breaks off, as paramiko says it, when it is asked for one thing."""

    def __init__(self, breaks: str, error: Exception) -> None:
        self._breaks = breaks
        self._error = error
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def ask(*_: object) -> None:
            self.asked.append(name)
            if name == self._breaks:
                raise self._error

        return ask


@pytest.mark.parametrize(
    ("breaks", "error", "said"),
    [
        # The guest was off before its server had said that poweroff began.
        ("exec_command", EOFError(), "broke: EOFError"),
        ("exec_command", ConnectionResetError(104, "reset"), "broke: .*reset"),
        ("exec_command", paramiko.SSHException("Channel closed."), "broke: Channel closed."),
        ("sendall", OSError("Socket is closed"), "broke: Socket is closed"),
        ("shutdown_write", EOFError(), "broke: EOFError"),
    ],
)
def test_a_broken_session_means_that_the_guest_is_lost(
    breaks: str, error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = Ssh(SimpleNamespace(rung=False))  # type: ignore[arg-type]
    channel = _Channel(breaks, error)
    monkeypatch.setattr(ssh, "_opened", lambda _: channel)
    with pytest.raises(GuestLost, match=said):
        ssh.run(shlex.split("poweroff -f"), Deadline.after(1, "a test"), stdin=b"x")
    assert channel.asked[-2:] == [breaks, "close"]
