# SPDX-License-Identifier: GPL-2.0-only
"""A session with a gdb server that answers as QEMU 7.2 does."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from harness.arch import arch
from harness.command import Process
from harness.deadline import Deadline
from harness.errors import DeadlineExpired, QemuError
from harness.vm.gdbstub import GdbStub
from harness.vm.memory import GuestMemory
from harness.vm.qmp import Qmp

FILE = "system-registers.xml"
XML = (
    '<reg name="TTBR0_EL1" bitsize="64" regnum="171" group="cp_regs"/>'
    + '<reg name="OTHER" bitsize="32" regnum="172" group="cp_regs"/>' * 40
    + '<reg name="TCR_EL1" bitsize="64" regnum="174" group="cp_regs"/>'
)


class Server:
    """Listens at ``path``; a session that has not asked for target.xml gets empty registers."""

    def __init__(self, path: Path, values: dict[tuple[int, int], int], silent: bool) -> None:
        self.path, self._values, self._silent = path, values, silent
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                self._session(client)

    def _session(self, client: socket.socket) -> None:
        described, cpu, received = False, 0, b""
        while data := client.recv(4096):
            received += data
            while found := re.search(rb"\$([^#]*)#..", received):
                received = received[found.end() :]
                request = found[1].decode()
                answer = ""
                if request.startswith("qXfer:features:read:target.xml"):
                    described, answer = True, "l<target/>"
                elif part := re.fullmatch(rf"qXfer:.*:{FILE}:([0-9a-f]+),([0-9a-f]+)", request):
                    start, length = (int(each, 16) for each in part.groups())
                    more = "m" if start + length < len(XML) else "l"
                    answer = more + XML[start : start + length]
                elif request.startswith("qXfer"):
                    answer = "E00"
                elif request.startswith("Hg"):
                    cpu = int(request[2:], 16) - 1
                    answer = "OK" if cpu < 2 else "E22"
                elif described:
                    value = self._values.get((cpu, int(request[1:], 16)))
                    answer = "E14" if value is None else value.to_bytes(8, "little").hex()
                if not self._silent:
                    client.sendall(f"+${answer}#{sum(answer.encode()) % 256:02x}".encode())


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    silent = getattr(request, "param", False)
    made = Server(tmp_path / "gdb", {(0, 171): 0x41A91000, (1, 171): 2**63 + 5}, silent)
    yield made
    made.close()


def session(server: Server, seconds: float = 10) -> GdbStub:
    return GdbStub(server.path, Deadline.after(seconds, "gdb's server"))


def test_registers_of_each_vcpu_in_each_session(server: Server) -> None:
    for _ in range(2):
        with contextlib.closing(session(server)) as stub:
            numbers = stub.numbers(FILE, ["TTBR0_EL1", "TCR_EL1"])
            assert numbers == {"TTBR0_EL1": 171, "TCR_EL1": 174}
            assert [stub.read(cpu, 171) for cpu in (0, 1)] == [0x41A91000, 2**63 + 5]


class Monitor:
    """QEMU's monitor, which starts the gdb server on request."""

    def __init__(self) -> None:
        self.servers: list[Server] = []

    def execute(self, command: str, arguments: dict[str, object], **_: object) -> str:
        line = str(arguments["command-line"])
        if line == "info registers":
            return " PC=ffff8000101c7a44 X00=0000000000000000\r\nPSTATE=80000000 N--- EL0t\r\n"
        path = line.removeprefix("gdbserver unix:").partition(",")[0]
        values = {(1, 171): 0x41A91000, (1, 174): 0x10}
        self.servers.append(Server(Path(path), values, silent=False))
        return ""


def test_the_registers_of_a_vcpu_are_those_of_the_monitor_and_of_the_server() -> None:
    monitor = Monitor()
    memory = GuestMemory(cast(Process, None), cast(Qmp, monitor), arch("arm64"))
    with contextlib.closing(memory):
        for _ in range(2):
            found = memory.registers(1, Deadline.after(10, "registers"))
            assert (found.root, found.levels, found.user) == (0x41A91000, 4, True)
    assert len(monitor.servers) == 1
    monitor.servers[0].close()


def test_what_the_server_does_not_have_is_an_error(server: Server) -> None:
    with contextlib.closing(session(server)) as stub:
        with pytest.raises(QemuError, match="no register OTHER"):
            stub.numbers(FILE, ["OTHER"])
        with pytest.raises(QemuError, match=r"has no other\.xml"):
            stub.numbers("other.xml", ["TTBR0_EL1"])
        with pytest.raises(QemuError, match="register 174 of vCPU 0"):
            stub.read(0, 174)
        with pytest.raises(QemuError, match="register 171 of vCPU 2"):
            stub.read(2, 171)


@pytest.mark.parametrize("server", [True], indirect=True)
def test_a_silent_server_costs_the_deadline(server: Server) -> None:
    with pytest.raises(DeadlineExpired):
        session(server, seconds=0.2)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(QemuError, match="cannot reach QEMU's gdb server"):
        GdbStub(tmp_path / "absent", Deadline.after(5, "gdb's server"))
