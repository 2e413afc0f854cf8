# SPDX-License-Identifier: GPL-2.0-only
"""Injects faults into a run from outside: into its processes, sockets, disk and clock.

Nothing of the harness under test is replaced. Its processes are found by a variable of
their environment, which children inherit; its sockets by the kernel's own tables, and are borrowed
with ``pidfd_getfd(2)``, which needs the right to trace a process (root, or the same user).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from harness import command
from harness.arch import arches
from harness.deadline import Deadline
from harness.errors import InfrastructureError

#: The variable that marks the processes of one run.
MARK = "HGM_INJECTION"

_CLOCK_SOURCE = Path(__file__).with_name("clock.c")
_COMPILE_SECONDS = 60.0

#: How the kernel names QEMU: the first 15 characters of its program.
QEMU = frozenset(each.qemu[:15] for each in arches().values())

_PIDFD_GETFD = 438  # asm-generic/unistd.h

# linux/sock_diag.h and linux/unix_diag.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x301

_SHOW_PEER = 4
_ATTRIBUTE_PEER = 2
_NETLINK_HEADER = struct.Struct("=IHHII")
_UNIX_REQUEST = struct.Struct("=BBHIIIII")
_UNIX_ANSWER = struct.Struct("=BBBBIII")
_ATTRIBUTE = struct.Struct("=HH")
_ANSWER_BYTES = 1 << 17

_OFFSET = struct.Struct("=q")

_MOUNT = 'mount -t tmpfs -o "size=$1" hgm-inject "$0" && echo ready && exec sleep infinity'


class Missed(InfrastructureError):
    """The target of a fault does not exist, or no longer."""


def marked(mark: str) -> dict[int, str]:
    """Return the living processes that carry a mark: names by process ID."""
    wanted = f"{MARK}={mark}".encode()
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or belongs to another user
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found[int(entry.name)] = (entry / "comm").read_text().strip()
    return found


def qemu(mark: str) -> int:
    """Return the process ID of the QEMU of a run.

    Raises:
        Missed: if there is none.
    """
    for pid, name in marked(mark).items():
        if name in QEMU:
            return pid
    raise Missed("the run has no QEMU")


def restoring(mark: str) -> bool:
    """Return whether a run has a QEMU that restores a guest, not one that tells its version."""
    for pid, name in marked(mark).items():
        with contextlib.suppress(OSError):  # it has ended
            if name in QEMU and b"\0-incoming\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
    return False


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal.

    Raises:
        Missed: if the process has ended.
    """
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        raise Missed(f"process {pid} has ended") from None


@contextlib.contextmanager
def borrowed(pid: int, number: int) -> Iterator[socket.socket]:
    """Yield a process's own socket, by its file descriptor there.

    Raises:
        Missed: if it does not have that descriptor.
        InfrastructureError: if this user is not permitted to.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        raise Missed(f"process {pid} has ended") from None
    try:
        fd = libc.syscall(_PIDFD_GETFD, process, number, 0)
        error = ctypes.get_errno()
    finally:
        os.close(process)
    if fd < 0 and isinstance(error, int) and error in (1, 38):
        raise InfrastructureError(f"pidfd_getfd: {os.strerror(error)}", hint="run it as root")
    if fd < 0:
        raise Missed(f"process {pid} has no socket {number}: {os.strerror(error)}")
    with socket.socket(fileno=fd) as sock:
        yield sock


def sockets(pid: int) -> dict[int, int]:
    """Return the sockets of a process: inodes by file descriptor."""
    found = {}
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                match = re.fullmatch(r"socket:\[(\d+)\]", str(entry.readlink()))
                if match:
                    found[int(entry.name)] = int(match[1])
    return found


def parse_peers(data: bytes) -> tuple[dict[int, int], bool]:
    """Return the peers of Unix sockets by inode from a reply of ``sock_diag``, and whether it ends.

    Source: linux/unix_diag.h, ``struct unix_diag_msg`` and the attribute UNIX_DIAG_PEER.
    """
    peers: dict[int, int] = {}
    at = 0
    while at + _NETLINK_HEADER.size <= len(data):
        length, kind, *_ = _NETLINK_HEADER.unpack_from(data, at)
        if kind != _SOCK_DIAG_BY_FAMILY or length < _NETLINK_HEADER.size:
            return peers, True
        end, inside = at + length, at + _NETLINK_HEADER.size
        inode = _UNIX_ANSWER.unpack_from(data, inside)[4]
        inside += _UNIX_ANSWER.size
        while inside + _ATTRIBUTE.size <= end:
            size, name = _ATTRIBUTE.unpack_from(data, inside)
            if name == _ATTRIBUTE_PEER:
                peers[inode] = struct.unpack_from("=I", data, inside + _ATTRIBUTE.size)[0]
            inside += (max(size, _ATTRIBUTE.size) + 3) & ~3
        at += (length + 3) & ~3
    return peers, False


def peers() -> dict[int, int]:
    """Return the inode of each Unix socket's peer, by the socket's inode."""
    request = _UNIX_REQUEST.pack(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, _SHOW_PEER, 0, 0)
    length = _NETLINK_HEADER.size + len(request)
    header = _NETLINK_HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
    found: dict[int, int] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as sock:
        sock.settimeout(5.0)
        sock.send(header + request)
        done = False
        while not done:
            some, done = parse_peers(sock.recv(_ANSWER_BYTES))
            found |= some
    return found


def far_end(pid: int, number: int, other: int) -> int:
    """Return which file descriptor of ``other`` is connected to socket ``number`` of ``pid``.

    Raises:
        Missed: if none is.
    """
    inode = sockets(pid).get(number)
    peer = peers().get(inode) if inode is not None else None
    for fd, candidate in sockets(other).items():
        if candidate == peer:
            return fd
    raise Missed(f"process {other} is not connected to socket {number} of process {pid}")


def channel(pid: int, name: str) -> int:
    """Return QEMU's file descriptor of its character device ``name``, from its command line.

    Raises:
        Missed: if the process has ended.
    """
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        raise Missed(f"process {pid} has ended") from None
    match = re.search(rf"socket,id={name},fd=(\d+)", words)
    if match is None:
        raise Missed(f"process {pid} is not a QEMU of the harness")
    return int(match[1])


def wedge_qmp(harness: int, pid: int) -> None:
    """Make QEMU's monitor stop answering while both ends live and the guest runs.

    An opening bracket is sent before the harness's next command, so QEMU's JSON parser takes that
    and every later command for elements of an array that never ends.
    """
    with borrowed(harness, far_end(pid, channel(pid, "qmp"), harness)) as sock:
        sock.send(b"[")


def cut_channel(pid: int, name: str) -> None:
    """Shut down QEMU's end of a channel; QEMU itself continues."""
    with borrowed(pid, channel(pid, name)) as sock:
        sock.shutdown(socket.SHUT_RDWR)


def reset_ssh(harness: int) -> None:
    """Reset the harness's TCP connection to its guest.

    ``connect`` to AF_UNSPEC disconnects a TCP socket, and the kernel sends RST if data is in flight
    (tcp(7), net/ipv4/tcp.c:tcp_disconnect); the owner's next read fails.
    """
    for number in sockets(harness):
        with contextlib.suppress(Missed), borrowed(harness, number) as sock:
            if sock.family == socket.AF_INET and sock.type == socket.SOCK_STREAM:
                _disconnect(sock)
                return
    raise Missed("the harness has no TCP connection")


def _disconnect(sock: socket.socket) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    nowhere = struct.pack("=H14x", socket.AF_UNSPEC)
    if libc.connect(sock.fileno(), nowhere, len(nowhere)) != 0:
        raise Missed(f"the connection is gone: {os.strerror(ctypes.get_errno())}")


def fill(path: Path) -> None:
    """Fill a file system with the file ``path``."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:  # ENOSPC, as meant
        while True:
            file.write(bytes(1 << 16))
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def cut_file(path: Path) -> None:
    """Truncate a file to half of its size.

    Raises:
        Missed: if it does not exist or is empty.
    """
    try:
        size = path.stat().st_size
        os.truncate(path, size // 2)
    except OSError as error:
        raise Missed(f"{path}: {error.strerror}") from None
    if size == 0:
        raise Missed(f"{path} is empty")


def flip_bit(path: Path) -> None:
    """Change one bit of the first byte of a sparse file that is not in a hole."""
    with path.open("r+b", buffering=0) as file:
        at = os.lseek(file.fileno(), 0, os.SEEK_DATA)
        (byte,) = os.pread(file.fileno(), 1, at)
        os.pwrite(file.fileno(), bytes([byte ^ 1]), at)


def no_small_disk() -> str:
    """Return why there can be no `small_disk` here; empty if there can."""
    if os.geteuid() != 0:
        return "only root can mount a small disk in a namespace of its own"
    return (
        "" if _root_is_mount() else "no mount can be private in a chroot without a mount of its own"
    )


def _root_is_mount() -> bool:
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == "/" for line in mounts)


@contextlib.contextmanager
def small_disk(path: Path, size: int) -> Iterator[command.Process]:
    """Mount a tmpfs on an existing directory, in a mount namespace that dies with the process.

    The yielded process lives in that namespace: ``nsenter`` enters it by the process ID, and
    ``/proc/ID/root`` shows it from outside. No other process sees the mount.

    Args:
        path: where.
        size: of the file system in bytes.

    Raises:
        InfrastructureError: if it cannot be mounted.
    """
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _MOUNT]
    argv += [str(path), str(size)]
    with command.start(argv, stdout=subprocess.PIPE, death_signal=signal.SIGKILL) as holder:
        assert holder.popen.stdout is not None  # noqa: S101 - a pipe was asked for
        if holder.popen.stdout.readline() != b"ready\n":
            raise InfrastructureError(f"cannot mount a tmpfs on {path} in a namespace of its own")
        yield holder


def inside(holder: command.Process, path: Path) -> Path:
    """Return the path from here to a path in the holder's namespace."""
    return Path(f"/proc/{holder.pid}/root{path}")


def clock_library(directory: Path) -> Path:
    """Compile the library that makes the wall clock follow a file, and return its path.

    Raises:
        HarnessError: if it does not compile.
    """
    library = directory / "clock.so"
    argv = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(_CLOCK_SOURCE)]
    command.run(argv, Deadline.after(_COMPILE_SECONDS, "the clock's compilation"))
    return library


def clock_environment(library: Path, offset: Path) -> dict[str, str]:
    """Return the environment of a process whose wall clock follows a file.

    Monotonic clocks are unchanged, as they are when the date is set.
    """
    set_clock(offset, 0)
    return {"LD_PRELOAD": str(library), "HGM_CLOCK": str(offset)}


def set_clock(offset: Path, seconds: int) -> None:
    """Set the clocks that follow the file ``offset`` to so many seconds from the real time."""
    with offset.open("r+b" if offset.exists() else "wb", buffering=0) as file:
        file.write(_OFFSET.pack(seconds))  # in place, because they have it mapped
