# SPDX-License-Identifier: GPL-2.0-only
"""A guest's memory and registers, read from the host while the guest is stopped.

QEMU maps the guest's memory into its address space, which its parent process may read through
``/proc/PID/mem``: a page takes microseconds, nothing is written to a disk, and the plain memory
backend will do. ``gpa2hva`` of QEMU's monitor has the addresses.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from harness.arch import Arch
from harness.command import Process
from harness.deadline import Deadline
from harness.errors import QemuError
from harness.vm.gdbstub import GdbStub
from harness.vm.registers import Registers, parse

if TYPE_CHECKING:
    from harness.vm.qmp import Qmp

PAGE = 4096

Value = TypeVar("Value", bytes, int)

_FLAT_VIEW = re.compile(r"^FlatView #\d+$(.*?)(?=^FlatView #|\Z)", re.MULTILINE | re.DOTALL)
_SYSTEM = re.compile(r'^ AS "memory", root: system$', re.MULTILINE)
_RAM = re.compile(r"^ +([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, ram\): ", re.MULTILINE)
_HOST = re.compile(r"Host virtual address for 0x[0-9a-f]+ \(.*\) is (0x[0-9a-f]+)")


class Region(NamedTuple):
    """A contiguous range of guest memory.

    Attributes:
        start: first guest-physical address.
        end: first guest-physical address after it.
        host: address of ``start`` in QEMU's address space.
    """

    start: int
    end: int
    host: int


def ram_ranges(text: str) -> tuple[tuple[int, int], ...]:
    """Return first and past-last address of each piece of RAM in QEMU's ``info mtree -f``."""
    for view in _FLAT_VIEW.finditer(text):
        if _SYSTEM.search(view[1]):
            found = _RAM.finditer(view[1])
            return tuple((int(match[1], 16), int(match[2], 16) + 1) for match in found)
    return ()


class GuestMemory:
    """The physical memory and the registers of one guest.

    Reads are consistent with each other only while the guest is stopped.

    Args:
        process: its QEMU.
        qmp: the QMP session.
        guest: its architecture.
    """

    def __init__(self, process: Process, qmp: Qmp, guest: Arch) -> None:
        self._process = process
        self._guest = guest
        self._gdb: tempfile.TemporaryDirectory[str] | None = None
        self._numbers: dict[str, int] = {}
        self._qmp = qmp
        self._descriptor = -1
        self._regions: tuple[Region, ...] = ()

    def open(self, deadline: Deadline) -> None:
        """Find the addresses of the memory; calling it twice does nothing.

        Raises:
            QemuError: if QEMU does not report them, or its memory may not be read.
        """
        if self._descriptor >= 0:
            return
        ranges = ram_ranges(self._ask("info mtree -f", deadline))
        if not ranges:
            raise QemuError("info mtree -f of QEMU's monitor shows no RAM")
        self._regions = tuple(Region(*each, self._host(each[0], deadline)) for each in ranges)
        try:
            self._descriptor = os.open(f"/proc/{self._process.pid}/mem", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise QemuError(
                f"cannot open the memory of QEMU: {error.strerror}",
                hint="is the sysctl kernel.yama.ptrace_scope above 1?",
            ) from None

    def page(self, address: int) -> bytes:
        """Return the page of guest memory at a physical address, a multiple of 4096.

        Raises:
            KeyError: with the address, if it is not in the guest's RAM.
            QemuError: if QEMU has ended.
        """
        return self._transfer(os.pread, PAGE, self._host_address(address))

    def write(self, address: int, data: bytes) -> None:
        """Write a few bytes inside one page; raises what `page` does."""
        self._transfer(os.pwrite, data, self._host_address(address))

    def registers(self, cpu: int, deadline: Deadline) -> Registers:
        """Return the registers of a vCPU.

        Raises:
            QemuError: if QEMU does not report them, or has no such vCPU.
        """
        shown = self._ask("info registers", deadline, cpu)
        found = parse("\n".join([shown, *self._by_gdb(cpu, deadline)]), self._guest)
        if found is None:
            raise QemuError(f"info registers of QEMU's monitor lacks registers of vCPU {cpu}")
        return found

    def _by_gdb(self, cpu: int, deadline: Deadline) -> list[str]:
        """Return the registers that only QEMU's gdb server shows, as the monitor would."""
        files = self._guest.registers.by_gdb
        if not files:
            return []
        if self._gdb is None:
            self._gdb = tempfile.TemporaryDirectory(prefix="hgm-gdb-")
            self._ask(f"gdbserver unix:{self._gdb.name}/gdb,server=on,wait=off", deadline)
        with contextlib.closing(GdbStub(Path(self._gdb.name) / "gdb", deadline)) as stub:
            if not self._numbers:
                each = [stub.numbers(file, names) for file, names in files.items()]
                self._numbers = {name: number for found in each for name, number in found.items()}
            return [f"{name}={stub.read(cpu, number):x}" for name, number in self._numbers.items()]

    def close(self) -> None:
        """Close the file descriptor, and remove the socket."""
        if self._gdb is not None:
            self._gdb.cleanup()
            self._gdb = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _host_address(self, address: int) -> int:
        index = bisect.bisect_right(self._regions, address, key=lambda region: region.start) - 1
        if index < 0 or address >= self._regions[index].end:
            raise KeyError(address)
        return self._regions[index].host + address - self._regions[index].start

    def _transfer(
        self, transfer: Callable[[int, Any, int], Value], what: bytes | int, host: int
    ) -> Value:
        try:
            done = transfer(self._descriptor, what, host)
        except OSError as error:
            raise QemuError(f"cannot access the memory of QEMU: {error.strerror}") from None
        if not done:  # the memory of a process that has ended reads as empty
            raise QemuError("QEMU ended while the guest's memory was read")
        return done

    def _host(self, address: int, deadline: Deadline) -> int:
        said = self._ask(f"gpa2hva {address:#x}", deadline)
        match = _HOST.search(said)
        if match is None:
            raise QemuError(
                f"gpa2hva of QEMU's monitor has no address for {address:#x}: {said.strip()!r}"
            )
        return int(match[1], 16)

    def _ask(self, line: str, deadline: Deadline, cpu: int | None = None) -> str:
        arguments: dict[str, object] = {"command-line": line}
        if cpu is not None:
            arguments["cpu-index"] = cpu
        said = self._qmp.execute("human-monitor-command", arguments, deadline=deadline)
        return str(said).replace("\r\n", "\n")
