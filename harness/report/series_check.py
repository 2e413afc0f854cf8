# SPDX-License-Identifier: GPL-2.0-only
"""The result of `hgm series check` as text: a line a patch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from harness.kernel.series.check import PatchCheck, SeriesCheck
from harness.kernel.series.patch import printable
from harness.kernel.series.refusal import explain

_BAD = 2


def exit_code(checked: SeriesCheck) -> int:
    """Return 0 for a series that applies, else 2."""
    return _BAD if checked.refused or checked.forbidden else 0


def write(checked: SeriesCheck, stream: TextIO) -> None:
    """Write the report."""
    stream.writelines(f"{line}\n" for line in lines(checked))


def lines(checked: SeriesCheck) -> Iterator[str]:
    """Yield the report's lines."""
    yield f"source   {checked.source}, {checked.version}, tree {checked.base[:12]}"
    count = len(checked.patches)
    yield f"series   {checked.series}: {count} patch{'es' if count != 1 else ''}"
    for note in checked.notes:
        yield f"note     {note}"
    yield ""
    yield f"{'patch':>5}  {'applies':<8}  {'files':>5}  {'+':>5}  {'-':>5}  name"
    for patch in checked.patches:
        yield _row(patch)
        yield from (f"{'':7}{line}" for line in _remarks(patch))
    yield ""
    yield verdict(checked)


def _row(patch: PatchCheck) -> str:
    end = patch.end.upper() if patch.refusal is not None else patch.end
    added = sum(change.added or 0 for change in patch.files)
    removed = sum(change.removed or 0 for change in patch.files)
    files = str(len(patch.files)) if patch.files else "?"
    return (
        f"{patch.number:>5}  {end:<8}  {files:>5}  {added:>5}  {removed:>5}  "
        f"{printable(patch.name)}"
    )


def _remarks(patch: PatchCheck) -> Iterator[str]:
    """Yield remarks on a patch that did not apply exactly, or was replaced."""
    if patch.applied is not None:
        if patch.applied.detail:
            yield patch.applied.detail
        if patch.applied.resolved:
            yield f"replaced by {patch.applied.resolved}"
    if patch.after:
        numbers = ", ".join(map(str, patch.after))
        yield f"changes the same files as {numbers}, left out"
    refusal = patch.refusal
    if refusal is None:
        return
    if not refusal.misfits:
        yield refusal.reason
    yield from explain(refusal)
    if refusal.fuzzy:
        yield f"applies with --fuzz: {refusal.fuzzy}"


def verdict(checked: SeriesCheck) -> str:
    """Return the last line."""
    refused = checked.refused
    if checked.forbidden:
        return f"refused: {checked.forbidden}"
    if refused:
        numbers = ", ".join(str(patch.number) for patch in refused)
        return (
            f"{len(refused)} of {len(checked.patches)} do not apply: {numbers} "
            "(- the patch expects, + the source has); port them and give them with --resolve DIR"
        )
    ways = [patch.end for patch in checked.patches]
    counted = ", ".join(f"{ways.count(way)} {way}" for way in dict.fromkeys(ways))
    return f"all apply: {counted}; tree {checked.tree}"
