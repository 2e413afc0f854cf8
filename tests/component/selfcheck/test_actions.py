# SPDX-License-Identifier: GPL-2.0-only
"""Injecting faults into another process, here a small Python program."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.arch import Arch, arches
from harness.errors import InfrastructureError
from harness.selfcheck.injection import actions


@pytest.fixture
def reader() -> Iterator[tuple[subprocess.Popen[bytes], socket.socket, int]]:
    """Yield a process that prints what it reads from a socket, our end, and its descriptor."""
    ours, theirs = socket.socketpair()
    program = "import socket, sys; s = socket.socket(fileno=int(sys.argv[1]))\n"
    program += "try: print(s.recv(100))\nexcept OSError as e: print(type(e).__name__)"
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdout=subprocess.PIPE,
            env={**os.environ, actions.MARK: "component-test"},
        )
        number = theirs.fileno()
        theirs.close()
        try:
            yield process, ours, number
        finally:
            process.kill()
            process.communicate()


Reader = tuple[subprocess.Popen[bytes], socket.socket, int]


def test_processes_are_found_by_their_mark(reader: Reader) -> None:
    assert reader[0].pid in actions.marked("component-test")
    assert actions.marked("component-tes") == {}
    with pytest.raises(actions.Missed, match="no QEMU"):
        actions.qemu("component-test")


@pytest.mark.parametrize("guest", arches().values(), ids=list(arches()))
def test_the_qemu_of_a_run_is_found(guest: Arch, tmp_path: Path) -> None:
    program = tmp_path / guest.qemu
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"], env={actions.MARK: guest.name}) as process:
        try:
            assert actions.qemu(guest.name) == process.pid
        finally:
            process.kill()


def test_a_socket_is_found_from_its_other_end_and_shut_down(reader: Reader) -> None:
    process, ours, number = reader
    assert actions.far_end(process.pid, number, os.getpid()) == ours.fileno()
    with pytest.raises(actions.Missed, match="not connected"):
        actions.far_end(process.pid, number, process.pid)
    with actions.borrowed(process.pid, number) as sock:
        sock.shutdown(socket.SHUT_RDWR)
    assert process.communicate(timeout=10)[0] == b"b''\n"


def test_data_sent_through_a_borrowed_socket_reaches_the_other_end(reader: Reader) -> None:
    process, _, number = reader
    with actions.borrowed(os.getpid(), actions.far_end(process.pid, number, os.getpid())) as sock:
        sock.send(b"[")
    assert process.communicate(timeout=10)[0] == b"b'['\n"


def test_a_process_that_has_ended_is_missed(reader: Reader) -> None:
    process, _, number = reader
    process.kill()
    process.wait()
    with pytest.raises(actions.Missed), actions.borrowed(process.pid, number):
        pass
    with pytest.raises(actions.Missed):
        actions.send(process.pid, signal.SIGTERM)
    with pytest.raises(actions.Missed):
        actions.channel(process.pid, "qmp")


def test_a_tcp_connection_is_reset() -> None:
    program = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
    program += "s.sendall(b'x')\ntry: print(s.recv(100))\nexcept OSError as e: print(e)"
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(server.getsockname()[1])], stdout=subprocess.PIPE
        )
        with server.accept()[0] as accepted:
            assert accepted.recv(1) == b"x"
            actions.reset_ssh(process.pid)
            output = process.communicate(timeout=10)[0]
            assert b"x" not in output
            with pytest.raises(actions.Missed):
                actions.reset_ssh(process.pid)


def test_a_file_is_truncated_to_half(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with pytest.raises(actions.Missed):
        actions.cut_file(path)
    path.write_bytes(bytes(100))
    actions.cut_file(path)
    assert path.stat().st_size == 50


def test_a_bit_is_flipped_outside_of_the_holes(tmp_path: Path) -> None:
    path = tmp_path / "memory0"
    with path.open("wb") as file:
        file.seek(1 << 20)
        file.write(b"ab")
    actions.flip_bit(path)
    assert path.read_bytes() == bytes(1 << 20) + b"`b"


def test_the_wall_clock_jumps_and_monotonic_clocks_do_not(tmp_path: Path) -> None:
    offset = tmp_path / "clock"
    env = actions.clock_environment(actions.clock_library(tmp_path), offset)
    program = "import time\nfor _ in range(2):\n"
    program += " print(time.time(), time.monotonic(), flush=True); time.sleep(.01); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        seen = []
        for jump in (86400, 0):
            seen.append([float(word) for word in process.stdout.readline().split()])
            actions.set_clock(offset, jump)
            process.stdin.write(b"\n")
            process.stdin.flush()
    assert abs(seen[0][0] - time.time()) < 3600
    assert seen[1][0] - seen[0][0] > 86000
    assert seen[1][1] - seen[0][1] < 3600


@pytest.mark.skipif(bool(actions.no_small_disk()), reason=actions.no_small_disk())
def test_a_small_disk_is_full_inside_and_invisible_outside(tmp_path: Path) -> None:
    with actions.small_disk(tmp_path, 1 << 20) as holder:
        inside = actions.inside(holder, tmp_path)
        actions.fill(inside / "filler")
        with pytest.raises(OSError, match="No space left"):
            (inside / "more").write_bytes(b"x")
        assert list(tmp_path.iterdir()) == []
        assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert not inside.exists()
    with pytest.raises(InfrastructureError), actions.small_disk(tmp_path / "absent", 1):
        pass
