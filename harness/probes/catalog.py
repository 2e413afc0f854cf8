# SPDX-License-Identifier: GPL-2.0-only
"""The catalogue of probes: what each shows, and what it needs.

``probes/catalog.toml`` holds one entry a probe, and one entry becomes one
`ProbeSpec` for each huge-page size in its budget::

    [[probe]]
    name = "hgm/continue-4k"     # unique; a twin in Python ends in -py
    shows = "..."                # one line: what a PASS shows
    guards = "..."               # the invariant, where no fault in kernel-patches/faults breaks it
    source = "c/continue_4k.c"   # below probes/; its directory is its language
    arguments = []               # before --size; none by default
    needs = ["hgm"]              # features of kernel and guest; none by default
    pages = 1                    # free huge pages, or { 1G = 1, 2M = 3 }; none by default
    nodes = 1                    # NUMA nodes; one by default
    on_request = false           # true: it runs only where a glob of --probe matches it
    config = ["udmabuf"]         # the same, or where --config asks for all of these
    budget = { 1G = 60, 2M = 30 }  # seconds, for each size that it runs with
    checkpoints = true           # it has the host walk its page tables; false by default
    without_series = ["FAIL"]    # what it must end with without the patches, one of these; ["SKIP"]
                                 # where it needs "hgm", unstated by default elsewhere
    taints_guest = false         # true: it poisons memory or exhausts a pool: no probe after it

At its top stands ``reference``: the seconds that ``c/calibrate.c`` took where the budgets were
measured. Budgets are multiplied by what a guest takes longer. At its end stand the ``touches``,
see `Touches`.
"""

from __future__ import annotations

import difflib
import fnmatch
import functools
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from harness import data
from harness.arch import all_hugepage_sizes, arch, arches, common_hugepage_sizes
from harness.errors import SpecError
from harness.records.machine import HugePages, MachineSpec, size_name
from harness.records.probe import ProbeSpec
from harness.sizes import parse_size
from harness.vm.spec import parse_hugepages

#: The directory that holds the probes' sources.
PROBES = data.directory("probes")

#: The catalogue.
FILE = PROBES / "catalog.toml"
_SIZES = common_hugepage_sizes()

_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z]+/[a-z0-9-]+$")]
_Line = Annotated[str, msgspec.Meta(pattern=r"^\S.*\S$")]
_Source = Annotated[str, msgspec.Meta(pattern=r"^(c/[a-z0-9_]+\.c|python/[a-z0-9_]+\.py)$")]
_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_PageSize = Annotated[str, msgspec.Meta(pattern=f"^({'|'.join(all_hugepage_sizes())})$")]


class _CatalogEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry as it is written; the module's docstring explains the fields."""

    name: _Name
    shows: _Line
    source: _Source
    guards: _Line = ""
    budget: Annotated[dict[_PageSize, _Positive], msgspec.Meta(min_length=1)]
    arguments: tuple[str, ...] = ()
    needs: tuple[Literal["hgm", "root", "numa"], ...] = ()
    pages: _Count | dict[_PageSize, _Count] = 0
    nodes: Annotated[int, msgspec.Meta(ge=1)] = 1
    on_request: bool = False
    config: tuple[str, ...] = ()
    checkpoints: bool = False
    without_series: tuple[Literal["PASS", "FAIL", "SKIP", "CRASH", "HANG"], ...] = ()
    taints_guest: bool = False


class Touches(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which probes look at some files of the kernel.

    Attributes:
        files: globs over paths in the kernel's source; ``*`` matches a slash as well.
        words: a probe looks at them if its name, its arguments or its source has one of these; the
            empty word is in every probe.
        but: globs over the names of probes that do not look at them all the same.
    """

    files: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    words: tuple[str, ...]
    but: tuple[str, ...] = ()

    def holds(self, file: str) -> bool:
        """Return whether a file is one of these."""
        return any(fnmatch.fnmatchcase(file, glob) for glob in self.files)


class _Catalog(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    probe: tuple[dict[str, Any], ...]
    reference: _Positive = 1.0
    touches: tuple[Touches, ...] = ()


def load(path: Path = FILE, sizes: Container[str] = _SIZES) -> tuple[ProbeSpec, ...]:
    """Return every probe of the catalogue, in its order, the sizes of an entry in its order.

    Args:
        path: the catalogue.
        sizes: names of the sizes of huge pages to return; by default those that every architecture
            has.

    Raises:
        SpecError: if the catalogue cannot be read, or an entry of it is wrong; names the entry.
    """
    catalog = _read(path)
    entries = [_entry(raw, number, path) for number, raw in enumerate(catalog.probe, 1)]
    _check_unique([entry.name for entry in entries], path)
    return tuple(spec for entry in entries for spec in _specs(entry, sizes))


def sizes(machine: MachineSpec, globs: Iterable[str] = ()) -> set[str]:
    """Return the sizes with which a machine can run probes, by name.

    They are the usual ones of its architecture, those of its pools, and those at the end of a glob.
    """
    guest = arch(machine.arch)
    usual = parse_hugepages(guest.hugepages, guest.name)
    named = {word.rpartition("/")[2] for glob in globs for word in glob.split()[:1]}
    return {
        *(size_name(pages.size) for pages in (*usual, *machine.hugepages)),
        *named.intersection(guest.hugepage_sizes),
    }


def every_size() -> set[str]:
    """Return the sizes of all architectures, by name."""
    return {size for each in arches().values() for size in each.hugepage_sizes}


def files(source: str) -> list[Path]:
    """Return the files of a probe: its source and, in C, those of ``c/STEM/`` if that is there."""
    path = PROBES / source
    return [path, *sorted(path.with_suffix("").glob("*.[ch]"))]


def reference(path: Path = FILE) -> float:
    """Return the seconds that the calibration took where the budgets were measured.

    Raises:
        SpecError: if the catalogue cannot be read.
    """
    return _read(path).reference


def touches(path: Path = FILE) -> tuple[Touches, ...]:
    """Return which probes look at which files of the kernel.

    Raises:
        SpecError: if the catalogue cannot be read.
    """
    return _read(path).touches


def select(
    specs: Sequence[ProbeSpec], globs: Iterable[str], features: Sequence[str] = ()
) -> tuple[ProbeSpec, ...]:
    """Return the probes that a glob matches, in the order of the globs, then the catalogue's.

    Without any glob it is all but those that run on request, and those that need other features of
    the configuration.

    A glob is matched, as the shell would, against the whole name (``hgm/continue-4k/1G``) and
    against the name without its size; ``*`` matches a slash as well. Words after it are options of
    the probes that it matches (``hgm/postcopy --uffds 2``).

    Raises:
        SpecError: if a glob matches nothing, with similar names.
    """
    names = [spec.name for spec in specs]
    found = [(pattern, matching(names, pattern)) for pattern in globs]
    for pattern, those in found:
        if not those:
            raise _no_match(specs, pattern)
    if not found:
        usual = (spec for spec in specs if not spec.on_request)
        return tuple(spec for spec in usual if set(spec.config) <= set(features))
    chosen: list[tuple[int, ProbeSpec]] = []
    for spec in specs:
        at = [number for number, (_, those) in enumerate(found) if spec.name in those]
        options = (option for number in at for option in found[number][0].split()[1:])
        if at:
            with_options = msgspec.structs.replace(spec, arguments=(*spec.arguments, *options))
            chosen.append((at[0], with_options))
    return tuple(spec for _, spec in sorted(chosen, key=lambda each: each[0]))


def matches(name: str, glob: str) -> bool:
    """Return whether a glob matches a probe's name, or its name without the size.

    Options after the glob, as `select` takes them, make no difference.
    """
    return name in matching((name,), glob)


def matching(names: Sequence[str], glob: str) -> frozenset[str]:
    """Return those of the probes' names that `matches`."""
    pattern = glob.partition(" ")[0]
    found = set(fnmatch.filter((*names, *map(family, names)), pattern))
    return frozenset(name for name in names if name in found or family(name) in found)


def repeated(
    specs: Sequence[ProbeSpec], times: int, *, alone: bool = False
) -> tuple[ProbeSpec, ...]:
    """Return the probes repeated, round by round; those of the second round are ``NAME#2``.

    With ``alone`` each has a guest of its own, because some faults depend on the boot.
    """
    specs = [msgspec.structs.replace(spec, alone=alone) for spec in specs]
    rounds = [specs] + [
        [msgspec.structs.replace(spec, name=f"{spec.name}#{number}") for spec in specs]
        for number in range(2, times + 1)
    ]
    return tuple(spec for each in rounds for spec in each)


def plain_name(name: str) -> str:
    """Return a probe's name without the number of its repetition."""
    return name.partition("#")[0]


@functools.cache
def family(name: str) -> str:
    """Return a probe's name without its size and the number of its repetition."""
    return plain_name(name).rpartition("/")[0]


@functools.cache
def _read(path: Path) -> _Catalog:
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_Catalog)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise SpecError(f"{path}: {error}", hint="correct the probe catalogue") from None


def _entry(raw: dict[str, Any], number: int, path: Path) -> _CatalogEntry:
    try:
        return msgspec.convert(raw, type=_CatalogEntry)
    except msgspec.ValidationError as error:
        which = f"probe {raw['name']!r}" if "name" in raw else f"probe number {number}"
        raise SpecError(f"{path}: {which}: {error}", hint="correct the probe catalogue") from None


def _check_unique(names: Sequence[str], path: Path) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise SpecError(f"{path}: two probes have the name {twice[0]!r}", hint="rename one")


def _specs(entry: _CatalogEntry, sizes: Container[str]) -> Iterable[ProbeSpec]:
    is_python = entry.source.startswith("python/")
    for size, seconds in entry.budget.items():
        if size not in sizes:
            continue
        pages = entry.pages.get(size, 0) if isinstance(entry.pages, dict) else entry.pages
        yield ProbeSpec(
            name=f"{entry.name}/{size}",
            shows=entry.shows,
            guards=entry.guards,
            source=entry.source,
            language="python" if is_python else "c",
            arguments=(*entry.arguments, "--size", size),
            needs=(*entry.needs, *(["python"] if is_python else [])),
            pages=(HugePages(size=parse_size(size, entry.name), count=pages),) if pages else (),
            nodes=entry.nodes,
            on_request=entry.on_request,
            config=entry.config,
            budget=seconds,
            checkpoints=entry.checkpoints,
            without_series=entry.without_series or (("SKIP",) if "hgm" in entry.needs else ()),
            taints_guest=entry.taints_guest,
        )


def _no_match(specs: Sequence[ProbeSpec], pattern: str) -> SpecError:
    names = dict.fromkeys(name for spec in specs for name in (family(spec.name), spec.name))
    near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.5)
    hint = f"similar: {', '.join(near)}" if near else "`hgm probes list` shows all of them"
    return SpecError(f"--probe {pattern!r} matches no probe", hint=hint)
