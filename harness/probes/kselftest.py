# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own tests as probes: which there are, and how each is run. Nothing runs here.

``kselftest.toml`` beside this module says for each collection what run_vmtests.sh and its like say
in their own language::

    [collection.mm]
    directories = ["mm", "vm"]   # below tools/testing/selftests; the first that a tree has
    sources = ["tools/include"]  # what is taken out of the tree to build them; the absent is left
    memory = "2G"                # what the guest needs beyond the huge pages reserved at boot
    budget = 120                 # seconds for a test that says nothing else
    helpers = ["run_vmtests.sh"] # what is no test by itself

    [[collection.mm.test]]
    program = "uffd-stress"      # as the tree's Makefile calls it
    variant = "hugetlb"          # tells two runs of one program apart; none by default
    directory = "vm"             # only in trees that have it there, instead of an entry without
    arguments = ["hugetlb", "128", "32"]
    pools = { 2M = 128 }         # free huge pages, exactly; as the guest was booted otherwise
    set = { "vm.overcommit_memory" = "1" }  # sysctls
    needs = { "/dev/x" = "CONFIG_X" }  # paths, or flags of the CPU, and what gives them
    user = "nobody"              # root by default
    nodes = 1                    # NUMA nodes
    budget = 900                 # seconds

A program that a tree builds and the file does not name is run plainly. Each becomes a `ProbeSpec`
named ``kselftest/mm/uffd-stress/hugetlb``, which runs through ``guest/sh/kselftest.sh``.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from harness import data
from harness.errors import SpecError
from harness.records.base import Record
from harness.records.machine import SIZE_NAMES
from harness.records.probe import ProbeSpec

#: Where the guest finds a collection's programs, below the directory of the probes.
GUEST_DIRECTORY = "kselftest"

#: What runs a test in the guest, below ``guest/``.
SCRIPT = "sh/kselftest.sh"

_TABLE = data.directory("probes") / "kselftest.toml"
_MIB = {name: size >> 20 for size, name in SIZE_NAMES.items()}
_USERS = {"nobody": "65534"}

_Seconds = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class KselftestEntry(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry as it is written; the module's docstring explains the fields."""

    program: str
    variant: str = ""
    directory: str = ""
    arguments: tuple[str, ...] = ()
    pools: dict[Literal["1G", "2M"], _Count] = msgspec.field(default_factory=dict)
    set: dict[str, str] = msgspec.field(default_factory=dict)
    needs: dict[str, str] = msgspec.field(default_factory=dict)
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
    helpers: tuple[str, ...] = ()
    test: tuple[KselftestEntry, ...] = ()


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    collection: dict[str, Collection]


class Inventory(Record, frozen=True, kw_only=True):
    """What one tree has of a collection.

    Attributes:
        directory: where, below ``tools/testing/selftests``.
        programs: what its Makefile builds.
        scripts: what it has ready to run.
    """

    directory: str
    programs: tuple[str, ...]
    scripts: tuple[str, ...]


class Plan(Record, frozen=True, kw_only=True):
    """What is to be done with one tree's tests.

    Attributes:
        tests: what is to be run.
        files: every program and script that the guest must hold for it.
        absent: names of tests in the table that were asked for and the tree does not have.
    """

    tests: tuple[KselftestEntry, ...]
    files: tuple[str, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True)
class Suite:
    """The kernel's own tests, ready for the guest.

    Attributes:
        specs: one probe a test.
        programs: host paths of what goes into the guest's ``/probes``, by path there.
        notes: what a reader of the record should know.
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
        raise SpecError(f"{path}: {error}", hint="mend the table of kselftests") from None
    for name, collection in table.items():
        names = [(test.name, test.directory) for test in collection.test]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise SpecError(f"{path}: {name} has two tests {twice[0][0]!r}", hint="rename one")
    return table


def parse(wishes: Iterable[str], table: Mapping[str, Collection]) -> dict[str, list[str]]:
    """Return the globs that are wanted of each collection, from words like ``mm`` or ``mm:cow``.

    Raises:
        SpecError: for an unknown collection, or a word without a test behind its colon.
    """
    wanted: dict[str, list[str]] = {}
    for wish in wishes:
        collection, colon, pattern = wish.partition(":")
        if collection not in table:
            known = ", ".join(sorted(table))
            raise SpecError(
                f"--kselftest {wish!r}: no collection {collection!r}", hint=f"there is: {known}"
            )
        if colon and not pattern:
            raise SpecError(f"--kselftest {wish!r} names no test", hint=f"such as {collection}:cow")
        wanted.setdefault(collection, []).append(pattern or "*")
    return wanted


def plan(name: str, collection: Collection, inventory: Inventory, patterns: Sequence[str]) -> Plan:
    """Return which tests of a tree are wanted.

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
    helpers = has.intersection(collection.helpers) if any(map(_is_script, tests)) else ()
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
        unmet: why it cannot be run, if it cannot.
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
    """Return the entries for a tree: one that names its directory replaces one without."""
    own = {test.name for test in collection.test if test.directory == inventory.directory}
    return tuple(
        test
        for test in collection.test
        if test.directory == inventory.directory or (not test.directory and test.name not in own)
    )


def _is_script(test: KselftestEntry) -> bool:
    return test.program.endswith(".sh")


def _matches(test: KselftestEntry, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in (test.name, test.program))


def _preparation(test: KselftestEntry) -> tuple[str, ...]:
    """Return the words that tell the guest's script what a test needs, settings before pools."""
    words: list[str] = []
    for path, giver in test.needs.items():
        words += ["--need", path, giver]
    for sysctl, value in test.set.items():
        words += ["--set", sysctl, value]
    for size, count in test.pools.items():
        words += ["--pool", str(_MIB[size]), str(count)]
    if test.user:
        words += ["--user", _USERS[test.user]]
    return tuple(words)


def _no_match(
    name: str, pattern: str, inventory: Inventory, tests: Sequence[KselftestEntry]
) -> SpecError:
    has = {*inventory.programs, *inventory.scripts}
    names = dict.fromkeys(n for t in tests if t.program in has for n in (t.program, t.name))
    near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.5)
    hint = f"near it: {', '.join(near)}" if near else f"it has: {', '.join(names)}"
    where = f"tools/testing/selftests/{inventory.directory}"
    return SpecError(f"--kselftest {name}:{pattern} matches no test in {where}", hint=hint)
