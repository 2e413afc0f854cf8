# SPDX-License-Identifier: GPL-2.0-only
"""The console against a socket that a test writes to."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, GuestLost, NoSpace
from harness.vm.console import PROMPT, Console


def soon(seconds: float = 5.0) -> Deadline:
    return Deadline.after(seconds, "the test")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_every_byte_is_kept_also_invalid_utf8(
    pair: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    data = bytes(range(256)) * 2048
    with closing(Console(pair[0], tmp_path / "log")) as console:
        writer = threading.Thread(target=pair[1].sendall, args=(data,))
        writer.start()
        writer.join()
        pair[1].close()
        console.wait_ended(soon())
    assert (tmp_path / "log").read_bytes() == data


def test_lines_are_handed_on_whole_whatever_the_chunks(
    pair: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    seen: list[str] = []
    with closing(Console(pair[0], tmp_path / "log", on_line=seen.append)) as console:
        for chunk in (b"one\r", b"\ntw", b"o\r\nthr", b"ee"):
            pair[1].sendall(chunk)
        pair[1].close()
        console.wait_ended(soon())
    assert seen == ["one", "two", "three"]


def test_waiting_for_text_finds_what_came_before_and_what_comes_later(
    pair: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    with closing(Console(pair[0], tmp_path / "log")) as console:
        pair[1].sendall(b"first 1\r\n")
        assert console.expect(r"first (\d)", soon()).group(1) == "1"
        later = threading.Timer(0.1, pair[1].sendall, args=(b"second 2\r\n",))
        later.start()
        assert console.expect(r"second (\d)", soon()).group(1) == "2"
        assert console.expect(r"first (\d)", soon()).group(1) == "1"  # nothing was eaten


def test_text_that_never_comes_is_waited_for_until_the_deadline(
    pair: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    with (
        closing(Console(pair[0], tmp_path / "log")) as console,
        pytest.raises(DeadlineExpired, match="the test took longer"),
    ):
        console.expect("never", soon(0.2))


def test_an_end_before_the_text_is_an_error_with_the_last_lines(
    pair: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    with closing(Console(pair[0], tmp_path / "log")) as console:
        pair[1].sendall(b"last words\r\n")
        pair[1].close()
        with pytest.raises(GuestLost) as caught:
            console.expect("never", soon())
    assert caught.value.console == ("last words",)


def test_a_later_console_appends_and_counts_from_there(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for text in (b"first guest\n", b"second guest\n"):
        ours, theirs = socket.socketpair()
        with closing(Console(ours, log)) as console:
            assert console.silent
            theirs.sendall(text)
            theirs.close()
            console.wait_ended(soon())
            assert console.text() == text.decode()
    assert log.read_bytes() == b"first guest\nsecond guest\n"


def test_the_emergency_shell_runs_a_command_and_returns_what_it_printed(
    pair: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    def shell() -> None:
        stream = pair[1].makefile("rwb", buffering=0)
        for line in stream:
            word = line.strip()
            pair[1].sendall(word + b"\r\n")  # the terminal's echo
            if word:
                pair[1].sendall(b"answer to " + word + b"\r\n")
            pair[1].sendall(PROMPT.encode())

    threading.Thread(target=shell, daemon=True).start()
    with closing(Console(pair[0], tmp_path / "log")) as console:
        assert console.command("uname -r", soon()) == "answer to uname -r\n"


def test_waiting_for_text_does_not_use_the_wall_clock(
    pair: tuple[socket.socket, socket.socket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = iter(range(0, 1000000, 3600))
    monkeypatch.setattr("time.time", lambda: float(next(hours)))
    with closing(Console(pair[0], tmp_path / "log")) as console:
        pair[1].sendall(b"first\r\n")
        later = threading.Timer(0.1, pair[1].sendall, args=(b"second\r\n",))
        later.start()
        assert console.expect("second", soon())
        later.join()


def test_a_console_that_cannot_be_written_ends_with_the_reason(
    pair: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    (tmp_path / "log").symlink_to("/dev/full")
    ended = threading.Event()
    with closing(Console(pair[0], tmp_path / "log", on_end=ended.set)) as console:
        pair[1].sendall(b"a word\r\n")
        with pytest.raises(NoSpace, match=r"no space left to write .*log"):
            console.expect("a word", soon())
        assert ended.wait(5.0)
        assert console.size == 0
