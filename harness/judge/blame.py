# SPDX-License-Identifier: GPL-2.0-only
"""Which function a hang, a crash or a splat is blamed on, from what the kernel printed. Pure.

The lists of sysrq and of an NMI hold two kinds of stacks: of tasks (``task:NAME state:D ...``,
kernel/sched/core.c: sched_show_task) and of CPUs (``CPU: 1 ... Comm: NAME``, lib/dump_stack.c). The
stacks of the probe's own processes come first: those that the capture made the kernel print, then
those in the reports of the kernel's hang detectors. Other splats show where a task was earlier, not
where it hangs. The program counters that QMP read come last.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.judge import dmesg
from harness.judge.lines import split, stamp
from harness.records.probe import Capture, Splat

_TASK = re.compile(r"task:(\S.*?) +state:(\w) .*?\bpid: *(\d+) .*?\bppid: *(\d+)")
_CPU = re.compile(
    r"CPU: (\d+) (?:UID: \d+ )?PID: (\d+) Comm: (.+?) (?:Not tainted|Tainted: |\d+\.)"
)
_RIP = re.compile(r"RIP: (0010|0033):(\S+)")
_FRAME = re.compile(r" *([A-Za-z_][\w.]*\+0x[0-9a-f]+/0x[0-9a-f]+)(?: \[\w+\])?\Z")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*")

_KERNEL_CODE = "0010"

# The outermost function of an interrupt.
_INTERRUPTED = re.compile(r"asm_(?:sysvec_|common_interrupt|spurious_interrupt|exc_nmi)")

# The scheduler, in which every sleeping task is; the caller is of interest.
_SCHEDULER = re.compile(r"_*(?:schedule|switch_to|context_switch|io_schedule)")

# Where a CPU waits for a lock; the caller is of interest.
_WAITING = re.compile(
    r"_*(?:native_|pv_|kvm_)?(?:queued_(?:spin|read|write)|(?:do_)?raw_(?:spin|read|write)_)"
    r"|_*(?:rep_nop|cpu_relax|delay|const_udelay|lock_acquire|pv_wait|kvm_wait)"
)

#: The process that runs a probe in the guest, as the kernel prints its name.
RUNNER = "hgm-run"

#: Where a task sleeps until its page fault is resolved through userfaultfd.
USERFAULT = "handle_userfault"

# `_interest` of an interruptible sleep that is not a userfault: it explains a hang least.
_INTERRUPTIBLE = 2


@dataclass
class Stack:
    """One stack that the kernel printed, the innermost function first.

    Attributes:
        name: of the task, as the kernel prints it.
        pid: its process ID.
        parent: its parent's; 0 for the stack of a CPU.
        state: ``D``, ``S``, ``R`` ...; empty for the stack of a CPU.
        cpu: the CPU's number; None for the stack of a task.
        frames: ``func+0x1/0x2`` each.
        kernel: whether the CPU was seen in the kernel, by its program counter.
        user: whether the CPU was in user mode.
        interrupt: whether it was in the kernel for an interrupt of user mode only.
    """

    name: str
    pid: int
    parent: int = 0
    state: str = ""
    cpu: int | None = None
    frames: list[str] = field(default_factory=list)
    kernel: bool = False
    user: bool = False
    interrupt: bool = False


def stacks(console: str) -> tuple[Stack, ...]:
    """Return the stacks in a text of the console, in order; never raises."""
    return tuple(_stacks(console))


def _stacks(console: str) -> Iterator[Stack]:
    current: Stack | None = None
    for line in split(console):
        text = stamp(line.text)[1]
        task, cpu = _TASK.match(text), _CPU.match(text)
        if task or cpu:
            if current is not None:
                yield current
            if task:
                current = Stack(task[1], int(task[3]), parent=int(task[4]), state=task[2])
            elif cpu:
                current = Stack(cpu[3], int(cpu[2]), cpu=int(cpu[1]))
        elif current is not None:
            _extend(current, text)
    if current is not None:
        yield current


def _extend(stack: Stack, text: str) -> None:
    rip = _RIP.match(text.strip())
    if rip and stack.cpu is not None and not stack.user:
        if rip[1] == _KERNEL_CODE:
            # The frames before it are those of the interrupt.
            stack.kernel, stack.frames = True, [rip[2]]
        elif not stack.kernel and (not stack.frames or _INTERRUPTED.match(stack.frames[-1])):
            # Otherwise it is only where userspace called the kernel from.
            stack.user, stack.frames = True, []
        elif stack.frames and _INTERRUPTED.match(stack.frames[-1]):
            stack.interrupt = True
    elif (frame := _FRAME.match(text)) and not stack.user and frame[1] not in stack.frames[:1]:
        stack.frames.append(frame[1])


def of_hang(program: str, captured: str, splats: Sequence[Splat], capture: Capture) -> str:
    """Return where the guest of a probe hung, such as ``f at mm/x.c:12, on CPU 1``; may be empty.

    Args:
        program: the name of the probe's process.
        captured: what the kernel printed because of the capture.
        splats: those that came before.
        capture: what was captured.
    """
    reports = ("\n".join(each.block) for each in reversed(splats) if each.kind in dmesg.STUCK)
    printed = [stacks(text) for text in (captured, *reports)]
    pids = _family([stack for found in printed for stack in found])
    in_user_mode = {vcpu.number for vcpu in capture.vcpus if vcpu.level}
    for found in printed:
        mine = [
            _without_interrupt(stack, in_user_mode)
            for stack in found
            if stack.name == program or stack.pid in pids
        ]
        if where := _of_stacks(mine, capture.symbols):
            return where
    return _of_vcpus(capture)


def _without_interrupt(stack: Stack, in_user_mode: Collection[int]) -> Stack:
    """Return a stack without an interrupt that its CPU was only handling at that moment.

    The backtrace may come in the middle of a timer tick. QMP saw the CPU in user mode, so the
    handler is not what hangs.
    """
    if stack.interrupt and stack.cpu in in_user_mode:
        return replace(stack, user=True, frames=[])
    return stack


def _of_stacks(mine: Sequence[Stack], symbols: Mapping[str, Sequence[str]]) -> str:
    """Return where a probe's processes are, by their stacks; empty where there are none."""
    for stack in mine:
        if stack.cpu is not None and stack.frames:
            return f"{_top(stack, symbols)}, on CPU {stack.cpu}"
    asleep = [stack for stack in mine if stack.state in ("D", "S", "I") and stack.frames]
    for stack in sorted(asleep, key=_interest):
        # An interruptible sleeper may be waiting for a thread of the probe that loops.
        if _interest(stack) < _INTERRUPTIBLE or not any(other.user for other in mine):
            return f"{_top(stack, symbols)}, state {stack.state}"
    return "user mode, in the probe" if any(stack.user for stack in mine) else ""


def _family(found: Sequence[Stack]) -> frozenset[int]:
    """Return the descendants of the process that runs the probe; they may have any name."""
    family = {stack.pid for stack in found if stack.cpu is None and stack.name == RUNNER}
    runners = frozenset(family)
    grown = True
    while grown:
        below = {stack.pid for stack in found if stack.cpu is None and stack.parent in family}
        grown = not below <= family
        family |= below
    return frozenset(family) - runners


def _interest(stack: Stack) -> int:
    """Return a sort key: the sleep that explains a hang best comes first."""
    if any(_name(frame) == USERFAULT for frame in stack.frames):
        return 0
    return 1 if stack.state == "D" else _INTERRUPTIBLE


def _of_vcpus(capture: Capture) -> str:
    """Return where QMP saw a CPU run; empty where all of them were halted."""
    running = [vcpu for vcpu in capture.vcpus if not vcpu.halted]
    for vcpu in sorted(running, key=lambda each: (each.level != 0, -(each.busy or 0.0))):
        if vcpu.level:
            return f"user mode at {vcpu.pc:#x}, on CPU {vcpu.number}"
        return f"{_located(f'{vcpu.pc:#x}', capture.symbols)}, on CPU {vcpu.number}"
    return ""


def of_crash(splats: Sequence[Splat], capture: Capture | None) -> str:
    """Return where a kernel crashed: the function in its fatal splat, else where QMP saw a CPU."""
    symbols = capture.symbols if capture is not None else {}
    for splat in splats:
        if dmesg.is_fatal(splat) and (where := dmesg.culprit(splat.block)):
            return _located(where, symbols)
    return _of_vcpus(capture) if capture is not None else ""


def of_splat(splats: Sequence[Splat], capture: Capture | None) -> str:
    """Return where the first splat comes from; may be empty."""
    symbols = capture.symbols if capture is not None else {}
    wheres = (dmesg.culprit(splat.block) for splat in splats[:1])
    return next((_located(where, symbols) for where in wheres if where), "")


def waiters(console: str) -> tuple[str, ...]:
    """Return the tasks that wait in a userfault, ``name[pid]`` each, in order."""
    found = (
        f"{stack.name}[{stack.pid}]"
        for stack in stacks(console)
        if stack.cpu is None and any(_name(frame) == USERFAULT for frame in stack.frames)
    )
    return tuple(dict.fromkeys(found))


def _top(stack: Stack, symbols: Mapping[str, Sequence[str]]) -> str:
    """Return the innermost function that explains a sleep, and the lock it waits in."""
    skipped = ""
    for frame in stack.frames:
        if _SCHEDULER.match(frame):
            continue
        if not _WAITING.match(frame):
            through = f", waiting in {skipped}" if skipped else ""
            return f"{_located(frame, symbols)}{through}"
        skipped = skipped or _name(frame)
    return _located(stack.frames[0], symbols)


def _name(frame: str) -> str:
    match = _FUNCTION.match(frame)
    return match[0] if match else frame


def _located(key: str, symbols: Mapping[str, Sequence[str]]) -> str:
    """Return function and line of ``func+0x1/0x2`` or an address; unchanged if not known."""
    frames = symbols.get(key, ())
    if not frames:
        return key
    function, at, where = frames[-1].partition(" at ")
    return f"{_name(key) if not key.startswith('0x') else _name(function)}{at}{where}"
