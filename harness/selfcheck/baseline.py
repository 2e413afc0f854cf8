# SPDX-License-Identifier: GPL-2.0-only
"""The baseline of benchmarks: bare makes and boots, and the cost of a command.

The harness gets a cache of its own, which shares sources, guest image and compiled probes with the
user's and is removed afterwards. A bare make is what one types: all cores, gcc, the same
configuration and targets, no compiler cache. A bare boot is QEMU with the same kernel, memory and
initramfs, whose init powers off at once.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import command
from harness.arch import Arch
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import InfrastructureError
from harness.kernel.git import Store
from harness.kernel.worktree_pool import Worktree
from harness.records.kernel import Kernel
from harness.records.machine import AccelChoice, GuestImage, MachineSpec
from harness.vm import spec
from harness.workspace import Workspace

# Directories of the cache that take minutes to fill and do not change what is measured.
_SHARED = ("sources", "sources.git", "images", "recipes", "probes", "accel", "facts")


@dataclass(frozen=True)
class Cost:
    """The cost of a command.

    Attributes:
        wall: seconds of wall time.
        cpu: seconds of processor time of all its processes.
    """

    wall: float
    cpu: float


@contextlib.contextmanager
def own_cache(workspace: Workspace) -> Iterator[Workspace]:
    """Yield a cache in which nothing was built; it is removed at the end."""
    with workspace.unfinished("bench") as room:
        share(workspace, room, _SHARED)
        yield Workspace(room)


def share(workspace: Workspace, room: Path, names: Iterable[str]) -> None:
    """Make a directory a cache that has directories of another one."""
    for name in names:
        (room / name).symlink_to(workspace.room(name))


def hgm(
    words: Sequence[str], own: Workspace, context: Context, *, ok: Collection[int] = (0,)
) -> Cost:
    """Run a command of `hgm` in a cache of its own, within the time that is left.

    Raises:
        InfrastructureError: if its exit code is not one of ``ok``.
    """
    argv = [sys.executable, "-P", "-m", "harness.cli", *words, *timeout_words(context)]
    return cost(argv, context, {"HGM_CACHE": str(own.cache)}, ok)


def timeout_words(context: Context) -> tuple[str, ...]:
    """Return the option that limits a command to what is left of the time."""
    return ("--timeout", f"{max(1.0, context.deadline.remaining()):.0f}")


class BareTree:
    """A kernel tree and its build directory, for bare makes.

    Args:
        own: holds both.
        guest: the kernel's architecture.
        context: cache, deadline, progress.
    """

    def __init__(self, own: Workspace, guest: Arch, context: Context) -> None:
        self._worktree = Worktree(own.cache / "tree")
        self._bare = own.cache / "bare"
        self._guest = guest
        self._context = context

    @property
    def source(self) -> Path:
        """Return the directory of its files."""
        return self._worktree.source

    def switch(self, tree: str) -> None:
        """Check out a git tree; unchanged files are not touched."""
        store = Store.of(self._context)
        self._worktree.switch(tree, store, self._context.deadline)

    def configure(self, config: Path) -> None:
        """Use a configuration; the same one again changes nothing."""
        self._bare.mkdir(exist_ok=True)
        shutil.copyfile(config, self._bare / ".config")
        cost([*self._argv(), "olddefconfig"], self._context)

    def make(self, *more: str) -> Cost:
        """Make the kernel and more targets."""
        jobs = len(os.sched_getaffinity(0))
        return cost([*self._argv(), f"-j{jobs}", self._guest.image, *more], self._context)

    def build(self, kernel: Kernel, *more: str) -> Cost:
        """Make the same kernel as the harness, and more targets; return the cost of make."""
        self.switch(kernel.series.tree)
        self.configure(Path(kernel.config))
        return self.make(*more)

    def _argv(self) -> tuple[str, ...]:
        target = (f"ARCH={self._guest.kernel}", f"CROSS_COMPILE={self._guest.cross}")
        return ("make", "-C", str(self.source), f"O={self._bare}", *target)


def bare_boot(
    kernel: Kernel, image: GuestImage, machine: MachineSpec, accel: AccelChoice, serial_log: str
) -> tuple[str, ...]:
    """Return the argv of a bare boot, which ends when the guest powers off."""
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
    """Run a command and return its cost; files are synced first, to not pay for earlier writes.

    Raises:
        InfrastructureError: if its exit code is not one of ``ok``.
    """
    os.sync()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run_checked(argv, context.deadline, env, ok)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu)


def run_checked(
    argv: Sequence[str],
    deadline: Deadline,
    env: Mapping[str, str] | None = None,
    ok: Collection[int] = (0,),
) -> None:
    """Run a command.

    Raises:
        InfrastructureError: if its exit code is not one of ``ok``.
    """
    require_exit_code(command.run(argv, deadline, env=env or {}, ok=None), ok)


def require_exit_code(done: command.Completed, ok: Collection[int]) -> None:
    """Raise InfrastructureError, with the last line of output, for an exit code not in ``ok``."""
    if done.exit_code not in ok:
        output = (done.stderr or done.stdout).strip().splitlines()
        raise InfrastructureError(
            f"a round of the benchmark ended with {done.exit_code}: {output[-1] if output else ''}",
            command=done.argv,
        )
