# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own selftests as probes: which there are, and how each is run. Pure.

``probes/kselftest.toml`` has as data, for each collection, what run_vmtests.sh and the like do in
shell::

    [collection.mm]
    directories = ["mm", "vm"]   # below tools/testing/selftests; the first that a tree has
    sources = ["tools/include"]  # what they are built from, besides; absent paths are left out
    memory = "2G"                # that the guest needs beyond the huge pages reserved at boot
    budget = 120                 # seconds for a test without its own
    runner = "run_vmtests.sh"    # the tree's script that runs all tests; not run, but read
    helpers = ["va_128TBswitch"] # programs and scripts that are not tests
    libraries = ["../kselftest/ktap_helpers.sh"] # what scripts source, if the tree has it

    [[collection.mm.test]]
    program = "uffd-stress"      # its name in the tree's Makefile
    variant = "hugetlb"          # of several runs of one program; none by default
    directory = "vm"             # only for trees that have it there; replaces an entry without
    arguments = ["hugetlb", "128", "32"]
    pools = { 2M = 128 }         # free huge pages, exactly; by default as the guest booted
    set = { "vm.overcommit_memory" = "1" }  # sysctls
    needs = { "/dev/x" = "CONFIG_X" }  # paths, or CPU flags, and what provides them
    swap = true                  # swap to a RAM disk, if the kernel has both
    user = "nobody"              # root by default
    nodes = 1                    # NUMA nodes
    budget = 900                 # seconds

A program that a tree builds and the file does not list is run without arguments; a script that only
calls the runner is not run. Each test becomes a `ProbeSpec` such as
``kselftest/mm/uffd-stress/hugetlb``; ``probes/sh/kselftest.sh`` runs it.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from harness import data
from harness.arch import common_hugepage_sizes
from harness.errors import SpecError
from harness.records.base import Record
from harness.records.probe import ProbeSpec
from harness.sizes import parse_size

#: Where the guest finds a collection's programs, below the directory of the probes.
GUEST_DIRECTORY = "kselftest"

#: The script that runs a test in the guest, below ``probes``.
SCRIPT = "sh/kselftest.sh"

_TABLE = data.directory("probes") / "kselftest.toml"
_USERS = {"nobody": "65534"}

_MAIN = re.compile(r"^(?:int\s+)?main\s*\(|^TEST_HARNESS_MAIN$", re.MULTILINE)
_PLAIN = re.compile(r"[\w.:,=+-]+")
_ASSIGNED = re.compile(r"^\s*(\w+)=([\w./-]+)$", re.MULTILINE)

_Seconds = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_PoolSize = Annotated[str, msgspec.Meta(pattern=f"^({'|'.join(common_hugepage_sizes())})$")]


class KselftestEntry(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry as it is written; the module's docstring explains the fields."""

    program: str
    variant: str = ""
    directory: str = ""
    arguments: tuple[str, ...] = ()
    pools: dict[_PoolSize, _Count] = msgspec.field(default_factory=dict)
    set: dict[str, str] = msgspec.field(default_factory=dict)
    needs: dict[str, str] = msgspec.field(default_factory=dict)
    swap: bool = False
    user: Literal["", "nobody"] = ""
    nodes: Annotated[int, msgspec.Meta(ge=1)] = 1
    budget: _Seconds | None = None

    @property
    def name(self) -> str:
        """Return the program and the variant, such as ``uffd-stress/hugetlb``."""
        return "/".join(filter(None, (self.program, self.variant)))


class Collection(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tests of one directory; the module's docstring explains the fields."""

    directories: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    sources: tuple[str, ...]
    memory: str
    budget: _Seconds
    runner: str = ""
    helpers: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    test: tuple[KselftestEntry, ...] = ()


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    collection: dict[str, Collection]


class Inventory(Record, frozen=True, kw_only=True):
    """The tests of a collection that one tree has.

    Attributes:
        directory: their directory below ``tools/testing/selftests``.
        programs: what its Makefile builds.
        scripts: what it runs without building, except wrappers.
        wrappers: scripts that only call the runner for some of its tests.
        unlisted: tests in the directory that the Makefile does not name.
        runs: the commands of the runner, a program and its arguments each, as the shell reads them.
    """

    directory: str
    programs: tuple[str, ...]
    scripts: tuple[str, ...]
    wrappers: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    runs: tuple[tuple[str, ...], ...] = ()


class Plan(Record, frozen=True, kw_only=True):
    """Which tests of one tree are to be run.

    Attributes:
        tests: the tests.
        files: every program and script that the guest needs for them.
        absent: names of tests that were asked for and are in the table, but not in the tree.
    """

    tests: tuple[KselftestEntry, ...]
    files: tuple[str, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True)
class Suite:
    """The kernel's own tests, ready for the guest.

    Attributes:
        specs: one probe a test.
        programs: host paths by path below the guest's ``/probes``.
        notes: lines for the run's record.
    """

    specs: tuple[ProbeSpec, ...] = ()
    programs: Mapping[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def load(path: Path = _TABLE) -> Mapping[str, Collection]:
    """Return every collection by name.

    Raises:
        SpecError: if the table cannot be read, is wrong, or has two entries of one name.
    """
    try:
        table = msgspec.toml.decode(path.read_bytes(), type=_Table).collection
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise SpecError(f"{path}: {error}", hint="correct the table of kselftests") from None
    for name, collection in table.items():
        names = [(test.name, test.directory) for test in collection.test]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise SpecError(f"{path}: {name} has two tests {twice[0][0]!r}", hint="rename one")
    return table


def spare_memory(requests: Iterable[str]) -> int:
    """Return the bytes that tests need beyond what the guest reserves; 0 for none.

    Raises:
        SpecError: for an unknown collection.
    """
    table = load()
    wanted = parse(requests, table)
    return max((parse_size(table[name].memory, _TABLE.name) for name in wanted), default=0)


def parse(requests: Iterable[str], table: Mapping[str, Collection]) -> dict[str, list[str]]:
    """Return the globs asked for by collection, from ``mm`` or ``mm:cow``.

    Raises:
        SpecError: for an unknown collection, or nothing after the colon.
    """
    wanted: dict[str, list[str]] = {}
    for request in requests:
        collection, colon, pattern = request.partition(":")
        if collection not in table:
            known = ", ".join(sorted(table))
            raise SpecError(
                f"--kselftest {request!r}: no collection {collection!r}", hint=f"there is: {known}"
            )
        if colon and not pattern:
            raise SpecError(
                f"--kselftest {request!r} has no test after its colon",
                hint=f"such as {collection}:cow",
            )
        wanted.setdefault(collection, []).append(pattern or "*")
    return wanted


def examine(
    directory: str,
    programs: Iterable[str],
    scripts: Iterable[str],
    texts: Mapping[str, str],
    runner: str,
) -> Inventory:
    """Return the tests of a tree, from what its Makefile lists and the files beside it.

    Args:
        directory: below ``tools/testing/selftests``.
        programs: what the Makefile builds.
        scripts: what it runs without building.
        texts: the Makefile, the C sources and the scripts of the directory, by name.
        runner: the script that runs all tests.
    """
    calls = re.compile(rf"^[^#\n]*{re.escape(runner)}\b", re.MULTILINE)
    wrappers = {name for name in scripts if runner and calls.search(texts.get(name, ""))} - {runner}
    named = set(re.findall(r"[\w.-]+", re.sub(r"#.*", "", texts.get("Makefile", ""))))
    tests = {
        name
        for name, text in texts.items()
        if name.endswith(".sh") or (name.endswith(".c") and _MAIN.search(text))
    }
    unlisted = {n for n in tests - {runner} if not named & {n, n.removesuffix(".c")}}
    return Inventory(
        directory=directory,
        programs=tuple(sorted(set(programs))),
        scripts=tuple(sorted({*scripts} - wrappers - {runner})),
        wrappers=tuple(sorted(wrappers)),
        unlisted=tuple(sorted(unlisted)),
        runs=_commands(texts.get(runner, "")),
    )


def _commands(text: str) -> tuple[tuple[str, ...], ...]:
    """Return what a runner runs by its function ``run_test``; plain variables are replaced."""
    variables = dict(_ASSIGNED.findall(text))
    found: dict[tuple[str, ...], None] = {}
    for line in text.replace("\\\n", " ").splitlines():
        _, runs, rest = line.partition("run_test ")
        rest = re.sub(r"\$\{?(\w+)\}?", lambda m: variables.get(m[1], m[0]), rest)
        words = rest.split()
        while words and not words[0].startswith("./"):  # bash, sudo -u nobody sh -c
            del words[0]
        if runs and words:
            found[(words[0].removeprefix("./"), *words[1:])] = None
    return tuple(found)


def findings(collection: Collection, inventory: Inventory) -> tuple[str, ...]:
    """Return a line for each way in which tests of a tree are silently never run.

    Args:
        collection: what the table says.
        inventory: what the tree has.
    """
    if not inventory.runs:
        return ()
    has = {*inventory.programs, *inventory.scripts}
    run = {words[0] for words in inventory.runs}
    unlisted = {*inventory.unlisted}
    lines = {
        f"{collection.runner} runs, and the Makefile does not build or list": run - has,
        f"the Makefile lists, and {collection.runner} does not run": has - run,
        f"neither the Makefile lists nor {collection.runner} runs": unlisted - run,
    }
    names = {what: sorted(found.difference(collection.helpers)) for what, found in lines.items()}
    return tuple(f"{what}: {', '.join(found)}" for what, found in names.items() if found)


def plan(name: str, collection: Collection, inventory: Inventory, patterns: Sequence[str]) -> Plan:
    """Return which tests of a tree are to be run.

    A pattern is matched against the program and against the name with its variant.

    Args:
        name: the collection's.
        collection: what the table says.
        inventory: what the tree has.
        patterns: globs.

    Raises:
        SpecError: if a pattern matches nothing that the tree has.
    """
    has = {*inventory.programs, *inventory.scripts}
    entries = _entries(collection, inventory)
    plain = sorted(has.difference(collection.helpers, (test.program for test in entries)))
    everything = (*entries, *(KselftestEntry(program=program) for program in plain))
    for pattern in patterns:
        if not any(_matches(test, pattern) for test in everything if test.program in has):
            raise _no_match(name, pattern, inventory, everything)
    wanted = [test for test in everything if any(_matches(test, p) for p in patterns)]
    tests = tuple(test for test in wanted if test.program in has)
    helpers: set[str] = set()
    if any(map(_is_script, tests)):
        helpers = has.intersection(collection.helpers).union(collection.libraries)
    return Plan(
        tests=tests,
        files=tuple(sorted({test.program for test in tests}.union(helpers))),
        absent=tuple(test.name for test in wanted if test.program not in has),
    )


def probe(name: str, collection: Collection, test: KselftestEntry, unmet: str = "") -> ProbeSpec:
    """Return a test as a probe.

    Args:
        name: the collection's.
        collection: what the table says.
        test: the test.
        unmet: why it cannot be run; empty where it can.
    """
    words = (f"./{test.program}", *test.arguments)
    return ProbeSpec(
        name=f"kselftest/{name}/{test.name}",
        shows=f"the tree's own test: {' '.join(words)}",
        source=SCRIPT,
        language="sh",
        arguments=(f"/probes/{GUEST_DIRECTORY}/{name}", *_preparation(test), "--", *words),
        nodes=test.nodes,
        budget=test.budget or collection.budget,
        rules="kselftest",
        unmet=unmet,
    )


def _entries(collection: Collection, inventory: Inventory) -> tuple[KselftestEntry, ...]:
    """Return the entries for a tree: one with its directory replaces one without.

    Where the tree's runner runs a program with other arguments than the table, each of these is an
    entry more, prepared like the program's first one.
    """
    own = {test.name for test in collection.test if test.directory == inventory.directory}
    found = {
        test.name: test
        for test in collection.test
        if test.directory == inventory.directory or (not test.directory and test.name not in own)
    }
    first = {test.program: test for test in reversed(found.values())}
    known = {(test.program, *test.arguments) for test in found.values()}
    for words in inventory.runs:
        program, *arguments = words
        plain = arguments and all(_PLAIN.fullmatch(word) for word in arguments)
        if plain and words not in known:
            more = msgspec.structs.replace(
                first.get(program, KselftestEntry(program=program)),
                variant="_".join(arguments),
                arguments=tuple(arguments),
            )
            found[more.name] = more
    return tuple(found.values())


def _is_script(test: KselftestEntry) -> bool:
    return test.program.endswith(".sh")


def _matches(test: KselftestEntry, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in (test.name, test.program))


def _preparation(test: KselftestEntry) -> tuple[str, ...]:
    """Return the arguments of the guest's script for a test's needs, settings before pools."""
    words: list[str] = []
    for path, giver in test.needs.items():
        words += ["--need", path, giver]
    for sysctl, value in test.set.items():
        words += ["--set", sysctl, value]
    for size, count in test.pools.items():
        words += ["--pool", str(parse_size(size, "the pool") >> 20), str(count)]
    if test.swap:
        words.append("--swap")
    if test.user:
        words += ["--user", _USERS[test.user]]
    return tuple(words)


def _no_match(
    name: str, pattern: str, inventory: Inventory, tests: Sequence[KselftestEntry]
) -> SpecError:
    has = {*inventory.programs, *inventory.scripts}
    names = dict.fromkeys(n for t in tests if t.program in has for n in (t.program, t.name))
    near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.5)
    hint = f"similar: {', '.join(near)}" if near else f"it has: {', '.join(names)}"
    where = f"tools/testing/selftests/{inventory.directory}"
    return SpecError(f"--kselftest {name}:{pattern} matches no test in {where}", hint=hint)
