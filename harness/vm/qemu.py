# SPDX-License-Identifier: GPL-2.0-only
"""A running QEMU with its QMP session and its console.

Both channels are socket pairs passed to QEMU as file descriptors. They have no names in the file
system, so two machines cannot collide and a killed one leaves no socket.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import command
from harness.deadline import Deadline
from harness.errors import DeadlineExpired, HarnessError, QemuError
from harness.records.machine import AccelChoice, MachineSpec
from harness.vm.console import Console
from harness.vm.spec import Launch, qemu_argv

if TYPE_CHECKING:
    from harness.vm.qmp import Qmp

_CONNECT_SECONDS = 10.0
_QUIT_SECONDS = 3.0
_BUFFER_BYTES = 1 << 20
_MIGRATION_SECONDS = 0.002

#: The migration capability that leaves memory in files out; the way of QEMU's "VM templating".
_IGNORE_SHARED = "x-ignore-shared"


@dataclass(frozen=True)
class BootFiles:
    """The files that a machine boots from.

    Attributes:
        kernel: path of the kernel's image.
        initrd: path of the initramfs; empty for none.
        disk: path of the read-only disk; empty for none.
        append: more words for the kernel's command line.
        memory: see `harness.vm.spec.Launch`, like the next three.
        files: see there.
        restored: see there.
        mapped: see there.
        fds: file descriptors that paths in ``memory`` and ``files`` mean.
        monitor: path of a socket for another QMP client; empty for none.
    """

    kernel: str
    initrd: str = ""
    disk: str = ""
    append: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    files: str = ""
    restored: bool = False
    mapped: bool = False
    fds: tuple[int, ...] = ()
    monitor: str = ""


@dataclass(frozen=True)
class Listeners:
    """Callbacks for the events of a machine; each runs in a thread that it must not block.

    Attributes:
        on_line: see `Console`.
        on_end: see `Console`.
        on_event: see `Qmp`.
    """

    on_line: Callable[[str], None] = lambda line: None
    on_end: Callable[[], None] = lambda: None
    on_event: Callable[[dict[str, Any]], None] = lambda event: None


@dataclass(frozen=True)
class Qemu:
    """A QEMU process that is paused before its first instruction, or runs.

    Attributes:
        process: the process.
        qmp: its QMP session.
        console: its serial console.
        argv: its command line.
        version: such as ``7.2.22``.
        stderr: the file with its standard error.
    """

    process: command.Process
    qmp: Qmp
    console: Console
    argv: tuple[str, ...]
    version: str
    stderr: Path

    def resume(self, deadline: Deadline) -> None:
        """Let the guest run."""
        self.qmp.execute("cont", deadline=deadline)

    def save(self, deadline: Deadline) -> bytes:
        """Stop the guest for good and return the state of its devices.

        Its memory is in the files that it was started with.

        Raises:
            QemuError: if QEMU cannot save it, or ended.
            DeadlineExpired: if it took too long.
        """
        self._leave_memory_alone(deadline)
        self.qmp.execute("stop", deadline=deadline)
        state = bytearray()
        with self._channel("migrate", deadline) as channel:
            while chunk := channel.recv(_BUFFER_BYTES):
                state += chunk
        self._migrated(deadline)
        return bytes(state)

    def load(self, state: bytes, deadline: Deadline) -> None:
        """Give a QEMU that was started with a saved guest's memory the state of its devices.

        Raises:
            QemuError: if QEMU refused it, or ended.
            DeadlineExpired: if it took too long.
        """
        self._leave_memory_alone(deadline)
        with self._channel("migrate-incoming", deadline) as channel:
            channel.sendall(state)
            channel.shutdown(socket.SHUT_WR)
        self._migrated(deadline)

    def _leave_memory_alone(self, deadline: Deadline) -> None:
        """Have QEMU leave memory that is in a file out of the state."""
        known = self.qmp.execute("query-migrate-capabilities", deadline=deadline)
        if _IGNORE_SHARED not in {each["capability"] for each in known}:
            raise QemuError(f"QEMU {self.version} cannot save a guest without its memory")
        chosen: dict[str, object] = {
            "capabilities": [{"capability": _IGNORE_SHARED, "state": True}]
        }
        self.qmp.execute("migrate-set-capabilities", chosen, deadline=deadline)

    @contextlib.contextmanager
    def _channel(self, command: str, deadline: Deadline) -> Iterator[socket.socket]:
        """Have QEMU migrate through a socket, and yield the harness's end of it."""
        ours, theirs = socket.socketpair()
        ours.settimeout(max(0.001, deadline.remaining()))
        try:
            with ours:
                with theirs:
                    self.qmp.give("devices", theirs.fileno(), deadline)
                self.qmp.execute(command, {"uri": "fd:devices"}, deadline=deadline)
                yield ours
        except TimeoutError:
            raise deadline.error() from None
        except OSError:
            raise self.death() from None

    def _migrated(self, deadline: Deadline) -> None:
        """Wait until QEMU has saved or loaded the state."""
        while True:
            found = self.qmp.execute("query-migrate", deadline=deadline)
            if found.get("status") == "completed":
                return
            if found.get("status") == "failed":
                why = found.get("error-desc", "no reason given")
                raise QemuError(f"QEMU could not save or restore the guest: {why}")
            deadline.check()
            with contextlib.suppress(DeadlineExpired):
                self.process.wait(Deadline.after(_MIGRATION_SECONDS, "the end of the migration"))
                raise self.death()

    def quit(self) -> None:
        """End QEMU without the guest's help, and wait until every byte of its console is kept."""
        limit = Deadline.after(_QUIT_SECONDS, "QEMU's end")
        with contextlib.suppress(HarnessError):  # killed below if it does not answer
            if self.process.poll() is None:
                self.qmp.execute("quit", deadline=limit)
                self.process.wait(limit)
        self.process.end()

    def death(self) -> QemuError:
        """Return the error with QEMU's exit code and the last line of its standard error."""
        code = self.process.poll()
        lines = [line for line in self.stderr.read_text(errors="replace").splitlines() if line]
        how = "has closed its console" if code is None else f"ended with exit code {code}"
        return QemuError(
            f"QEMU {how}: {lines[-1] if lines else 'no output'}",
            command=self.argv,
            log=self.stderr,
            console=self.console.last_lines(),
        )


@contextlib.contextmanager
def started(
    machine: MachineSpec,
    accel: AccelChoice,
    files: BootFiles,
    directory: Path,
    deadline: Deadline,
    listeners: Listeners = Listeners(),
    history: bytes = b"",
) -> Iterator[Qemu]:
    """Start QEMU, paused, with both channels attached; end it on the way out.

    Args:
        machine: what to boot.
        accel: what runs it.
        files: what it boots from.
        directory: takes ``serial.log``, ``qmp.log`` and ``qemu.stderr``.
        deadline: when it must answer on QMP.
        listeners: callbacks for its events.
        history: see `Console`.

    Raises:
        ToolMissing: if QEMU is not installed.
        QemuError: if it died or did not answer.
    """
    stderr = directory / "qemu.stderr"
    with contextlib.ExitStack() as stack:
        qmp_ours, qmp_theirs = _socket_pair(stack)
        console_ours, console_theirs = _socket_pair(stack)
        channels = (qmp_theirs.fileno(), console_theirs.fileno())
        argv = qemu_argv(_launch(machine, accel, files, *channels))
        errors = stack.enter_context(stderr.open("ab"))
        process = stack.enter_context(
            command.start(
                argv,
                stdout=errors,
                stderr=errors,
                pass_fds=(*channels, *files.fds),
                death_signal=signal.SIGKILL,
            )
        )
        _kill_it_first(process)
        qmp_theirs.close()
        console_theirs.close()
        console = Console(
            console_ours,
            directory / "serial.log",
            on_line=listeners.on_line,
            on_end=listeners.on_end,
            history=history,
        )
        stack.callback(console.close)
        from harness.vm.qmp import Qmp  # it takes as long to import as QEMU to answer

        qmp = Qmp(qmp_ours, directory / "qmp.log", on_event=listeners.on_event)
        stack.callback(qmp.close)
        qemu = Qemu(process, qmp, console, argv, "", stderr)
        version = _connected(qemu, deadline.within(_CONNECT_SECONDS, "QEMU's first answer on QMP"))
        running = replace(qemu, version=version)
        stack.callback(running.quit)
        yield running


def _kill_it_first(process: command.Process) -> None:
    """Have the OOM killer choose this process before any other; see proc_pid_oom_score_adj(5)."""
    with contextlib.suppress(OSError):  # it has ended
        Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000")


def _launch(
    machine: MachineSpec, accel: AccelChoice, files: BootFiles, qmp_fd: int, console_fd: int
) -> Launch:
    return Launch(
        machine=machine,
        accel=accel.name,
        cpu=accel.cpu,
        kernel=files.kernel,
        initrd=files.initrd,
        disk=files.disk,
        append=files.append,
        memory=files.memory,
        files=files.files,
        restored=files.restored,
        mapped=files.mapped,
        monitor=files.monitor,
        qmp_fd=qmp_fd,
        console_fd=console_fd,
    )


def _connected(qemu: Qemu, limit: Deadline) -> str:
    """Connect to QMP and return QEMU's version."""
    try:
        qemu.qmp.connect(limit)
        found = qemu.qmp.execute("query-version", deadline=limit)["qemu"]
    except DeadlineExpired as error:
        raise QemuError(error.message, command=qemu.argv) from None
    except QemuError:
        qemu.process.end()
        raise qemu.death() from None
    return f"{found['major']}.{found['minor']}.{found['micro']}"


def _socket_pair(stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        # QEMU writes single bytes, and the kernel charges hundreds of bytes for each.
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        stack.callback(end.close)
    return ours, theirs
