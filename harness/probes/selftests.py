# SPDX-License-Identifier: GPL-2.0-only
"""Build the kernel's own selftests from the tree under test, each once per content.

The tests and the headers they include are checked out of the object store into a directory of the
cache, so neither the caller's tree nor the kernel's build directory is touched. The tree's own
Makefiles build them, static, against the UAPI headers of that kernel. Each program is kept in the
cache at ``probes/KEY/NAME``; of one that does not compile, the compiler's error is kept there, and
its tests are skipped with that reason.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import cache, command
from harness.arch import arch
from harness.context import Context
from harness.errors import CompileError, SourceError, SpecError
from harness.kernel import specs
from harness.kernel.git import Store
from harness.kernel.make import first_error
from harness.probes import catalog, compile, kselftest
from harness.probes.kselftest import Collection, Inventory, Suite
from harness.records.base import from_json, to_json
from harness.records.kernel import Kernel
from harness.workspace import Workspace, atomic_write, digest

#: Increased whenever the same sources no longer give the same programs.
_RECIPE = "2"

#: Static: the guest has other libraries. Stripped: the programs go into an initramfs. Strings and
#: code share no page, as in a program that is linked dynamically: on arm64 seal_elf makes the page
#: of a string one that cannot be executed.
_FLAGS = ("-static", "-s", "-Wl,-z,separate-code")

#: Linked into each program; see there.
_LINE_BUFFERED = catalog.PROBES / "kselftest" / "line_buffered.c"

#: Libraries that tests link with: what can be built depends on which of them the host has.
_LIBRARIES = ("libcap.a", "libnuma.a", "liburing.a")

_SELFTESTS = "tools/testing/selftests"

#: Prints what a collection's Makefile builds and runs; the variables are those of lib.mk.
_LIST = (
    "hgm-list: ; @printf 'program %s\\n' $(notdir $(TEST_GEN_PROGS) $(TEST_GEN_FILES)); "
    "printf 'script %s\\n' $(notdir $(filter %.sh,$(TEST_PROGS) $(TEST_FILES)))"
)

_KINDS = ("program", "script")

_INVENTORY = "inventory-2.json"

#: Name of the file in the cache that has the reason why there is no program.
_REASON = "does-not-compile"

#: Variables that must not come from the caller's environment.
_ENVIRONMENT = {"MAKEFLAGS": "", "MFLAGS": "", "LLVM": "", "LC_ALL": "C"}


@dataclass(frozen=True)
class _Sources:
    """The sources of a collection in a tree, and the key of what is made from them.

    Attributes:
        tree: git tree ID.
        paths: what is checked out of it.
        directory: the collection's, below ``tools/testing/selftests``.
        key: content hash of those paths, of the kernel's headers, of the host and of the flags.
    """

    tree: str
    paths: tuple[str, ...]
    directory: str
    key: str

    def entry(self, workspace: Workspace, name: str) -> Path:
        """Return the directory in the cache for a program or script."""
        return workspace.cache / "probes" / digest(self.key, name)


def obtain(requests: Sequence[str], context: Context, *, kernel: Kernel, log: Path) -> Suite:
    """Return the kernel's own selftests that are asked for, built unless the cache has them.

    Args:
        requests: such as ``mm`` or ``mm:hugetlb-madvise``.
        kernel: its tree and UAPI headers are used.
        context: cache, deadline, progress.
        log: make's output is appended to this file.

    Raises:
        SpecError: for a collection or a test that does not exist.
        SourceError: for a kernel without a source, or whose source has no such tests.
        CompileError: if the collection's Makefile cannot list what it builds.
        DeadlineExpired: if it took too long.
    """
    table = kselftest.load()
    suite = Suite()
    for name, patterns in kselftest.parse(requests, table).items():
        builder = _Builder(table[name], kernel, context, log)
        suite = _joined(suite, _collection(name, table[name], patterns, builder))
    return suite


def require_source(requests: Sequence[str], kernel: str) -> None:
    """Refuse, before anything is built, requests that `obtain` would refuse.

    Args:
        requests: as for `obtain`.
        kernel: ``--kernel``'s argument.

    Raises:
        SpecError: for an unknown collection, or a kernel without a source.
    """
    kselftest.parse(requests, kselftest.load())
    if requests and specs.parse_source(kernel).kind == "image":
        raise SpecError(
            f"--kselftest builds tests from the kernel's source, which {kernel} does not have",
            hint="use a kernel from tree: or git:",
        )


def _collection(
    name: str, collection: Collection, patterns: Sequence[str], builder: _Builder
) -> Suite:
    sources = builder.find_sources()
    inventory = builder.inventory(sources)
    plan = kselftest.plan(name, collection, inventory, patterns)
    made = builder.build(sources, plan.files)
    reasons = {file: path.read_text() for file, path in made.items() if path.name == _REASON}
    room = f"{kselftest.GUEST_DIRECTORY}/{name}"
    notes = []
    if plan.absent:
        absent = ", ".join(plan.absent)
        notes.append(f"kselftest/{name}: not in this tree, or not built on this host: {absent}")
    if "*" in patterns:
        notes += [f"kselftest/{name}: {line}" for line in kselftest.findings(collection, inventory)]
    return Suite(
        tuple(kselftest.probe(name, collection, t, reasons.get(t.program, "")) for t in plan.tests),
        {
            os.path.normpath(f"{room}/{file}"): path
            for file, path in made.items()
            if file not in reasons
        },
        tuple(notes),
    )


def _joined(one: Suite, other: Suite) -> Suite:
    return Suite(
        one.specs + other.specs, {**one.programs, **other.programs}, one.notes + other.notes
    )


@dataclass(frozen=True)
class _Builder:
    """Builds tests of one collection of one kernel."""

    collection: Collection
    kernel: Kernel
    context: Context
    log: Path

    def find_sources(self) -> _Sources:
        """Return the collection's sources in the kernel's tree."""
        tree = self.kernel.series.tree
        homes = [f"{_SELFTESTS}/{directory}" for directory in self.collection.directories]
        found = self._listed(tree, self.collection.sources)
        home = next(iter(self._listed(tree, homes)), "")
        if not home:
            raise SourceError(
                f"{self.kernel.source.spec} has no {' or '.join(homes)}",
                hint="leave out --kselftest, or take a source that has its tests",
            )
        guest = arch(self.kernel.arch)
        key = digest(
            _RECIPE,
            home,
            *found.values(),
            compile.headers_digest(self.kernel, self.context.workspace),
            compile.host_identity(guest, *(f"/{guest.libraries}/{name}" for name in _LIBRARIES)),
            _LINE_BUFFERED.read_bytes(),
            *_FLAGS,
        )
        return _Sources(tree, tuple(found), Path(home).name, key)

    def inventory(self, sources: _Sources) -> Inventory:
        """Return what the collection's Makefile builds; cached like a program."""
        entry = sources.entry(self.context.workspace, _INVENTORY)
        if not entry.exists():
            with self.context.workspace.unfinished("kselftest") as scratch:
                self._check_out(sources, scratch)
                found = self._ask(sources, scratch)
                self._publish(scratch, entry, _INVENTORY, to_json(found))
        cache.touch(entry)
        return from_json((entry / _INVENTORY).read_bytes(), Inventory)

    def build(self, sources: _Sources, names: Iterable[str]) -> dict[str, Path]:
        """Return the file in the cache for each name: the program, or `_REASON`."""
        entries = {name: sources.entry(self.context.workspace, name) for name in names}
        missing = [name for name, entry in entries.items() if not entry.exists()]
        if missing:
            with self.context.workspace.unfinished("kselftest") as scratch:
                self._check_out(sources, scratch)
                self._make(sources, scratch, missing)
                for name in missing:
                    self._collect(sources, scratch, name)
        for entry in entries.values():
            cache.touch(entry)
        return {name: next(entry.iterdir()) for name, entry in entries.items()}

    def _listed(self, tree: str, paths: Sequence[str]) -> dict[str, str]:
        """Return the git IDs of the paths that a tree has, in the order of the paths."""
        store = Store.of(self.context)
        lines = store.git(
            ["ls-tree", tree, "--", *paths], self.context.deadline
        ).stdout.splitlines()
        ids = {path: meta for meta, _, path in (line.partition("\t") for line in lines)}
        return {path: ids[path] for path in paths if path in ids}

    def _check_out(self, sources: _Sources, scratch: Path) -> None:
        """Write the sources to ``src``, and create ``out``."""
        source = scratch / "src"
        source.mkdir()
        (scratch / "out").mkdir()
        checkout = ["checkout", "-q", sources.tree, "--", *sources.paths]
        store = Store.of(self.context)
        store.git(checkout, self.context.deadline, index=scratch / "index", work_tree=source)

    def _ask(self, sources: _Sources, scratch: Path) -> Inventory:
        done = self._run(sources, scratch, ["-s", "--eval", _LIST, "hgm-list"])
        if done.exit_code != 0:
            error = first_error((done.stdout + done.stderr).splitlines())
            raise CompileError(error, command=done.argv, log=self.log)
        rows = [line.split() for line in done.stdout.splitlines()]
        found = {kind: [row[1] for row in rows if row[:1] == [kind] and row[1:]] for kind in _KINDS}
        home = scratch / "src" / _SELFTESTS / sources.directory
        texts = {
            path.name: path.read_text(errors="replace")
            for path in home.iterdir()
            if path.name == "Makefile" or path.suffix in (".c", ".sh")
        }
        return kselftest.examine(
            sources.directory, found["program"], found["script"], texts, self.collection.runner
        )

    def _make(self, sources: _Sources, scratch: Path, names: Sequence[str]) -> None:
        """Build all programs in one make, which goes on where one does not compile."""
        object_file = scratch / "line_buffered.o"
        compiler = [self._tool("gcc"), "-O2", "-c", str(_LINE_BUFFERED), "-o", str(object_file)]
        command.run(compiler, self.context.deadline)
        self.context.progress.note(f"building {len(names)} of the kernel's own tests")
        home = scratch / "src" / _SELFTESTS / sources.directory
        targets = [str(scratch / "out" / name) for name in names if not (home / name).exists()]
        if targets:
            jobs = len(os.sched_getaffinity(0))
            self._run(sources, scratch, ["-k", f"-j{jobs}", *targets])

    def _collect(self, sources: _Sources, scratch: Path, name: str) -> None:
        """Publish a program, a script, or the reason why there is no program."""
        entry, made = sources.entry(self.context.workspace, name), scratch / "out" / name
        script = scratch / "src" / _SELFTESTS / sources.directory / name
        if script.is_file():
            self._publish(scratch, entry, script.name, script.read_bytes())
            return
        # In a make of its own, so that the error is of this program.
        done = None if made.exists() else self._run(sources, scratch, [str(made)])
        if made.exists():
            self._publish(scratch, entry, name, made.read_bytes())
        elif done is not None:
            why = first_error((done.stdout + done.stderr).splitlines()) or "no error from make"
            for root in (f"{scratch / 'src'}/", f"{scratch}/"):
                why = why.replace(root, "")
            self._publish(scratch, entry, _REASON, f"does not compile: {why}")

    def _publish(self, scratch: Path, entry: Path, name: str, data: bytes | str) -> None:
        new = scratch / "new"
        shutil.rmtree(new, ignore_errors=True)  # left where another process had published the entry
        new.mkdir()
        atomic_write(new / name, data)
        self.context.workspace.publish(new, entry)

    def _tool(self, name: str) -> str:
        return f"{arch(self.kernel.arch).cross}{name}"

    def _run(self, sources: _Sources, scratch: Path, words: Sequence[str]) -> command.Completed:
        """Run make in the collection's directory, and append its output to the log."""
        flags = " ".join((*_FLAGS, str(scratch / "line_buffered.o")))
        headers = f"-isystem {self.kernel.headers}" if self.kernel.headers else ""
        argv = [
            *("make", "-C", str(scratch / "src" / _SELFTESTS / sources.directory)),
            *(f"OUTPUT={scratch / 'out'}", f"EXTRA_CFLAGS={flags}", f"CC={self._tool('gcc')}"),
            *(f"ARCH={arch(self.kernel.arch).kernel}", f"CROSS_COMPILE={self._tool('')}"),
            *([f"KHDR_INCLUDES={headers}"] if headers else []),
            *words,
        ]
        done = command.run(argv, self.context.deadline, env=_ENVIRONMENT, ok=None)
        compile.append(self.log, f"$ {' '.join(argv)}\n{done.stdout}{done.stderr}")
        return done
