# SPDX-License-Identifier: GPL-2.0-only
"""The result of `hgm series check` as text: what does not apply first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from harness.kernel.series.check import PatchCheck, SeriesCheck
from harness.kernel.series.patch import printable
from harness.kernel.series.refusal import explain
from harness.report.columns import count

_BAD = 2


def exit_code(checked: SeriesCheck) -> int:
    """Return 0 for a series that applies, else 2."""
    return _BAD if checked.refused or checked.forbidden else 0


def lines(checked: SeriesCheck) -> Iterator[str]:
    """Yield the report's lines."""
    yield f"source   {checked.source}, {checked.version}, tree {checked.base[:12]}"
    yield f"series   {checked.series}: {count(len(checked.patches), 'patch', 'patches')}"
    for note in checked.notes:
        yield f"note     {note}"
    if checked.refused:
        yield from _section("Do not apply", checked.refused)
    if checked.dependent:
        yield from _section("Depend on these, and would apply if they did", checked.dependent)
    applied = tuple(patch for patch in checked.patches if patch.applied is not None)
    if applied:
        yield from _section("Apply", applied)
    yield ""
    yield verdict(checked)


def _section(title: str, patches: Sequence[PatchCheck]) -> Iterator[str]:
    """Yield a table of patches, with remarks."""
    yield ""
    yield f"{title} ({len(patches)}):"
    yield f"{'patch':>5}  {'how':<9}  {'files':>5}  {'+':>5}  {'-':>5}  name"
    for patch in patches:
        yield _row(patch)
        yield from (f"{'':7}{line}" for line in _remarks(patch))


def _row(patch: PatchCheck) -> str:
    end = patch.end.upper() if patch.refusal is not None else patch.end
    added = sum(change.added or 0 for change in patch.files)
    removed = sum(change.removed or 0 for change in patch.files)
    files = str(len(patch.files)) if patch.files else "?"
    return (
        f"{patch.number:>5}  {end:<9}  {files:>5}  {added:>5}  {removed:>5}  "
        f"{printable(patch.name)}"
    )


def _remarks(patch: PatchCheck) -> Iterator[str]:
    """Yield remarks on a patch that did not apply exactly, or was replaced."""
    if patch.applied is not None:
        if patch.applied.detail:
            yield patch.applied.detail
        if patch.applied.resolved:
            yield f"replaced by {patch.applied.resolved}"
    if patch.needs:
        yield f"needs {_numbers(patch.needs)}"
    if patch.perhaps:
        yield f"may depend on {_numbers(patch.perhaps)}, left out: not known, as it is not text"
    refusal = patch.refusal
    if refusal is None:
        return
    if not refusal.misfits:
        yield refusal.reason
    yield from explain(refusal)
    if refusal.fuzzy:
        yield f"applies with --fuzz: {refusal.fuzzy}"


def _numbers(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def verdict(checked: SeriesCheck) -> str:
    """Return the last line."""
    refused = checked.refused
    if checked.forbidden:
        return f"refused: {checked.forbidden}"
    if refused:
        numbers = _numbers(patch.number for patch in refused)
        dependent = _numbers(patch.number for patch in checked.dependent)
        depend = f"; {dependent} depend on them" if dependent else ""
        return (
            f"{len(refused)} of {len(checked.patches)} do not apply: {numbers} "
            f"(- the patch expects, + the source has){depend}; "
            "port them and give them with --resolve DIR"
        )
    ways = [patch.end for patch in checked.patches]
    counted = ", ".join(f"{ways.count(way)} {way}" for way in dict.fromkeys(ways))
    return f"all apply: {counted}; tree {checked.tree}"
