# SPDX-License-Identifier: GPL-2.0-only
"""The file that says which runs `hgm matrix` does; docs/howto/nightly.md explains it.

A cell is a kernel with a series and a configuration on a machine, and what runs in it. The file
names them once, and every combination is a cell, but for those that an ``exclude`` matches.
"""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec

from harness.errors import SpecError
from harness.kernel import guest_arch, registry
from harness.kernel.obtain import KernelRequest
from harness.probes import kselftest, promises
from harness.records.base import Record
from harness.records.history import Retention
from harness.run.request import RunRequest
from harness.run.subject import Subject
from harness.sizes import parse_size
from harness.vm import spec
from harness.workspace import digest, readable

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Seconds = Annotated[float, msgspec.Meta(gt=0)]
_Axis = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class MatrixMachine(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of ``[machines]``: the options of `hgm run` that name a machine."""

    arch: str = ""
    hugepages: str | None = None
    memory: str = ""
    cpus: int = spec.DEFAULT_CPUS
    nodes: int = spec.DEFAULT_NODES
    hvo: bool = False
    hugetlb_cma: bool = False
    accel: Literal["auto", "kvm", "tcg"] = "auto"


class ProbeSet(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of ``[probes]``: what runs in a guest.

    Attributes:
        probes: globs as for ``--probe``; all probes if there are none of either kind.
        kselftests: words as for ``--kselftest``.
        repeat: how often each is run.
        alone: whether each has a guest of its own.
        fresh_guest: whether each has one that is restored from a snapshot.
        guests: how many guests may run at the same time.
    """

    probes: tuple[str, ...] = ()
    kselftests: tuple[str, ...] = ()
    repeat: _Count = 1
    alone: bool = False
    fresh_guest: bool = False
    guests: _Count = 1


class CellNames(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cell by the words of the file; in an ``exclude`` each is a glob.

    Attributes:
        kernel: as for ``--kernel``.
        series: as for ``--series``.
        config: features joined by a plus, such as ``debug+kasan``; ``base`` for none.
        machine: the name of a table of ``[machines]``.
        probes: the name of a table of ``[probes]``.
    """

    kernel: str = "*"
    series: str = "*"
    config: str = "*"
    machine: str = "*"
    probes: str = "*"

    def matches(self, cell: CellNames) -> bool:
        """Return whether all globs match the words of a cell."""
        pairs = zip(msgspec.structs.astuple(cell), msgspec.structs.astuple(self), strict=True)
        return all(fnmatch.fnmatchcase(word, glob) for word, glob in pairs)

    def __str__(self) -> str:
        return " | ".join(msgspec.structs.astuple(self))


class MatrixFile(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file.

    Attributes:
        kernels: as for ``--kernel``.
        series: as for ``--series``, for each of the kernels.
        configs: as `CellNames.config`.
        machines: by name.
        probes: by name.
        exclude: combinations that are left out.
        include: cells beside the combinations, named in full.
        strict: whether known issues fail a run.
        budget: seconds that the whole matrix may take.
        cell_budget: seconds that one cell may take, its build included.
        keep: which runs are kept at the end; all if it is not given.
    """

    kernels: _Axis
    series: _Axis = ("none",)
    configs: _Axis = ("base",)
    machines: Annotated[dict[str, MatrixMachine], msgspec.Meta(min_length=1)]
    probes: Annotated[dict[str, ProbeSet], msgspec.Meta(min_length=1)]
    exclude: tuple[CellNames, ...] = ()
    include: tuple[CellNames, ...] = ()
    strict: bool = False
    budget: _Seconds = 43_200.0
    cell_budget: _Seconds = 14_400.0
    keep: Retention | None = None


class PlannedCell(NamedTuple):
    """A cell to be run.

    Attributes:
        names: as the file has them.
        request: the run.
        step: the name of its directory, the same for the same run in any file.
    """

    names: CellNames
    request: RunRequest
    step: str

    @property
    def build(self) -> tuple[str, ...]:
        """Return what says which kernel is built for it."""
        names, guest = self.names, self.request.subject.kernel.arch
        return names.kernel, names.series, names.config, guest


def load(path: Path) -> MatrixFile:
    """Return the file.

    Raises:
        SpecError: if it cannot be read, or is wrong.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=MatrixFile)
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}", hint="check the path") from None
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise SpecError(f"{path}: {error}", hint="see docs/howto/nightly.md") from None


def cells(file: MatrixFile, path: Path) -> tuple[PlannedCell, ...]:
    """Return the cells in the order in which they are run.

    Those that need the same kernel follow each other. Kernels of one source and configuration do
    too, as a series changes few files and a configuration nearly all of them.

    Raises:
        SpecError: if a name is unknown, or a word is not what `hgm run` would take.
    """
    product = (
        CellNames(kernel=kernel, series=series, config=config, machine=machine, probes=probes)
        for kernel, config, series, machine, probes in itertools.product(
            file.kernels, file.configs, file.series, file.machines, file.probes
        )
    )
    chosen = [cell for cell in product if not any(each.matches(cell) for each in file.exclude)]
    every = dict.fromkeys((*chosen, *file.include))
    if not every:
        raise SpecError(f"{path}: no cell is left", hint="see its `exclude`")
    for cell in every:
        _check(file, cell, path)
    return _sorted(_planned(file, cell, path) for cell in every)


def _planned(file: MatrixFile, cell: CellNames, path: Path) -> PlannedCell:
    try:
        request = _request(file, cell)
        return PlannedCell(cell, request, _step(cell, request))
    except SpecError as error:
        raise SpecError(f"{path}: {cell}: {error.message}", hint=error.hint) from None


def _sorted(found: Iterable[PlannedCell]) -> tuple[PlannedCell, ...]:
    """Return cells with those of one source, then configuration, series, architecture together."""
    ranks: dict[tuple[str, ...], int] = {}

    def rank(cell: PlannedCell) -> list[int]:
        kernel, series, config, guest = cell.build
        words = (kernel, config, series, guest)
        return [ranks.setdefault(words[: at + 1], len(ranks)) for at in range(len(words))]

    return tuple(sorted(found, key=rank))


def _check(file: MatrixFile, cell: CellNames, path: Path) -> None:
    for kind, name, known in (
        ("machine", cell.machine, file.machines),
        ("probes", cell.probes, file.probes),
    ):
        if name not in known:
            raise SpecError(
                f"{path}: there is no {kind} {name!r}", hint=f"it has {', '.join(known)}"
            )
    if "*" in (cell.kernel, cell.series, cell.config):
        raise SpecError(
            f"{path}: an `include` names its kernel, series and config",
            hint="give it all three; globs are for `exclude`",
        )


def _request(file: MatrixFile, cell: CellNames) -> RunRequest:
    """Return the run of a cell, as `hgm run` would make it from the same words."""
    machine, chosen = file.machines[cell.machine], file.probes[cell.probes]
    base, *features = cell.config.split("+")
    guest = guest_arch.choose(machine.arch, cell.kernel)
    pages = guest.hugepages if machine.hugepages is None else machine.hugepages
    made = spec.machine(
        spec.parse_hugepages(pages, guest.name),
        memory=parse_size(machine.memory, "memory") if machine.memory else None,
        cpus=machine.cpus,
        nodes=machine.nodes,
        spare=kselftest.spare_memory(chosen.kselftests),
        arch_name=guest.name,
    )
    return RunRequest(
        subject=Subject(
            kernel=KernelRequest(
                source=cell.kernel,
                series=cell.series,
                features=tuple(features if base == "base" else (base, *features)),
                arch=guest.name,
            ),
            machine=msgspec.structs.replace(made, hvo=machine.hvo, hugetlb_cma=machine.hugetlb_cma),
            accel=machine.accel,
        ),
        expect=promises.profile(registry.expectation(cell.series)),
        strict=file.strict,
        probes=chosen.probes,
        kselftests=chosen.kselftests,
        repeat=chosen.repeat,
        alone=chosen.alone or chosen.fresh_guest,
        fresh_guest=chosen.fresh_guest,
        guests=chosen.guests,
    )


def _step(cell: CellNames, request: RunRequest) -> str:
    """Return the cell's words, and a hash of these and of what they mean: tables can be edited."""
    words = msgspec.structs.astuple(cell)
    name = readable("-".join(word.rpartition(":")[2].rpartition("/")[2] for word in words))
    return f"{name.lstrip('-')}-{digest(*words, msgspec.json.encode(request))[:8]}"
