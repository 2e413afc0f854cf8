# SPDX-License-Identifier: GPL-2.0-only
"""Boot a guest or restore a saved one, reach it over SSH, and end it.

Each step of a boot has an error of its own: QEMU died, no output on the console, a panic, init ran
but SSH did not answer, fewer huge pages than asked.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from harness.arch import arch
from harness.command import Process
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import (
    BootError,
    DeadlineExpired,
    GuestLost,
    GuestPanicked,
    GuestSilent,
    HarnessError,
    PoolShort,
    QemuError,
    SnapshotError,
    SshUnreachable,
)
from harness.image.keys import RunKeys, make_keys
from harness.image.overlay import OverlayFile, overlay_archive
from harness.progress import Progress
from harness.records.kernel import Kernel
from harness.records.machine import AccelChoice, GuestImage, MachineSpec, NodePool
from harness.records.outcome import Outcome
from harness.vm import hoststat, memory_file, pool, qemu
from harness.vm.console import PROMPT, Console
from harness.vm.memory import GuestMemory
from harness.vm.wakeup import WakeupEvent

if TYPE_CHECKING:
    from harness.vm.heartbeat import Heartbeat
    from harness.vm.qmp import Qmp
    from harness.vm.ssh import Ssh

#: Seconds until the first byte on the console.
FIRST_BYTE_SECONDS = 30.0

#: Seconds until init is done; a debug kernel under TCG on a busy host needs most of them.
INIT_SECONDS = 150.0

#: Seconds for the SSH login, once init has printed that it is done.
LOGIN_SECONDS = 60.0

#: In the guest: where init puts what a host wants to know of a guest that was booted.
FACTS = "/run/facts"

# QMP events after which the guest does not run any more, while QEMU keeps it and answers.
_END_EVENTS = ("GUEST_PANICKED", "SHUTDOWN")

_INIT_DONE = r"hgm: init done"
_INIT_SAVED = r"hgm: init: ready to be saved"
_INIT_SSH = r"hgm: init: SSH|hgm: init done"
_INIT_LACKS = re.compile(r"^hgm: init: no .*", re.MULTILINE)
_PANIC = r"Kernel panic - not syncing[^\r\n]*"
_DRAIN_SECONDS = 5.0
_QUIET_SECONDS = 0.3
_ACTION_SECONDS = 10.0
_POWER_OFF_SECONDS = 20.0
_SAVE_SECONDS = 60.0
_SHELL_SECONDS = 5.0

# Bytes of a restored guest's seed, as RNDADDENTROPY credits them.
_SEED_BYTES = 32

# Bytes of the disk with a restored guest's files; sparse. A guest does not notice that its disks
# have changed, but it would notice another size.
_FILES_BYTES = 1 << 30


@dataclass(frozen=True)
class SavedGuest:
    """A guest whose init is done but for what makes a guest this run's; any number go on from it.

    Attributes:
        memory: paths of the files with the memory of each node.
        devices: the state of the devices.
        console: what it wrote to its console.
    """

    memory: tuple[str, ...]
    devices: bytes
    console: bytes


@dataclass(frozen=True)
class BootRequest:
    """What to boot.

    Attributes:
        kernel: the kernel.
        image: the guest image.
        machine: the machine.
        accel: what runs it.
        files: what is added to the guest's file system for this run, such as probes.
        disk: whether the read-only disk is attached.
        append: more words for the kernel's command line.
        ask: is run in the guest once its init is done; a booted guest prints at least what is in
            `FACTS`. Nothing is run if it is empty.
        monitor: path of a socket on which QEMU answers another QMP client; empty for none.
        started: is called with QEMU's process once it answers.
        stuck: whether a line of the console reports a hung task, a lockup or an RCU stall.
        stalled: is called with a guest that is not saved because its kernel reported one of these.
        locate_stall: returns where a guest that makes no progress in boot is, in a few words; it
            may use QMP and the console only.
    """

    kernel: Kernel
    image: GuestImage
    machine: MachineSpec
    accel: AccelChoice
    files: Sequence[OverlayFile] = ()
    disk: bool = False
    append: tuple[str, ...] = ()
    ask: tuple[str, ...] = ("cat", FACTS)
    monitor: str = ""
    started: Callable[[Process], None] = lambda process: None
    stuck: Callable[[str], bool] = lambda line: False
    stalled: Callable[[Guest], None] = lambda guest: None
    locate_stall: Callable[[Guest], str] = lambda guest: ""


class _Watch:
    """Sets a guest's events; called in the threads of its console and its QMP session."""

    def __init__(
        self, died: WakeupEvent, stuck: WakeupEvent, says_stuck: Callable[[str], bool]
    ) -> None:
        self._died, self._stuck, self._says_stuck = died, stuck, says_stuck
        self.pausing_on_death = False

    def on_line(self, line: str) -> None:
        if not self._stuck.is_set() and self._says_stuck(line):
            self._stuck.set()

    def on_event(self, event: dict[str, Any]) -> None:
        if self.pausing_on_death and event["event"] in _END_EVENTS:
            self._died.set()


class GuestMoment(NamedTuple):
    """A moment in the life of a guest.

    Attributes:
        console: the size of its console's log, bytes.
        sample: the clocks of the host and of its vCPUs.
    """

    console: int
    sample: hoststat.Sample


@dataclass
class Guest:
    """A guest that was reached over SSH and has the huge pages it was asked to have.

    Attributes:
        qemu: the machine it lives in.
        ssh: a session as root.
        died: set once the guest is known to be dead.
        memory: its memory and registers, from outside.
        stuck: set once its console reports a hung task, a lockup or an RCU stall.
        heartbeat: knows whether its QEMU answers.
        facts: what `BootRequest.ask` printed.
        pools: its huge pages before anything ran in it.
        tables_known: whether its page tables can be walked; None before somebody asked.
        threads: the thread of each vCPU on the host.
        idle_since: when its last probe ended; its start before the first.
        begun: when its QEMU was started, by the monotonic clock.
        boot_seconds: from then until it was logged in to and its init was done; 0 before.
        last_sample: the clocks of the threads when the guest was given up; None while it lives.
    """

    qemu: qemu.Qemu
    ssh: Ssh
    died: WakeupEvent
    memory: GuestMemory
    stuck: WakeupEvent
    watch: _Watch
    heartbeat: Heartbeat
    threads: tuple[int, ...]
    idle_since: GuestMoment
    begun: float
    boot_seconds: float = 0.0
    last_sample: hoststat.Sample | None = None
    facts: str = ""
    pools: tuple[NodePool, ...] = field(default=())
    tables_known: bool | None = None

    @property
    def console(self) -> Console:
        """Return its serial console."""
        return self.qemu.console

    @property
    def qmp(self) -> Qmp:
        """Return its QMP session."""
        return self.qemu.qmp

    def now(self) -> GuestMoment:
        """Return this moment, or the one at which it was given up."""
        return GuestMoment(self.console.size, self.last_sample or hoststat.sample(self.threads))

    @property
    def paused_after_death(self) -> bool:
        """Return whether it is dead, and QEMU still has its memory and registers."""
        ends = [event for event in self.qmp.events() if event["event"] in _END_EVENTS]
        return self.watch.pausing_on_death and bool(ends) and not self.console.ended

    @property
    def panicked(self) -> bool:
        """Return whether its kernel has told QEMU of a panic."""
        return any(event["event"] == "GUEST_PANICKED" for event in self.qmp.events())

    def end_reason(self) -> str:
        """Return how the machine ended, in one line; empty while it runs."""
        if self.heartbeat.lost:
            return self.heartbeat.lost
        if self.panicked:
            return "the kernel panicked"
        for event in self.qmp.events():
            if event["event"] == "SHUTDOWN":
                cause = event["data"].get("reason", "unknown")
                return f"the guest shut down ({cause}) without a panic"
        if not self.console.ended:
            return ""
        with contextlib.suppress(DeadlineExpired):
            self.qemu.process.wait(Deadline.after(_QUIET_SECONDS, "QEMU's exit code"))
        return self.qemu.death().message

    def shut_itself_down(self) -> bool:
        """Return whether the guest reset or powered itself off; a killed QEMU does not say so."""
        return any(
            event["event"] == "SHUTDOWN" and event["data"].get("guest") is True
            for event in self.qmp.events()
        )

    def send_break(self) -> None:
        """Send a break to the serial console; its kernel takes the next byte as a SysRq key."""
        limit = Deadline.after(_ACTION_SECONDS, "QEMU's chardev-send-break")
        self.qmp.execute("chardev-send-break", {"id": "console"}, deadline=limit)

    def pause_on_death(self) -> None:
        """From now on QEMU pauses the guest, with its memory, if it panics or resets itself."""
        self._on_death("pause")
        self.watch.pausing_on_death = True

    def resume_and_end(self) -> None:
        """Let a guest that was paused after death finish its panic or reset, and QEMU end."""
        self.watch.pausing_on_death = False
        with contextlib.suppress(HarnessError):  # QEMU is killed on the way out anyway
            self._on_death("go")
            self.qmp.execute("cont", deadline=Deadline.after(_ACTION_SECONDS, "the guest's end"))
            self.console.wait_ended(Deadline.after(_DRAIN_SECONDS, "the end of the console"))

    def _on_death(self, what: Literal["pause", "go"]) -> None:
        actions = {"pause": ("pause", "pause"), "go": ("poweroff", "none")}
        shutdown, panic = actions[what]
        self.qmp.execute(
            "set-action",
            {"shutdown": shutdown, "panic": panic},
            deadline=Deadline.after(_ACTION_SECONDS, "QEMU's set-action"),
        )

    def drain_console(self) -> None:
        """Wait a moment for the rest of a dying guest's console output."""
        limit = Deadline.after(_DRAIN_SECONDS, "the end of the console")
        with contextlib.suppress(DeadlineExpired):
            if self.paused_after_death:
                self.console.wait_quiet(_QUIET_SECONDS, limit)
            else:
                self.console.wait_ended(limit)

    def power_off(self, progress: Progress) -> None:
        """Power the guest off through its kernel; a failure is noted, and QEMU is killed later."""
        limit = Deadline.after(_POWER_OFF_SECONDS, "the guest's power-off")
        self.heartbeat.stop()
        try:
            if self.watch.pausing_on_death:
                self.watch.pausing_on_death = False
                self._on_death("go")
            with contextlib.suppress(GuestLost):  # the session ends before its exit code comes
                self.ssh.run(["poweroff", "-f"], limit)
            self.console.wait_ended(limit)
        except HarnessError as error:
            progress.note(f"the guest did not power off and is killed: {error.message}")


@contextlib.contextmanager
def booted(
    request: BootRequest,
    directory: Path,
    context: Context,
    saved: SavedGuest | None = None,
    *,
    mapped: bool = True,
) -> Iterator[Guest]:
    """Boot or restore a guest and yield it once it is reachable and its huge pages are there.

    Args:
        request: what to boot.
        directory: takes ``serial.log``, ``qmp.log`` and ``qemu.stderr``.
        context: cache, deadline, progress.
        saved: what to restore instead of booting; it was made of the same request, but for the
            files.
        mapped: whether it shares the memory that it does not write to with others that were
            restored; otherwise all is copied first, and a first write costs what it does after a
            boot.

    Raises:
        QemuError: if QEMU did not start or died.
        BootError: if the guest was not reached: GuestSilent, GuestPanicked, SshUnreachable.
        PoolShort: if it has fewer huge pages than asked.
    """
    keys = make_keys()
    with contextlib.ExitStack() as stack:
        if saved is None:
            private = stack.enter_context(context.workspace.unfinished("guest"))
            files = _boot_files(request, keys.guest_files(), private)
        else:
            files = _files_to_restore(request, saved, keys, stack)
            if not mapped:
                files = _with_memory(
                    files, [memory_file.copy(Path(m), stack) for m in saved.memory]
                )
        guest = stack.enter_context(_running(request, files, directory, context, saved))
        with _reason_of_loss(guest):
            if saved is None:
                _await_first_byte(guest, request, context)
            _await_init(guest, request, _INIT_SSH, context)
            if saved is not None:
                _require_whole(guest)
            _log_in(guest, request, keys, context.deadline)
            _await_init(guest, request, _INIT_DONE, context)
            guest.boot_seconds = time.monotonic() - guest.begun
            if saved is not None:
                _require_whole(guest)
            if request.machine.hugetlb_cma:
                pool.fill_from_cma(request.machine, guest.ssh, context.deadline)
            if request.machine.hvo:
                pool.require_hvo(guest.ssh, context.deadline)
            _await_shell(guest.console)
            if request.ask:
                guest.facts = _facts(guest, request, context.deadline)
            guest.pools = _pools(guest, request, saved, context.deadline)
            yield guest


def save(
    request: BootRequest, directory: Path, context: Context, memory: Sequence[int]
) -> SavedGuest:
    """Boot a guest up to where init waits for what makes it a run's, and save it.

    Args:
        request: what to boot; its files are in every guest that is restored.
        directory: see `booted`.
        context: cache, deadline, progress.
        memory: file descriptors of memory files, one a node, of the nodes' sizes.

    Raises:
        QemuError: if QEMU did not start, died, or cannot save it.
        BootError: if the guest did not get so far.
        SnapshotError: if its kernel reported a hung task, a lockup or an RCU stall.
    """
    with contextlib.ExitStack() as stack:
        private = stack.enter_context(context.workspace.unfinished("guest"))
        files = _with_files(_with_memory(_boot_files(request, (), private), memory), (), stack)
        guest = stack.enter_context(_running(request, files, directory, context))
        with _reason_of_loss(guest):
            _await_first_byte(guest, request, context)
            _await_init(guest, request, _INIT_SAVED, context)
            guest.heartbeat.stop()
            if guest.stuck.is_set():  # every guest restored from it would have that on its console
                request.stalled(guest)
                raise SnapshotError("its kernel reported a stall while it booted")
            limit = context.deadline.within(_SAVE_SECONDS, "saving the guest")
            devices = guest.qemu.save(limit)
            return SavedGuest(
                files.memory, devices, guest.console.read_from(guest.console.start, limit)
            )


@contextlib.contextmanager
def _running(
    request: BootRequest,
    files: qemu.BootFiles,
    directory: Path,
    context: Context,
    saved: SavedGuest | None = None,
) -> Iterator[Guest]:
    """Start a guest and yield it while it boots, or goes on from where it was saved."""
    with contextlib.ExitStack() as stack:
        died, stuck = WakeupEvent(), WakeupEvent()
        stack.callback(died.close)
        stack.callback(stuck.close)
        watch = _Watch(died, stuck, request.stuck)
        begun = time.monotonic()
        threading.Thread(target=_import_clients).start()
        machine = stack.enter_context(
            qemu.started(
                request.machine,
                request.accel,
                files,
                directory,
                context.deadline,
                qemu.Listeners(watch.on_line, died.set, watch.on_event),
                history=saved.console if saved else b"",
            )
        )
        request.started(machine.process)
        if saved is not None:
            limit = context.deadline.within(_SAVE_SECONDS, "restoring the guest")
            machine.load(saved.devices, limit)
        threads = _threads(machine.qmp, context.deadline)
        machine.resume(context.deadline)
        if saved is not None:
            # What its init waits for; probes/c/renew.c reads it.
            machine.console.send(f"{time.time():.6f} {secrets.token_hex(_SEED_BYTES)}\n")
        from harness.vm.heartbeat import Heartbeat
        from harness.vm.ssh import Ssh

        ssh = Ssh(died)
        stack.callback(ssh.close)
        memory = GuestMemory(machine.process, machine.qmp, arch(request.machine.arch))
        stack.callback(memory.close)

        def end() -> None:
            guest.last_sample = hoststat.sample(guest.threads)
            died.set()
            machine.process.kill()  # wakes all that waits for the guest

        heartbeat = Heartbeat(machine.qmp, machine.process.pid, end)
        guest = Guest(
            machine,
            ssh,
            died,
            memory,
            stuck,
            watch,
            heartbeat,
            threads,
            GuestMoment(machine.console.start, hoststat.sample(threads)),
            begun,
        )
        heartbeat.start()
        stack.callback(heartbeat.stop)
        yield guest


def _import_clients() -> None:
    """Import what talks to QEMU, which takes as long as its start, and to the guest: 0.1 s."""
    importlib.import_module("harness.vm.qmp")
    importlib.import_module("harness.vm.ssh")


def _require_whole(guest: Guest) -> None:
    """Raise BootError if init says that it lacks something that a restored guest needs."""
    found = _INIT_LACKS.search(guest.console.text(guest.console.after_history))
    if found:
        raise BootError(f"in the restored guest: {found[0].strip()}")


@contextlib.contextmanager
def _reason_of_loss(guest: Guest) -> Iterator[None]:
    """Turn any error about a guest whose QEMU did not answer into one that says so."""
    try:
        yield
    except HarnessError as error:
        if not guest.heartbeat.lost:
            raise
        raise QemuError(guest.heartbeat.lost, console=error.console) from None


def _threads(qmp: Qmp, deadline: Deadline) -> tuple[int, ...]:
    limit = deadline.within(_ACTION_SECONDS, "QEMU's query-cpus-fast")
    cpus = qmp.execute("query-cpus-fast", deadline=limit)
    return tuple(each["thread-id"] for each in sorted(cpus, key=lambda cpu: cpu["cpu-index"]))


def forwarded_port(text: str, guest_port: int = 22) -> int:
    """Return the loopback port that leads to one of the guest, from QEMU's ``info usernet``."""
    ends = rf"127\.0\.0\.1\s+(\d+)\s+[\d.]+\s+{guest_port}\s"
    match = re.search(rf"TCP\[HOST_FORWARD\]\s+\d+\s+{ends}", text)
    if match is None:
        raise QemuError(
            f"QEMU does not forward a port to the guest's {guest_port}: "
            f"info usernet printed {text.strip()!r}"
        )
    return int(match[1])


def _boot_files(request: BootRequest, own: Sequence[OverlayFile], private: Path) -> qemu.BootFiles:
    initrd = private / "initrd"
    shutil.copyfile(request.image.initramfs, initrd)
    initrd.chmod(0o600)
    with initrd.open("ab") as file:
        file.writelines(overlay_archive([*own, *_modules(request.kernel), *request.files]))
    disk = request.image.disk if request.disk else ""
    return qemu.BootFiles(
        request.kernel.image, str(initrd), disk, request.append, monitor=request.monitor
    )


def _modules(kernel: Kernel) -> list[OverlayFile]:
    """Return what the guest's init loads first."""
    paths = sorted(Path(kernel.modules).iterdir()) if kernel.modules else ()
    return [OverlayFile(f"/modules/{path.name}", path) for path in paths]


def _files_to_restore(
    request: BootRequest, saved: SavedGuest, keys: RunKeys, stack: contextlib.ExitStack
) -> qemu.BootFiles:
    files = qemu.BootFiles(
        request.kernel.image,
        request.image.initramfs,
        request.image.disk if request.disk else "",
        request.append,
        memory=saved.memory,
        restored=True,
        mapped=True,
    )
    return _with_files(files, (keys.guest_files(), request.files), stack)


def _with_memory(files: qemu.BootFiles, descriptors: Sequence[int]) -> qemu.BootFiles:
    """Return files with a guest's own memory: a memory file for each node."""
    paths = tuple(map(_path_of, descriptors))
    return replace(files, memory=paths, fds=(*files.fds, *descriptors), mapped=False)


def _with_files(
    files: qemu.BootFiles, archives: Iterable[Sequence[OverlayFile]], stack: contextlib.ExitStack
) -> qemu.BootFiles:
    """Return files with the disk that a restored guest's init unpacks: archives, then nothing.

    It is in memory, for the run's keys are on no disk.
    """
    disk = memory_file.create(_FILES_BYTES, stack)
    with open(disk, "wb", closefd=False) as file:
        for each in archives:
            file.writelines(overlay_archive(each))
    return replace(files, files=_path_of(disk), fds=(*files.fds, disk))


def _path_of(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _await_first_byte(guest: Guest, request: BootRequest, context: Context) -> None:
    limit = context.deadline.within(FIRST_BYTE_SECONDS, "the guest's first byte")
    try:
        guest.console.expect(r".", limit)
    except (DeadlineExpired, GuestLost) as error:
        raise _boot_failure(guest, request, error) from None
    context.progress.note("the kernel's first output")


def _await_init(guest: Guest, request: BootRequest, done: str, context: Context) -> None:
    console, deadline = guest.console, context.deadline
    try:
        limit = deadline.within(INIT_SECONDS, "the guest's boot")
        said = console.expect(rf"{done}|{_PANIC}", limit, start=console.after_history).group(0)
    except (DeadlineExpired, GuestLost) as error:
        raise _boot_failure(guest, request, error) from None
    if said.startswith("Kernel panic"):
        raise _panicked(console, said)


def _panicked(console: Console, said: str) -> GuestPanicked:
    with contextlib.suppress(DeadlineExpired):
        console.wait_ended(Deadline.after(_DRAIN_SECONDS, "the end of the console"))
    return GuestPanicked(
        f"the kernel panicked during boot: {said}",
        hint="the call trace is in serial.log",
        console=console.last_lines(),
    )


def _await_shell(console: Console) -> None:
    """Wait for init's last process: the huge-page accounting would miss its page tables.

    A kernel message in the middle of its prompt costs the wait and nothing else.
    """
    with contextlib.suppress(DeadlineExpired):
        console.expect(
            re.escape(PROMPT),
            Deadline.after(_SHELL_SECONDS, "the emergency shell"),
            start=console.after_history,
        )


def _facts(guest: Guest, request: BootRequest, deadline: Deadline) -> str:
    limit = deadline.within(LOGIN_SECONDS, "what the guest found out")
    try:
        return guest.ssh.run(request.ask, limit, check=True).stdout
    except GuestLost as error:
        error.outcome = Outcome.NOT_BOOTED
        raise


def _pools(
    guest: Guest, request: BootRequest, saved: SavedGuest | None, deadline: Deadline
) -> tuple[NodePool, ...]:
    """Return a guest's huge pages, as its init saw them if there are enough.

    Raises:
        PoolShort: if it has fewer than asked.
    """
    # A guest that was saved printed them before; a message of the kernel may have come in between.
    printed = guest.facts if saved is None else saved.console.decode(errors="replace")
    seen = pool.parse_counters(printed)
    with contextlib.suppress(PoolShort):
        pool.require(request.machine.hugepages, seen, guest.console)
        return seen
    pools = pool.read(guest.ssh, deadline)
    pool.require(request.machine.hugepages, pools, guest.console)
    return pools


def _boot_failure(guest: Guest, request: BootRequest, error: HarnessError) -> HarnessError:
    """Return the error for a guest that ended, or made no progress, before its init was done."""
    console = guest.console
    if isinstance(error, GuestLost) and console.silent:
        return guest.qemu.death()
    if console.silent:
        port = arch(request.machine.arch).console
        return GuestSilent(
            f"no output on the guest's console for {FIRST_BYTE_SECONDS:g} s",
            hint=f"does this kernel have CONFIG_TTY=y and the console driver of {port}? "
            "kernel-configs/required.config names them",
        )
    lines = console.last_lines()  # before sysrq adds to them
    last = lines[-1] if lines else ""
    ended = isinstance(error, GuestLost)
    if ended:
        how = "the guest ended during boot"
    else:
        where = request.locate_stall(guest)
        how = "the guest made no progress during boot" + (f", in {where}" if where else "")
    failure = BootError(
        f"{how}; last line on its console: {last}",
        hint="serial.log shows how far it got",
        console=lines,
    )
    if not ended or guest.shut_itself_down():
        failure.outcome = Outcome.NOT_BOOTED  # else QEMU was killed, say
    return failure


def _log_in(guest: Guest, request: BootRequest, keys: RunKeys, deadline: Deadline) -> None:
    """Log in while init does the rest, in which the guest may also panic or end."""
    console = guest.console
    asked = deadline.within(_ACTION_SECONDS, "QEMU's forwarded port")
    info = guest.qmp.monitor("info usernet", asked)
    limit = deadline.within(LOGIN_SECONDS, "the SSH login")
    try:
        guest.ssh.connect(forwarded_port(info), keys.host_public, keys.client_private, limit)
    except SshUnreachable as error:
        if guest.died.is_set():
            lost = GuestLost(error.message)
            guest.drain_console()
            panic = re.search(_PANIC, console.text(console.after_history))
            raise (
                _panicked(console, panic[0]) if panic else _boot_failure(guest, request, lost)
            ) from None
        said = [line for line in console.last_lines(40) if _INIT_LACKS.match(line)]
        why = f"; {said[-1]}" if said else ""
        raise SshUnreachable(
            f"{error.message}{why}", hint=error.hint, console=console.last_lines()
        ) from None
