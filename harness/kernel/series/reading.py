# SPDX-License-Identifier: GPL-2.0-only
"""From a series spec of any form to patches in order."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.context import Context
from harness.kernel import faults, registry
from harness.kernel.faults import Fault
from harness.kernel.registry import RegisteredSeries
from harness.kernel.series import choose, commits, directory, lore, mailbox, resolve
from harness.kernel.series.patch import Patch, Series
from harness.kernel.specs import SeriesSpec, parse_series


def read(spec: SeriesSpec, context: Context, *, resolve_from: str = "") -> Series:
    """Return a series' patches in the order they are to be applied; none for ``none``.

    Each choice made, such as the newest of several revisions, is a note.

    Args:
        spec: which series.
        context: cache, deadline, progress.
        resolve_from: a directory with replacements for some of its patches; empty for none.

    Raises:
        SeriesError: if it is absent or empty, or a part is missing, doubled, or of another series.
        SpecError: if ``kernel-patches`` has no series of that name.
    """
    if spec.kind == "none":
        return Series(spec=spec.text)
    chosen = _read(spec, context)
    patches = tuple(
        msgspec.structs.replace(patch, number=number)
        for number, patch in enumerate(chosen.patches, 1)
    )
    series = Series(spec=spec.text, patches=patches, notes=chosen.notes)
    if resolve_from:
        series = resolve.replaced(series, Path(resolve_from).expanduser().absolute(), context)
    for note in series.notes:
        context.progress.note(f"series: {note}")
    return series


def _read(spec: SeriesSpec, context: Context) -> choose.Chosen:
    path = Path(spec.where)
    match spec.kind:
        case "name":
            return choose.Chosen(patches=_read_registered(registry.find(spec.where), context))
        case "fault":
            return _read_fault(faults.find(spec.where), context)
        case "dir":
            return choose.Chosen(patches=directory.read_directory(path, context))
        case "git":
            return choose.Chosen(patches=commits.read_commits(spec, context))
        case "lore":
            return lore.read_thread(spec, context)
        case _:
            return choose.choose(mailbox.read_mails(path, context), str(path))


def _read_registered(series: RegisteredSeries, context: Context) -> tuple[Patch, ...]:
    """Return the patches of a registered series, after those of the series it applies on."""
    below = _read_registered(registry.find(series.on), context) if series.on else ()
    return (*below, *directory.read_directory(Path(series.directory), context))


def _read_fault(fault: Fault, context: Context) -> choose.Chosen:
    """Return the patches that a seeded fault applies on, and the fault."""
    file = Path(fault.patch)
    base = read(parse_series(fault.on), context).patches
    return choose.Chosen(patches=(*base, Patch(name=file.name, data=file.read_bytes())))
