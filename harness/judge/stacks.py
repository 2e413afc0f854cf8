# SPDX-License-Identifier: GPL-2.0-only
"""The stacks and the lists of held locks in what a kernel printed. Pure.

The lists of sysrq and of an NMI hold two kinds of stacks: of tasks (``task:NAME state:D ...``,
kernel/sched/core.c: sched_show_task) and of CPUs (``CPU: 1 ... Comm: NAME``, lib/dump_stack.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.arch import arches
from harness.judge import kernel_functions
from harness.judge.lines import message, split

_TASK = re.compile(r"task:(\S.*?) +state:(\w) .*?\bpid: *(\d+) .*?\bppid: *(\d+)")
_CPU = re.compile(
    r"CPU: (\d+) (?:UID: \d+ )?PID: (\d+) Comm: (.+?) (?:Not tainted|Tainted: |\d+\.)"
)
# Of x86-64, whose code segment tells the mode, and of arm64, which names kernel functions only.
_PC = re.compile(
    r"RIP: (?:(?P<kernel>0010)|0033):(?P<at>\S+)|pc : (?:0x)?(?:[0-9a-f]+\Z|(?P<named>\S+))"
)
# Where the function at `pc` returns to, if it has called none itself: if it has no stack frame,
# the trace of arm64 lacks that.
_LINK = re.compile(r"lr : (?P<at>[A-Za-z_][\w.]*\+0x[0-9a-f]+/0x[0-9a-f]+)")
_ARGUMENTS = "|".join(f"(?P<{n}>{each.registers.printed_argument})" for n, each in arches().items())
_ARGUMENT = re.compile(rf".*\b(?:{_ARGUMENTS})(?P<value>[0-9a-f]{{16}})\b")
_FRAME = re.compile(r" *([A-Za-z_][\w.]*\+0x[0-9a-f]+/0x[0-9a-f]+)(?: \[\w+\])?(?: \([A-Z]+\))?\Z")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*")

# The outermost function of an interrupt, and of an exception that is handled for its task. arm64
# shows no program counter below its own: the next frame is what was interrupted.
_INTERRUPTED_KERNEL = re.compile(r"el1[ht]_64_(?:irq|fiq)\+")
_INTERRUPTED_USER = re.compile(r"el0t_64_(?:irq|fiq)\+")
_INTERRUPTS = re.compile(
    r"asm_(?:sysvec_|common_interrupt|spurious_interrupt|exc_nmi)|" + _INTERRUPTED_USER.pattern
)
_EXCEPTION = re.compile(r"asm_exc_(?!nmi)")

_HELD = re.compile(r"(\d+) locks? held by (.+)/(\d+):\Z")
_LOCK = re.compile(r" *#\d+: ([0-9a-f]+) \((.+)\)\{\S+\}-\{\d+:\d+\}, at: ")


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
        argument: the first of the innermost function of a CPU; 0 where it was not printed.
        arch: the architecture whose register that was in; empty likewise.
        linked: whether the second frame is the link register's, which no trace has.
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
    argument: int = 0
    arch: str = ""
    linked: bool = False

    @property
    def functions(self) -> list[str]:
        """The frames' names."""
        return [function(frame) for frame in self.frames]

    @property
    def cause(self) -> int | None:
        """The index of the innermost frame that explains a hang; None where none does."""
        return kernel_functions.explaining(self.functions)

    @property
    def wait(self) -> kernel_functions.Wait | None:
        """What the task waits for; None where that is not known."""
        return kernel_functions.wait(self.functions)


class HeldLock(NamedTuple):
    """A lock in lockdep's list of a task: held, or being taken if it is the last.

    Attributes:
        address: of the lock.
        called: its class, such as ``ptlock_ptr(ptdesc)#2``.
    """

    address: int
    called: str


def parse(console: str) -> tuple[Stack, ...]:
    """Return the stacks in a text of the console, in order; never raises."""
    return tuple(_stacks(console))


def function(frame: str) -> str:
    """Return the name in ``func+0x1/0x2``; the text itself where there is none."""
    match = _FUNCTION.match(frame)
    return match[0] if match else frame


def held_locks(console: str) -> dict[int, tuple[str, tuple[HeldLock, ...]]]:
    """Return the name and the locks of each task in lockdep's lists, by pid; never raises."""
    found: dict[int, tuple[str, tuple[HeldLock, ...]]] = {}
    pid = 0
    for line in split(console):
        text = message(line.text)
        if head := _HELD.match(text):
            pid = int(head[3])
            found[pid] = (head[2], ())
        elif pid and (lock := _LOCK.match(text)):
            name, locks = found[pid]
            found[pid] = (name, (*locks, HeldLock(int(lock[1], 16), lock[2])))
        else:
            pid = 0
    return found


def _stacks(console: str) -> Iterator[Stack]:
    current: Stack | None = None
    for line in split(console):
        text = message(line.text)
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
    pc = _PC.match(text.strip())
    if pc and stack.cpu is not None and not stack.user:
        if at := pc["named"] or (pc["kernel"] and pc["at"]):
            if stack.frames and _EXCEPTION.match(stack.frames[-1]):
                stack.frames.append(at)  # what took the exception is part of the chain
            else:
                # The frames before it are those of the interrupt.
                stack.kernel, stack.frames, stack.argument = True, [at], 0
        else:
            _below_is_user_mode(stack)
    elif (link := _LINK.match(text)) and stack.kernel and len(stack.frames) == 1:
        if function(link["at"]) != function(stack.frames[0]):
            stack.frames.append(link["at"])
            stack.linked = True
    elif (frame := _FRAME.match(text)) and not stack.user and frame[1] not in stack.frames[:2]:
        stack.frames.append(frame[1])
        if stack.cpu is not None and _INTERRUPTED_KERNEL.match(frame[1]):
            stack.kernel, stack.frames, stack.argument = True, [], 0
        elif stack.cpu is not None and _INTERRUPTED_USER.match(frame[1]):
            _below_is_user_mode(stack)
    elif 1 <= len(stack.frames) <= 2 and not stack.argument and (found := _ARGUMENT.match(text)):
        stack.argument = int(found["value"], 16)
        stack.arch = next(name for name in arches() if found[name])


def _below_is_user_mode(stack: Stack) -> None:
    interrupted = bool(stack.frames and _INTERRUPTS.match(stack.frames[-1]))
    if not stack.kernel and (interrupted or not stack.frames):
        # Otherwise it is only where userspace called the kernel from.
        stack.user, stack.frames = True, []
    elif interrupted:
        stack.interrupt = True
