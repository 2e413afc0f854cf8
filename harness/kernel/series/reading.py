# SPDX-License-Identifier: GPL-2.0-only
"""From a series spec of any form to patches in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.context import Context
from harness.errors import SeriesError
from harness.kernel import faults, registry
from harness.kernel.faults import Fault
from harness.kernel.registry import RegisteredSeries
from harness.kernel.series import choose, commits, directory, mailbox, resolve
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
    series = Series(
        spec=spec.text,
        patches=patches,
        notes=chosen.notes,
        message_id=chosen.message_id,
        subject=chosen.subject,
    )
    if resolve_from:
        series = resolve.replaced(series, Path(resolve_from).expanduser().absolute(), context)
    for note in series.notes:
        context.progress.note(f"series: {note}")
    return series


def with_extra(series: Series, first: int | None, extra: Sequence[str], context: Context) -> Series:
    """Return the first patches of a series with others on top of them.

    Args:
        series: the whole of it.
        first: how many of its patches; None for all.
        extra: each the path of a patch file, or the number of a patch of the series, which is left
            out where it is among the first ones.
        context: cache, deadline, progress.

    Raises:
        SeriesError: if there is no such file or patch.
    """
    patches = list(series.first(first).patches)
    for word in extra:
        if not word.isdecimal():
            taken = max(len(series.patches), *(patch.number for patch in patches), 0)
            patches.append(_read_extra(word, taken + 1, context))
        elif not 1 <= int(word) <= len(series.patches):
            raise SeriesError(
                f"--with {word}: the series has {len(series.patches)} patches",
                hint=f"for a file of that name write ./{word}",
            )
        elif all(patch.number != int(word) for patch in patches):
            patches.append(series.patches[int(word) - 1])
    return msgspec.structs.replace(series, patches=tuple(patches))


def _read_extra(word: str, number: int, context: Context) -> Patch:
    file = Path(word)
    try:
        data = directory.read_patch_file(file, context)
    except OSError as error:
        raise SeriesError(
            f"--with {word}: {error.strerror}", hint="a patch file, or a patch's number"
        ) from error
    return Patch(name=file.name, data=data, number=number)


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
            from harness.kernel.series import lore  # 10 ms of email, which no other kind needs

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
