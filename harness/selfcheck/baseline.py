# SPDX-License-Identifier: GPL-2.0-only
"""What the harness is measured against: what a developer types, and what each of them costs.

The harness works in a cache of its own that is removed afterwards; it shares the sources, the guest
image and the compiled probes of the user's. The bare make beside it is what a developer types: all
cores, gcc, the same configuration and targets, no compiler cache. The bare boot is QEMU with the
same kernel, memory and initramfs, whose init is told to power off at once.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import command
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import InfrastructureError
from harness.kernel.git import Store
from harness.kernel.worktree_pool import Worktree
from harness.records.kernel import Kernel
from harness.records.machine import AccelChoice, GuestImage, MachineSpec
from harness.vm import spec
from harness.workspace import Workspace

#: Rooms of the cache that cost minutes to fill and change nothing in what is measured.
_SHARED = ("sources", "sources.git", "images", "recipes", "probes", "accel", "facts")


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        wall: seconds on the clock.
        cpu: seconds of processor time, all its processes together.
    """

    wall: float
    cpu: float


@contextlib.contextmanager
def own_cache(workspace: Workspace) -> Iterator[Workspace]:
    """Yield a cache in which nothing was built; it is removed on the way out."""
    with workspace.unfinished("bench") as room:
        for name in _SHARED:
            (room / name).symlink_to(workspace.room(name))
        yield Workspace(room)


def hgm(
    words: Sequence[str], own: Workspace, context: Context, *, ok: Collection[int] = (0,)
) -> Cost:
    """Run a command of `hgm` in a cache of its own, with what is left of the time.

    Raises:
        InfrastructureError: if it ends otherwise than with one of the exit codes ``ok``.
    """
    argv = [sys.executable, "-m", "harness.cli", *words, *timeout_words(context)]
    return cost(argv, context, {"HGM_CACHE": str(own.cache)}, ok)


def timeout_words(context: Context) -> tuple[str, ...]:
    """Return the option that bounds a command by what is left of the time."""
    return ("--timeout", f"{max(1.0, context.deadline.remaining()):.0f}")


class Tree:
    """A developer's tree, with its build directory.

    Args:
        own: holds both.
        context: cache, deadline, progress.
    """

    def __init__(self, own: Workspace, context: Context) -> None:
        self._worktree = Worktree(own.cache / "developer")
        self._bare = own.cache / "bare"
        self._context = context

    @property
    def source(self) -> Path:
        """Return where its files are."""
        return self._worktree.source

    def switch(self, tree: str) -> None:
        """Make its files those of a git tree; what is so already stays as it is."""
        store = Store.of(self._context)
        self._worktree.switch(tree, store, self._context.deadline)

    def configure(self, config: Path) -> None:
        """Take over a configuration; the same one again changes nothing."""
        self._bare.mkdir(exist_ok=True)
        shutil.copyfile(config, self._bare / ".config")
        cost([*self._argv(), "olddefconfig"], self._context)

    def make(self, *more: str) -> Cost:
        """Make its kernel, and more targets."""
        jobs = len(os.sched_getaffinity(0))
        return cost([*self._argv(), f"-j{jobs}", "bzImage", *more], self._context)

    def build(self, kernel: Kernel, *more: str) -> Cost:
        """Make a kernel that the harness has made, and more targets; what make took is returned."""
        self.switch(kernel.series.tree)
        self.configure(Path(kernel.config))
        return self.make(*more)

    def _argv(self) -> tuple[str, ...]:
        return ("make", "-C", str(self.source), f"O={self._bare}")


def bare_boot(
    kernel: Kernel, image: GuestImage, machine: MachineSpec, accel: AccelChoice, serial_log: str
) -> tuple[str, ...]:
    """Return the argv of a bare boot; it ends when the guest has powered off."""
    launch = spec.Launch(
        machine=machine,
        accel=accel.name,
        cpu=accel.cpu,
        kernel=kernel.image,
        initrd=image.initramfs,
        append=("rdinit=/bin/busybox", "--", "poweroff", "-f"),
        qmp_fd=-1,
        console_fd=-1,
    )
    return spec.bare_argv(launch, serial_log)


def cost(
    argv: Sequence[str],
    context: Context,
    env: Mapping[str, str] | None = None,
    ok: Collection[int] = (0,),
) -> Cost:
    """Run a command to its good end and return what it took; it writes back nobody else's files.

    Raises:
        InfrastructureError: if it ends otherwise.
    """
    os.sync()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    must_end_well(argv, context.deadline, env, ok)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu)


def must_end_well(
    argv: Sequence[str],
    deadline: Deadline,
    env: Mapping[str, str] | None = None,
    ok: Collection[int] = (0,),
) -> None:
    """Run a command to its good end.

    Raises:
        InfrastructureError: if it ends otherwise.
    """
    done = command.run(argv, deadline, env=env or {}, ok=None)
    if done.exit_code not in ok:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise InfrastructureError(
            f"a round of the benchmark ended with {done.exit_code}: {said[-1] if said else ''}",
            command=argv,
        )
