# SPDX-License-Identifier: GPL-2.0-only
"""Who holds the mutexes and rwsems that the tasks of a memory dump wait for; no stack tells that.

Since 6.16 a task knows the lock that it waits for (CONFIG_DETECT_HUNG_TASK_BLOCKER). Before, the
lock is found through its list of waiters: a waiter lies on the stack of its task.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import drgn
from drgn.helpers.linux.locking import RwsemLocked, mutex_owner, rwsem_locked, rwsem_owner
from drgn.helpers.linux.pid import for_each_task

from harness.judge import kernel_functions

_MUTEX, _RWSEM = "struct mutex", "struct rw_semaphore"

# By what a task waits for, as `kernel_functions.WAITS` has it.
_TYPES = {"a mutex": _MUTEX, "an rwsem (read)": _RWSEM, "an rwsem (write)": _RWSEM}

# The low bits of task_struct.blocker say which kind of lock it is (include/linux/hung_task.h).
_BLOCKER_KIND = 3

# struct mutex_waiter and struct rwsem_waiter begin with a list_head; the task follows.
_PREVIOUS, _TASK = 8, 16

_WORD = 8
_MAX_WAITERS = 1024


def lines(prog: Any) -> Iterator[str]:
    """Yield a line for each task that waits for a mutex or an rwsem, with the lock's holder."""
    tasks = {task.value_(): task for task in for_each_task(prog)}
    size = prog["THREAD_SIZE"].value_()
    stacks = {
        address: range(start, start + size, _WORD)
        for address, task in tasks.items()
        if (start := task.stack.value_())
    }
    for task in tasks.values():
        with contextlib.suppress(Exception):  # drgn raises many kinds on damaged structures
            wait = kernel_functions.wait([frame.name or "" for frame in prog.stack_trace(task)])
            if wait is not None and (kind := _TYPES.get(wait.what)):
                address = _address(prog, task, kind, stacks)
                what = f"a {kind} that was not found"
                if address is not None:
                    lock = drgn.Object(prog, kind, address=address).address_of_()
                    what = f"{kind} {_symbol(prog, address)}, {_holder(lock, tasks)}"
                yield f"{named(task)} waits for {what}"


def named(task: Any) -> str:
    """Return ``name[pid]``."""
    return f"{task.comm.string_().decode(errors='replace')}[{task.pid.value_()}]"


def _symbol(prog: Any, address: int) -> str:
    with contextlib.suppress(LookupError):
        return str(prog.symbol(address).name)
    return f"{address:#x}"


def _holder(lock: Any, tasks: Mapping[int, Any]) -> str:
    mutex = lock.type_.type.tag == "mutex"
    holder = tasks.get((mutex_owner if mutex else rwsem_owner)(lock).value_())
    if holder is None:
        return "whose holder is not known"
    shared = not mutex and rwsem_locked(lock) is RwsemLocked.READ_LOCKED
    return f"held by {named(holder)}{' and perhaps other readers' if shared else ''}"


def _address(prog: Any, task: Any, kind: str, stacks: Mapping[int, range]) -> int | None:
    with contextlib.suppress(AttributeError):
        return int(task.blocker.value_()) & ~_BLOCKER_KIND or None
    head = wait_list(prog.read_u64, task.value_(), stacks)
    return None if head is None else head - drgn.offsetof(prog.type(kind), "wait_list")


def wait_list(read: Callable[[int], int], task: int, stacks: Mapping[int, range]) -> int | None:
    """Return the address of the list head of the lock that a task waits for; None if not found.

    Args:
        read: returns the 64-bit word at an address, or raises.
        task: the address of its task_struct.
        stacks: the addresses of the words of each task's stack, by that of its task_struct.
    """
    for entry in stacks[task]:
        with contextlib.suppress(drgn.FaultError):
            node = entry
            for _ in range(_MAX_WAITERS if read(entry + _TASK) == task else 0):
                following = read(node)
                if read(following + _PREVIOUS) != node:
                    break
                node = following
                if node not in stacks.get(read(node + _TASK), ()):
                    return node  # not a waiter, so it is in the lock
    return None
