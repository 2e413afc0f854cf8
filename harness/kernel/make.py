# SPDX-License-Identifier: GPL-2.0-only
"""Runs make with fixed variables and nothing of the caller's environment."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness import command
from harness.arch import Arch
from harness.deadline import Deadline
from harness.errors import CommandFailed, HarnessError, KernelCompileError
from harness.progress import Progress
from harness.workspace import atomic_write

#: Objects of a 6.12 kernel with the base fragment, for the first build on a host.
TYPICAL_OBJECTS = 1750

#: $CACHED_GCC through ccache, by its name alone: Kbuild compiles everything again when CC is
#: another word.
_CACHED_GCC = Path(__file__).with_name("bin") / "hgm-gcc"

#: Who builds and when, fixed so that the same input gives the same bytes.
_FIXED = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "hgm",
    "KBUILD_BUILD_HOST": "hgm",
    "KBUILD_BUILD_VERSION": "1",
}

#: Variables of the caller's environment that would change a kernel but not its cache key.
_UNSET = ("KCFLAGS", "KCPPFLAGS", "KAFLAGS", "LLVM", "LOCALVERSION", "W", "C")

_OBJECT = re.compile(r"  (?:CC|AS|LD|AR) +\S")
_COMPILE_ERROR = re.compile(r"(\S+?:\d+(?::\d+)?: (?:fatal )?error: .*)")
_KCONFIG_ERROR = re.compile(r"(\S*Kconfig\S*:\d+: (?!warning).*)")
_SYMBOL_ERROR = re.compile(r"(.*(?:undefined reference to|multiple definition of) .*)")
_LINK_ERROR = re.compile(r"((?:\S*ld: |ERROR: ).*)")
_TOOL_ERROR = re.compile(r"((?:error|fatal error|\S+: (?:fatal )?error): .*|.*: not found$)")
_MAKE_ERROR = re.compile(r"(make(?:\[\d+\])?: \*\*\* .*)")
_ERRORS = (
    _COMPILE_ERROR,
    _KCONFIG_ERROR,
    _SYMBOL_ERROR,
    _LINK_ERROR,
    _TOOL_ERROR,
    _MAKE_ERROR,
)

#: The compiler did not fail, it was killed: most often for lack of memory.
_KILLED = re.compile(r"(.*(?:Killed signal terminated program|Killed \(program|signal 9).*)")


@dataclass(frozen=True)
class Make:
    """make for one source and one build directory.

    Attributes:
        source: the work tree.
        build: the output directory.
        deadline: when the whole build must be done.
        log: takes make's output.
        cache: root of the cache, where the compiler cache is.
        arch: the kernel's architecture.
        variables: more variables, ``NAME=VALUE`` each.
    """

    source: Path
    build: Path
    deadline: Deadline
    log: Path
    cache: Path
    arch: Arch
    variables: tuple[str, ...] = ()

    def argv(self, arguments: Iterable[str]) -> list[str]:
        """Return make's argv: all cores, no variables of the caller's, ccache if installed."""
        compiler = _CACHED_GCC.name if shutil.which("ccache") else f"{self.arch.cross}gcc"
        fixed = [f"{name}={value}" for name, value in _FIXED.items()]
        unset = [f"{name}=" for name in _UNSET]
        jobs = len(os.sched_getaffinity(0))
        base = ["make", f"-j{jobs}", "-C", str(self.source), f"O={self.build}"]
        base += [f"ARCH={self.arch.kernel}", f"CROSS_COMPILE={self.arch.cross}"]
        return [*base, f"CC={compiler}", "HOSTCC=gcc", *fixed, *unset, *self.variables, *arguments]

    def kconfig(self) -> dict[str, str]:
        """Return the variables that the kernel's Makefile gives to Kconfig."""
        tools = {name: f"{self.arch.cross}{name.lower()}" for name in ("LD", "NM", "OBJCOPY")}
        compiler = f"{self.arch.cross}gcc"
        version = command.run([compiler, "--version"], self.deadline).stdout.splitlines()[0]
        return {
            **tools,
            "ARCH": self.arch.directory,
            "SRCARCH": self.arch.directory,
            "KERNELVERSION": "",
            "CC": compiler,
            "HOSTCC": "gcc",
            "RUSTC": "rustc",
            "BINDGEN": "bindgen",
            "PAHOLE": "pahole",
            "CC_VERSION_TEXT": version,
        }

    def environment(self) -> dict[str, str]:
        """Return the variables that keep make and ccache within the cache."""
        return {
            "PATH": f"{_CACHED_GCC.parent}:{os.environ.get('PATH', os.defpath)}",
            "MAKEFLAGS": "",
            "MFLAGS": "",
            "KBUILD_OUTPUT": "",
            "KBUILD_EXTMOD": "",
            "CACHED_GCC": f"{self.arch.cross}gcc",
            "CCACHE_DIR": str(self.cache / "ccache"),
            "CCACHE_MAXSIZE": "5G",
            # An object compiled under another path is as good: see worktree_pool.
            "CCACHE_BASEDIR": "",
            "CCACHE_NOHASHDIR": "1",
            # Kbuild has gcc write dependencies; with them ccache need not preprocess. Compilations
            # whose dependencies are incomplete bypass ccache: see bin/hgm-gcc.
            "CCACHE_DEPEND": "1",
            # A header is hashed once, not once per object that includes it.
            "CCACHE_INODECACHE": "1",
        }

    def run(self, arguments: Iterable[str], progress: Progress | None = None) -> int:
        """Run make and return how many objects it made.

        Raises:
            KernelCompileError: with the first real error, if make fails.
            DeadlineExpired, NoSpace: as `harness.command.run`.
        """
        counter = _Counter(progress, self.expected())
        self.log.parent.mkdir(parents=True, exist_ok=True)
        before = self.log.stat().st_size if self.log.exists() else 0
        done = command.run(
            self.argv(arguments),
            self.deadline,
            env=self.environment(),
            log=self.log,
            on_line=counter.see,
            ok=None,
        )
        if done.exit_code != 0:
            raise self._failure(done, before)
        return counter.count

    def expected(self) -> int | None:
        """Return how many objects a full build makes; None for an incremental build."""
        if (self.build / "vmlinux").exists():
            return None
        memory = self._memory()
        return int(memory.read_text()) if memory.exists() else TYPICAL_OBJECTS

    def remember(self, objects: int) -> None:
        """Keep the number of objects that a full build made."""
        atomic_write(self._memory(), str(objects))

    def _memory(self) -> Path:
        facts = self.cache / "facts"
        facts.mkdir(parents=True, exist_ok=True)
        return facts / f"objects-{self.build.name}"

    def _failure(self, done: command.Completed, before: int) -> HarnessError:
        error = command.failure(done)
        if not isinstance(error, CommandFailed):
            return error
        with self.log.open("rb") as file:
            file.seek(before)
            text = file.read().decode(errors="replace")
        if killed := _KILLED.search(text):
            return CommandFailed(
                f"the compiler was killed: {killed[1].strip()}",
                hint="give this host more memory, or fewer cores",
                command=done.argv,
                log=self.log,
            )
        message = first_error(text.splitlines()) or error.message
        roots = (f"{self.build}/", f"{self.source}/")
        for root in roots:
            message = message.replace(root, "")
        message = message.removeprefix("../")
        return KernelCompileError(message, command=done.argv, log=self.log, seconds=done.seconds)


class _Counter:
    """Counts the objects in make's output and reports them as progress."""

    def __init__(self, progress: Progress | None, total: int | None) -> None:
        self.count = 0
        self._progress = progress
        self._total = total

    def see(self, line: str) -> None:
        if _OBJECT.match(line):
            self.count += 1
            if self._progress is not None:
                total = max(self._total, self.count) if self._total is not None else None
                self._progress.step(self.count, total, "objects")


def first_error(lines: Iterable[str]) -> str:
    """Return the first real error of a build: the compiler's, else Kconfig's, the linker's, make's.

    make's own ``***`` line is the last choice. Empty if there is none.
    """
    kept = list(lines)
    for pattern in _ERRORS:
        for line in kept:
            if match := pattern.match(line):
                return match[1].strip()
    return ""
