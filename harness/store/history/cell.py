# SPDX-License-Identifier: GPL-2.0-only
"""What runs of different nights are compared by. Pure."""

from __future__ import annotations

import functools

from harness.records.base import FIRST_ARCH
from harness.records.history import Cell
from harness.records.machine import MachineSpec, pages_option
from harness.records.run import RequestSummary, RunRecord
from harness.workspace import digest

_GIB = 2**30


def cell_of(record: RunRecord) -> Cell | None:
    """Return the cell of a run; None if its record does not say what was asked for.

    A run that ended before its accelerator was chosen says something of its kernel's build only,
    and gets the cell of that.
    """
    request = record.request
    if request is None:
        return None
    line = Cell(
        kernel=request.kernel,
        series=_series(request),
        config="+".join(("base", *request.features)),
    )
    if record.accel is None or record.machine is None or request.build_only:
        return line
    return Cell(
        kernel=line.kernel,
        series=line.series,
        config=line.config,
        machine=_machine(record.machine),
        accel=record.accel.name,
        probes=_probes(request),
    )


def run_id(record: RunRecord) -> str:
    """Return the ID of a run: 16 hex digits that stay when its directory is moved or renamed."""
    return digest(record.run_dir.rpartition("/")[2], record.started, *record.command)[:16]


@functools.cache
def cell_id(cell: Cell) -> str:
    """Return the ID of a cell: 16 hex digits."""
    parts = (cell.kernel, cell.series, cell.config, cell.machine, cell.accel, cell.probes)
    return digest(*parts)[:16]


def _series(request: RequestSummary) -> str:
    first = "" if request.first is None else f" first {request.first}"
    return request.series + first + "".join(f" with {patch}" for patch in request.extra)


def _machine(machine: MachineSpec) -> str:
    return ", ".join(
        [
            pages_option(machine.hugepages) or "no huge pages",
            f"{machine.cpus} CPU{'s' if machine.cpus > 1 else ''}",
            f"{machine.nodes} node{'s' if machine.nodes > 1 else ''}",
            f"{machine.memory / _GIB:g} GiB",
            *(["HVO"] if machine.hvo else []),
            *(["hugetlb_cma"] if machine.hugetlb_cma else []),
            *([] if machine.arch == FIRST_ARCH else [machine.arch]),
        ]
    )


def _probes(request: RequestSummary) -> str:
    tests = [f"kselftest {each}" for each in sorted(request.kselftests)]
    touched = [f"touched by {request.touched}"] if request.touched else []
    return ", ".join([*touched, *sorted(request.probes), *tests]) or "all"
