# SPDX-License-Identifier: GPL-2.0-only
"""What is captured of a guest that hangs or died, before it is killed.

============== =========================================================== =====================
step           what                                                        needs of the guest
============== =========================================================== =====================
registers      registers and program counter of every vCPU, through QMP    nothing
sysrq-w d l t  blocked tasks, locks, CPU backtraces, all tasks: a break on  interrupts on the CPU
               the serial console and the key; the emergency shell where   of the serial port, or
               the kernel takes no break                                   user space
nmi            ``inject-nmi``: the kernel panics with the backtraces of    its NMI handler
               all CPUs; only where the machine has an NMI, and
               sysrq-l did not show every CPU
vmcore         ``dump-guest-memory``, through QMP                          nothing
post-mortem    holders of locks, stacks, page tables, from the dump        debug information
symbols        functions and lines from the vmlinux                        nothing
============== =========================================================== =====================

The steps are taken in this order, the least invasive first. Each has a deadline. A step that fails
is recorded with the reason, and the next one is taken; once QMP has not answered one, no other step
asks it. QEMU pauses a guest that dies, so registers, vmcore and symbols can still be captured from
it.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.arch import arch
from harness.deadline import Deadline
from harness.errors import DeadlineExpired, HarnessError, QmpSilent
from harness.evidence import postmortem, symbols, vmcore
from harness.records.kernel import Kernel
from harness.records.probe import Capture, CaptureStep, Vcpu
from harness.store.rundir import POST_MORTEM
from harness.vm import hoststat, registers
from harness.vm.guest import Guest
from harness.workspace import atomic_write

if TYPE_CHECKING:
    from harness.vm.qmp import Qmp

#: The keys of sysrq in their order, and how the kernel's answer to each begins
#: (drivers/tty/sysrq.c).
KEYS = {
    "w": "Show Blocked State",
    "d": "Show Locks Held",
    "l": "Show backtrace of all active CPUs",
    "t": "Show State",
}

#: The kernel's words with file and line.
DECODED = "decoded.log"

#: Seconds that reading the symbols may take.
SYMBOL_SECONDS = 60.0

_SAMPLE_SECONDS = 0.25
_ANSWER_SECONDS = 3.0
_QMP_SECONDS = 10.0
_LIST_SECONDS = 20.0
_QUIET_SECONDS = 0.4
# A panicking kernel waits 1 us a million times for a CPU with interrupts off
# (native_stop_other_cpus of arch/x86/kernel/smp.c); under emulation each takes several.
_NMI_SECONDS = 30.0
_POST_MORTEM_SECONDS = 60.0

_SHOWN_CPU = re.compile(r"\bCPU: (\d+) (?:UID: \d+ )?PID: \d+|NMI backtrace for cpu (\d+) skipped")
_NO_SUCH_KEY = "HELP : "


class _NothingError(Exception):
    """A step yields nothing; the message is the reason."""


@dataclass
class Escalation:
    """The steps for one guest, and what they have yielded so far.

    Attributes:
        guest: the guest.
        kernel: what runs in it; its vmlinux has the symbols.
        run_dir: the run directory.
        directory: takes the files; below ``run_dir``.
        console_from: offset in ``serial.log`` where the probe began.
        policy: which memory dumps are made.
        timeout_scale: by how much to multiply the deadlines of what the guest does.
    """

    guest: Guest
    kernel: Kernel
    run_dir: Path
    directory: Path
    console_from: int
    policy: vmcore.Policy
    timeout_scale: float = 1.0
    _steps: list[CaptureStep] = field(default_factory=list)
    _vcpus: tuple[Vcpu, ...] = ()
    _vmcore: str = ""
    _breaks: bool = True
    _silent: bool = False

    def hang(self) -> Capture:
        """Take all steps for a guest that hangs; the guest is not usable afterwards."""
        began = self.guest.console.size
        self._step("registers", self._registers)
        self._lists()
        self._step("nmi", partial(self._nmi, began))
        if self._step("vmcore", self._dump):
            self._step("post-mortem", self._post_mortem)
        return self._capture("hang", began)

    def crash(self) -> Capture:
        """Take the steps for a guest that died; then let QEMU end."""
        began = self.guest.console.size
        if self.guest.paused_after_death:
            self._step("registers", self._registers)
            self._step("vmcore", self._dump)
            self.guest.resume_and_end()
        else:
            gone = "QEMU has ended, so the guest's memory is lost"
            self._steps.append(CaptureStep(name="vmcore", result=gone))
        return self._capture("crash", began)

    def splat(self) -> Capture:
        """Resolve the symbols of a splat during a probe that ended by itself."""
        return self._capture("splat", self.guest.console.size)

    def _capture(self, why: Literal["hang", "crash", "splat"], began: int) -> Capture:
        names: dict[str, tuple[str, ...]] = {}
        self._step("symbols", partial(self._symbols, names))
        return Capture(
            why=why,
            steps=tuple(self._steps),
            vcpus=self._vcpus,
            console_from=began,
            console_to=self.guest.console.size,
            symbols=names,
            vmcore=self._vmcore,
        )

    def _step(self, name: str, action: Callable[[], Path]) -> bool:
        """Take one step, record its result, and return whether it yielded anything."""
        began, file, result = time.monotonic(), "", "ok"
        try:
            file = str(action().relative_to(self.run_dir))
        except _NothingError as nothing:
            result = str(nothing)
        except QmpSilent as error:
            self._silent, result = True, error.message
        except HarnessError as error:
            result = error.message
        spent = round(time.monotonic() - began, 3)
        self._steps.append(CaptureStep(name=name, result=result, file=file, seconds=spent))
        return result == "ok"

    def _monitor(self) -> Qmp:
        """Return the QMP session, unless it has been silent before."""
        if self._silent:
            raise _NothingError("not asked: QEMU's monitor does not answer")
        return self.guest.qmp

    def _write(self, name: str, text: str) -> Path:
        path = self.directory / name
        atomic_write(path, text.encode(errors="surrogateescape"))
        return path

    def _registers(self) -> Path:
        limit = Deadline.after(_QMP_SECONDS, "QEMU's registers")
        threads = self.guest.threads
        before = hoststat.sample(threads)
        text = self._monitor().monitor("info registers -a", limit)
        time.sleep(_SAMPLE_SECONDS)  # the distance of two samples, not a wait for anything
        busy = dict(enumerate(hoststat.busy(before, hoststat.sample(threads))))
        later = self._monitor().monitor("info registers -a", limit)
        readings = [registers.parse_all(each, arch(self.kernel.arch)) for each in (text, later)]
        self._vcpus = tuple(
            Vcpu(
                number=number,
                pc=vcpu.pc,
                level=3 if vcpu.user else 0,
                halted=vcpu.halted,
                busy=busy.get(number),
                link=vcpu.link,
            )
            for number, vcpu in registers.of_readings(*readings).items()
        )
        parts = (text, f"{_SAMPLE_SECONDS:g} s later:", later)
        return self._write("registers.txt", "\n".join(parts).replace("\r\n", "\n"))

    def _lists(self) -> None:
        """Ask for each list; after no answer to the first, for no other."""
        answers = True
        for key in KEYS:
            if answers:
                answers = self._step(f"sysrq-{key}", partial(self._sysrq, key)) or key != "w"
            else:
                silent = "not asked: the kernel did not answer sysrq-w"
                self._steps.append(CaptureStep(name=f"sysrq-{key}", result=silent))

    def _sysrq(self, key: str) -> Path:
        console = self.guest.console
        start = console.size
        if self._breaks and not self._silent:
            self.guest.send_break()
            console.send(key)
            self._breaks = self._answered(key, start)
        if self._silent or not self._breaks:
            console.send(f"\necho {key} >/proc/sysrq-trigger\n")
            if not self._answered(key, start):
                raise _NothingError("neither a break nor the emergency shell got an answer")
        text = console.text(start)
        if KEYS[key] not in text:
            raise _NothingError("this kernel does not have the list")
        limit = Deadline.after(_LIST_SECONDS * self.timeout_scale, f"the list of sysrq-{key}")
        with contextlib.suppress(DeadlineExpired):  # what came until then is kept
            console.wait_quiet(_QUIET_SECONDS * self.timeout_scale, limit)
        return self._write(f"sysrq-{key}.txt", console.text(start))

    def _answered(self, key: str, start: int) -> bool:
        limit = Deadline.after(_ANSWER_SECONDS * self.timeout_scale, f"an answer to sysrq-{key}")
        try:
            self.guest.console.expect(f"sysrq: (?:{KEYS[key]}|{_NO_SUCH_KEY})", limit, start=start)
        except DeadlineExpired:
            return False
        return True

    def _nmi(self, began: int) -> Path:
        console = self.guest.console
        shown = {int(m[1] or m[2]) for m in _SHOWN_CPU.finditer(console.text(began))}
        if self._vcpus and {vcpu.number for vcpu in self._vcpus} <= shown:
            raise _NothingError("not needed: sysrq-l has shown every CPU")
        if not arch(self.kernel.arch).nmi:
            raise _NothingError("this machine has no NMI: see the post-mortem")
        start = console.size
        self._monitor().execute(
            "inject-nmi", deadline=Deadline.after(_QMP_SECONDS, "QEMU's inject-nmi")
        )
        limit = Deadline.after(_NMI_SECONDS * self.timeout_scale, "the kernel's answer to an NMI")
        self.guest.qmp.wait_event(lambda event: event["event"] == "GUEST_PANICKED", limit)
        # Messages from an NMI are not on the console yet. The panic prints them on its way to the
        # reboot, at which QEMU pauses the machine again.
        self.guest.qmp.execute("cont", deadline=limit)
        self.guest.qmp.wait_event(lambda event: event["event"] == "SHUTDOWN", limit)
        console.wait_quiet(_QUIET_SECONDS, Deadline.after(_LIST_SECONDS, "the backtraces"))
        return self._write("nmi.txt", console.text(start))

    def _dump(self) -> Path:
        if not self.policy.keep:
            raise _NothingError("HGM_VMCORES is 0")
        self._monitor()
        path = self.directory / vmcore.NAME
        limit = Deadline.after(vmcore.SECONDS * self.timeout_scale, "the memory dump")
        vmcore.take(self.guest.qemu, path, self.policy.limit, limit)
        vmcore.thin(self.run_dir.parent, self.policy.keep)
        self._vmcore = str(path.relative_to(self.run_dir))
        return path

    def _post_mortem(self) -> Path:
        path = self.run_dir / self._vmcore
        limit = Deadline.after(_POST_MORTEM_SECONDS, "reading the memory dump")
        guest = arch(self.kernel.arch)
        postmortem.write(path, self._vmlinux(), self.kernel.release, guest, limit)
        return path.with_name(POST_MORTEM)

    def _vmlinux(self) -> Path:
        if not self.kernel.vmlinux:
            raise _NothingError("there is no vmlinux of this kernel")
        return Path(self.kernel.vmlinux)

    def _symbols(self, names: dict[str, tuple[str, ...]]) -> Path:
        vmlinux = self._vmlinux()
        text = self.guest.console.text(self.console_from)
        path = self.directory / DECODED
        limit = Deadline.after(SYMBOL_SECONDS, "reading the symbols")
        in_kernel = [vcpu for vcpu in self._vcpus if vcpu.level == 0]
        addresses = [at for vcpu in in_kernel for at in (vcpu.pc, vcpu.call) if at]
        names.update(symbols.write_decoded(path, text, addresses, vmlinux, limit))
        return path
