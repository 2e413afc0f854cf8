# SPDX-License-Identifier: GPL-2.0-only
"""Which seeded faults can share a kernel, so that one build and one run answer for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.kernel.faults import Catch, Fault
from harness.kernel.series import diagnosis
from harness.probes import catalog
from harness.records.probe import ProbeSpec


def exact(fault: Fault) -> tuple[Catch, ...]:
    """Return the catches that count where other faults may have failed the probe.

    Those say by a pattern what the failure looks like, and the guest survives it.
    """
    return tuple(catch for catch in fault.caught if catch.pattern and catch.status == ("FAIL",))


def can_share(fault: Fault) -> bool:
    """Return whether a fault may be in a kernel with others.

    It may not if it breaks more than the probes that it names, may end or damage the guest, or does
    not show in each boot.
    """
    harmless = all(catch.status == ("FAIL",) for catch in fault.caught)
    every_boot = fault.one_in == 1
    return not fault.breaks_others and harmless and every_boot and bool(exact(fault))


def plan(faults: Sequence[Fault], specs: Sequence[ProbeSpec]) -> tuple[tuple[Fault, ...], ...]:
    """Return the faults, one tuple a kernel, each fault in the first that it fits into.

    Faults share a kernel if they are made for the same source, series and features, their hunks do
    not meet, and no probe is named by two of them.
    """
    sharing = [fault for fault in faults if can_share(fault)]
    probes = {fault.name: _probes(fault, specs) for fault in sharing}
    changes = {fault.name: _changes(fault) for fault in sharing}

    def fit(one: Fault, other: Fault) -> bool:
        same_kernel = (one.kernel, one.on, one.config) == (other.kernel, other.on, other.config)
        return (
            same_kernel
            and not probes[one.name] & probes[other.name]
            and not any(_meet(a, b) for a in changes[one.name] for b in changes[other.name])
        )

    groups: list[list[Fault]] = []
    for fault in faults:
        if can_share(fault):
            fitting = (
                group
                for group in groups
                if can_share(group[0]) and all(fit(fault, other) for other in group)
            )
            if group := next(fitting, None):
                group.append(fault)
                continue
        groups.append([fault])
    return tuple(tuple(group) for group in groups)


def _probes(fault: Fault, specs: Sequence[ProbeSpec]) -> set[str]:
    chosen = catalog.select(specs, [catch.probe for catch in exact(fault)])
    return {spec.name for spec in chosen}


def _changes(fault: Fault) -> list[tuple[str, range]]:
    """Return the lines that a fault's patch expects, context included, by file."""
    return [
        (file.path, range(hunk.start, hunk.start + len(hunk.old)))
        for file in diagnosis.parse(Path(fault.patch).read_text())
        for hunk in file.hunks
    ]


def _meet(one: tuple[str, range], other: tuple[str, range]) -> bool:
    (path, lines), (other_path, other_lines) = one, other
    return path == other_path and lines.start < other_lines.stop and other_lines.start < lines.stop
