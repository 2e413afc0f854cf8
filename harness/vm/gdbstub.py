# SPDX-License-Identifier: GPL-2.0-only
"""Registers that only QEMU's gdb server shows, such as arm64's TTBR0_EL1.

The protocol is that of gdb's manual, appendix E ("gdb Remote Serial Protocol"). A session is opened
on a stopped guest, asks, and closes: the guest stays stopped, and goes on by QMP.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import QemuError

_PACKET = re.compile(rb"\$([^#]*)#[0-9a-f]{2}")
_REGISTER = re.compile(rb'<reg name="(\w+)" bitsize="64" regnum="(\d+)"')
_CHUNK = 0x800


class GdbStub:
    """A session with QEMU's gdb server.

    Args:
        path: of its socket.
        deadline: for all that is asked.

    Raises:
        QemuError: if it cannot be reached.
    """

    def __init__(self, path: Path, deadline: Deadline) -> None:
        self._deadline = deadline
        self._socket = socket.socket(socket.AF_UNIX)
        self._received = b""
        self._socket.settimeout(deadline.remaining())
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise QemuError(f"cannot reach QEMU's gdb server: {error.strerror}") from None
        # A session that has not asked for the description is shown the first few registers only.
        self._ask("qXfer:features:read:target.xml:0,ffb")

    def close(self) -> None:
        """End the session."""
        self._socket.close()

    def numbers(self, file: str, names: Iterable[str]) -> dict[str, int]:
        """Return the number of each register of 64 bits.

        Args:
            file: of the target description, in which they are.
            names: of the registers.

        Raises:
            QemuError: if QEMU does not have one.
        """
        text, more = b"", True
        while more:
            part = self._ask(f"qXfer:features:read:{file}:{len(text):x},{_CHUNK:x}")
            if part[:1] not in (b"m", b"l"):
                raise QemuError(f"QEMU's gdb server has no {file}")
            text, more = text + part[1:], part[:1] == b"m"
        known = {name.decode(): int(number) for name, number in _REGISTER.findall(text)}
        lacking = [name for name in names if name not in known]
        if lacking:
            raise QemuError(f"QEMU's gdb server has no register {lacking[0]}")
        return {name: known[name] for name in names}

    def read(self, cpu: int, number: int) -> int:
        """Return a register of 64 bits of a vCPU.

        Raises:
            QemuError: if QEMU does not have that vCPU or register.
        """
        chosen = self._ask(f"Hg{cpu + 1:x}")
        answer = self._ask(f"p{number:x}")
        try:
            if chosen != b"OK" or len(answer) != 16:
                raise ValueError
            return int.from_bytes(bytes.fromhex(answer.decode()), "little")
        except ValueError:
            raise QemuError(
                f"QEMU's gdb server does not show register {number} of vCPU {cpu}"
            ) from None

    def _ask(self, request: str) -> bytes:
        """Return the answer to a request."""
        data = request.encode()
        try:
            self._socket.sendall(b"+$%s#%02x" % (data, sum(data) % 256))
            while (found := _PACKET.search(self._received)) is None:
                self._socket.settimeout(self._deadline.remaining())
                more = self._socket.recv(65536)
                if not more:
                    raise QemuError("QEMU's gdb server closed the connection")
                self._received += more
        except TimeoutError:
            raise self._deadline.error() from None
        except OSError as error:
            raise QemuError(f"QEMU's gdb server: {error.strerror}") from None
        self._received = self._received[found.end() :]
        return found[1]
