# SPDX-License-Identifier: GPL-2.0-only
"""Which function a hang, a crash or a splat is blamed on, from what the kernel printed. Pure.

A hang is told from stacks. Of a task, the stack that a hang detector of the kernel printed comes
first: that of the capture has the capture's own functions in it. Where the capture saw the task
elsewhere, the report is old and does not count. The probe's own tasks come before others; where no
list tells which they are, every stuck task may be one. Other splats show where a task was earlier,
not where it hangs. The program counters that QMP read come last.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from harness.judge import dmesg, kernel_functions, stacks
from harness.judge.stacks import Stack
from harness.records.probe import Capture, Splat, Vcpu

#: The process that runs a probe in the guest, as the kernel prints its name.
RUNNER = "hgm-run"

#: Where a task sleeps until its page fault is resolved through userfaultfd.
USERFAULT = "handle_userfault"

#: `Capture.symbols`.
_Symbols = Mapping[str, Sequence[str]]

# Characters of a task's name that the kernel keeps (TASK_COMM_LEN without its NUL).
_NAME = 15

# Other tasks that are named beside the one that is blamed.
_OTHERS = 2

# Functions of a call chain that are named: those next to the wait, and the outermost ones. The
# second pair is for the other tasks.
_CHAIN, _SHORT_CHAIN = (1, 3), (0, 1)

# Who holds what a task waits for: as kernel/hung_task.c says of a hung task (since 6.16), and as
# `harness.evidence.lock_owners` says of a memory dump.
_OWNED = (
    re.compile(r"INFO: task .+:(\d+) .*likely owned by task (.+):(\d+)\b()"),
    re.compile(r"^.+\[(\d+)\] waits for [^,]+, held by (.+)\[(\d+)\](.*)$", re.MULTILINE),
)


class Hang(NamedTuple):
    """Where a guest hung; both are empty where that is not known.

    Attributes:
        where: short, such as ``f at mm/x.c:12, on CPU 1``.
        chain: who waits for what, and where: one line.
    """

    where: str
    chain: str


def of_hang(
    program: str,
    captured: str,
    splats: Sequence[Splat],
    capture: Capture,
    post_mortem: str = "",
) -> Hang:
    """Return where the guest of a probe hung.

    Args:
        program: the name of the probe's process.
        captured: what the kernel printed because of the capture.
        splats: those that came before.
        capture: what was captured.
        post_mortem: what drgn found in the memory dump; empty without one.
    """
    reports = "\n".join(
        line for each in reversed(splats) if each.kind in dmesg.STUCK for line in each.block
    )
    in_user_mode = {vcpu.number for vcpu in capture.vcpus if vcpu.level}
    symbols = dict(capture.symbols)
    seen = [
        _with_caller(_without_interrupt(stack, in_user_mode), capture.vcpus, symbols)
        for stack in stacks.parse(captured)
    ]
    found = _latest(stacks.parse(reports), seen)
    pids = _family(found)
    mine = [stack for stack in found if stack.name == program[:_NAME] or stack.pid in pids]
    if not mine:
        mine = [stack for stack in found if stack.cpu is not None and stack.cause is not None]
    telling = [stack for stack in mine if _interest(stack) is not None]
    if not telling:
        where = _of_vcpus(capture)
        return Hang(where, f"in {where}" if where else "")
    blamed = min(telling, key=lambda stack: _interest(stack) or 0)
    if blamed.user:
        return Hang("user mode, in the probe", "in user mode, in the probe")
    owners = _owners("\n".join((captured, reports, post_mortem)), found)
    others = sorted(
        (each for each in found if each.pid != blamed.pid and _is_stuck(each)),
        key=lambda each: (each not in mine, each.cpu is None),
    )
    told = [_story(blamed, symbols, owners)]
    told += [_story(each, symbols, owners, blamed) for each in others[:_OTHERS]]
    return Hang(_where(blamed, symbols), "; ".join(told))


def _latest(reported: Sequence[Stack], seen: Sequence[Stack]) -> list[Stack]:
    """Return one stack of each task: that of the newest report, unless the capture saw it leave."""
    chosen: dict[int, Stack] = {}
    for stack in seen:
        chosen[stack.pid] = max(chosen.get(stack.pid, stack), stack, key=_explains_more)
    reports: dict[int, Stack] = {}
    for stack in reported:
        if stack.cause is not None:
            reports.setdefault(stack.pid, stack)
    for pid, stack in reports.items():
        now = chosen.get(pid, stack)
        known = (stack.cause or 0) + (stack.linked and stack.cause == 1)
        still = now.cause is None or set(stack.functions[known : known + 1]) & set(now.functions)
        if still and not now.user:
            chosen[pid] = replace(stack, parent=now.parent)
    return list(chosen.values())


def _explains_more(stack: Stack) -> tuple[bool, bool]:
    """Return a sort key for stacks that the capture saw of one task."""
    explains = stack.user or stack.cause is not None
    return explains, stack.cpu is not None if explains else bool(stack.frames)


def _interest(stack: Stack) -> int | None:
    """Return a rank among the stacks of the probe's tasks: 0 tells most about a hang, None nothing.

    An interruptible sleeper comes last: it may be waiting for a thread of the probe that loops.
    """
    if stack.user:
        return 4
    if not stack.frames:
        return None
    if stack.cpu is not None:
        return 0 if stack.cause is not None else 3
    if stack.state in ("D", "S", "I"):
        return 1 if USERFAULT in stack.functions else 2 if stack.state == "D" else 5
    return None


def _is_stuck(stack: Stack) -> bool:
    """Return whether a task that is not blamed is part of the hang all the same."""
    spins = stack.cpu is not None and stack.wait is not None
    return stack.cause is not None and (spins or stack.state == "D")


def _without_interrupt(stack: Stack, in_user_mode: Collection[int]) -> Stack:
    """Return a stack without an interrupt that its CPU was only handling at that moment.

    The backtrace may come in the middle of a timer tick. QMP saw the CPU in user mode, so the
    handler is not what hangs.
    """
    if stack.interrupt and stack.cpu in in_user_mode:
        return replace(stack, user=True, frames=[])
    return stack


def _with_caller(stack: Stack, vcpus: Sequence[Vcpu], symbols: dict[str, tuple[str, ...]]) -> Stack:
    """Return a stack with the caller of a function without a stack frame, by the link register.

    The trace that a CPU of arm64 prints of itself has neither that caller nor the link register.

    Args:
        stack: of a CPU; others are returned as they are.
        vcpus: the registers that QMP showed.
        symbols: takes the caller's.
    """
    vcpu = next((each for each in vcpus if each.number == stack.cpu and each.link), None)
    if vcpu is None or stack.linked or not stack.frames:
        return stack
    at, call = (symbols.get(f"{address:#x}", ()) for address in (vcpu.pc, vcpu.call))
    if not at or not call or stacks.function(at[-1]) != stack.functions[0]:
        return stack
    caller = stacks.function(call[-1])
    if caller in stack.functions[:2]:
        return stack
    frame = f"{caller}+{vcpu.link:#x}"
    symbols[frame] = call
    return replace(stack, frames=[stack.frames[0], frame, *stack.frames[1:]], linked=True)


def _family(found: Sequence[Stack]) -> set[int]:
    """Return the descendants of the process that runs the probe; they may have any name."""
    runners = {stack.pid for stack in found if stack.name == RUNNER}
    family = set(runners)
    while below := {stack.pid for stack in found if stack.parent in family} - family:
        family |= below
    return family - runners


def _owners(text: str, found: Iterable[Stack]) -> dict[int, str]:
    """Return who holds what each waiting task waits for, by the waiter's pid."""
    owners = {
        int(match[1]): ("itself" if match[1] == match[3] else f"{match[2]} (pid {match[3]})")
        + match[4]
        for pattern in _OWNED
        for match in pattern.finditer(text)
    }
    held = stacks.held_locks(text)
    # lockdep lists a lock as soon as a task waits for it: then it is the last.
    waiting = {
        each.pid: held[each.pid][1][-1]
        for each in found
        if each.pid in held and held[each.pid][1] and each.wait
    }
    for pid, wanted in waiting.items():
        for holder, (name, locks) in held.items():
            has = locks[:-1] if holder in waiting else locks
            if any(lock.address == wanted.address for lock in has):
                owners[pid] = "itself" if holder == pid else f"{name} (pid {holder})"
    return owners


def _story(
    stack: Stack,
    symbols: _Symbols,
    owners: Mapping[int, str],
    blamed: Stack | None = None,
) -> str:
    """Return what one task does: who, in which call, waiting for what, where."""
    functions = stack.functions
    index = stack.cause or 0
    inner, outer = _CHAIN if blamed is None else _SHORT_CHAIN
    chain = [name for name in functions[index + 1 :] if _tells(name)]
    if len(chain) > inner + outer:
        chain = [*chain[:inner], "...", *chain[-outer:]]
    who = f"{stack.name} (pid {stack.pid})"
    who += f" on CPU {stack.cpu}" if stack.cpu is not None else ""
    call = _call(functions)
    wait = stack.wait
    if wait is None:
        does = "runs" if stack.cpu is not None else "sleeps"
    else:
        does = f"{wait.verb} for {_awaited(wait, stack, symbols, blamed)}"
    holder = f", held by {owners[stack.pid]}," if stack.pid in owners else ""
    where = " <- ".join([_place(stack.frames[index], symbols), *chain])
    return f"{who}{f' is {call}:' if call else ''} {does}{holder} in {where}"


def _tells(name: str) -> bool:
    return not kernel_functions.GLUE.match(name) and kernel_functions.bystander(name) is None


def _call(functions: Sequence[str]) -> str:
    """Return what a task is in, by its outermost functions; empty where that is not known."""
    calls = [match[1] for name in functions if (match := kernel_functions.SYSCALL.match(name))]
    if not calls and any(name.startswith("ret_from_fork") for name in functions):
        return "a kernel thread"
    within = calls[-1:] + ["a page fault"] * (
        not kernel_functions.PAGE_FAULTS.isdisjoint(functions)
    )
    return "in " + ", in ".join(within) if within else ""


def _awaited(
    wait: kernel_functions.Wait,
    stack: Stack,
    symbols: _Symbols,
    blamed: Stack | None,
) -> str:
    """Return what a task waits for, as exactly as its stack tells."""
    what = wait.what
    if what == kernel_functions.SPINLOCK and _is_page_table_lock(stack, symbols):
        what = "a page-table lock"
    if blamed is not None and wait.verb == "spins" and stack.argument and blamed.wait == wait:
        # Both CPUs have the address of their lock in the register of the first argument.
        which = "the same" if stack.argument == blamed.argument else "another"
        return f"{which} {what.partition(' ')[2]}" if blamed.argument else what
    return what


def _is_page_table_lock(stack: Stack, symbols: _Symbols) -> bool:
    if stack.argument and kernel_functions.is_page_table_lock(stack.argument, stack.arch):
        return True
    index = stack.cause or 0
    inlined = [stacks.function(each) for each in symbols.get(stack.frames[index], ())]
    return any(
        kernel_functions.PAGE_TABLE_LOCKERS.match(name)
        for name in (*stack.functions[: index + 1], *inlined)
    )


def _of_vcpus(capture: Capture) -> str:
    """Return where QMP saw a CPU run; empty where all of them were halted."""
    running = [vcpu for vcpu in capture.vcpus if not vcpu.halted]
    for vcpu in sorted(running, key=lambda each: _vcpu_rank(each, capture.symbols)):
        if vcpu.level:
            return f"user mode at {vcpu.pc:#x}, on CPU {vcpu.number}"
        return f"{_located(f'{vcpu.pc:#x}', capture.symbols)}, on CPU {vcpu.number}"
    return ""


def _vcpu_rank(vcpu: Vcpu, symbols: _Symbols) -> tuple[int, float]:
    """Return a sort key: code that explains a hang, a wait for a lock, user mode, all other."""
    rank = 2
    if not vcpu.level:
        names = [stacks.function(each) for each in symbols.get(f"{vcpu.pc:#x}", ())]
        row = kernel_functions.bystander(names[-1]) if names else None
        rank = 0 if row is None else 1 if row.kind == "lock" else 3
    return rank, -(vcpu.busy or 0.0)


def of_crash(splats: Sequence[Splat], capture: Capture | None) -> str:
    """Return where a kernel crashed: the function in its fatal splat, else where QMP saw a CPU."""
    symbols = capture.symbols if capture is not None else {}
    for splat in splats:
        if dmesg.is_fatal(splat) and (where := dmesg.culprit(splat.block, symbols)):
            return _located(where, symbols)
    return _of_vcpus(capture) if capture is not None else ""


def of_splat(splats: Sequence[Splat], capture: Capture | None) -> str:
    """Return where the first splat comes from; may be empty."""
    symbols = capture.symbols if capture is not None else {}
    where = dmesg.culprit(splats[0].block, symbols) if splats else ""
    return _located(where, symbols) if where else ""


def waiters(console: str) -> tuple[str, ...]:
    """Return the tasks that wait in a userfault, ``name[pid]`` each, in order."""
    found = (
        f"{stack.name}[{stack.pid}]"
        for stack in stacks.parse(console)
        if stack.cpu is None and USERFAULT in stack.functions
    )
    return tuple(dict.fromkeys(found))


def _where(stack: Stack, symbols: _Symbols) -> str:
    """Return the innermost function that explains a hang, and the lock it waits in."""
    index = stack.cause or 0
    skipped = [
        name
        for name in stack.functions[:index]
        if (row := kernel_functions.bystander(name)) is not None and row.kind == "lock"
    ]
    through = f", waiting in {skipped[0]}" if skipped else ""
    at = f"on CPU {stack.cpu}" if stack.cpu is not None else f"state {stack.state}"
    return f"{_located(stack.frames[index], symbols)}{through}, {at}"


def _place(frame: str, symbols: _Symbols) -> str:
    """Return a frame's function, with file and line where they are known."""
    function, _, where = _located(frame, symbols).partition(" at ")
    return f"{stacks.function(function)}{f' ({where})' if where else ''}"


def _located(key: str, symbols: _Symbols) -> str:
    """Return function and line of ``func+0x1/0x2`` or an address; unchanged if not known."""
    frames = symbols.get(key, ())
    if not frames:
        return key
    function, at, where = frames[-1].partition(" at ")
    is_name = not key.startswith("0x") and "+0x0/" not in key
    return f"{stacks.function(key if is_name else function)}{at}{where}"
