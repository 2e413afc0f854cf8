# SPDX-License-Identifier: GPL-2.0-only
"""How each patch of a series applies to a source, without building it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harness.context import Context
from harness.errors import SeriesError
from harness.kernel.series.applying import ScratchIndex
from harness.kernel.series.patch import Patch, Series, printable
from harness.kernel.series.refusal import Refusal
from harness.kernel.source import Source
from harness.records.base import Record
from harness.records.kernel import How, PatchIdentity

End = Literal[How, "conflict", "damaged", "forbidden"]


class FileChange(Record, frozen=True, kw_only=True):
    """What a patch does to one file.

    Attributes:
        path: the file, or the one it becomes.
        added: lines; None for a binary file.
        removed: lines; None for a binary file.
    """

    path: str
    added: int | None
    removed: int | None


class PatchCheck(Record, frozen=True, kw_only=True):
    """How one patch applied to the tree that the ones before it made.

    Attributes:
        number: its place in the series, from 1.
        name: its file name or subject.
        end: `harness.records.kernel.PatchIdentity.how`; or ``conflict``: it might apply to
            another base, ``damaged``: git cannot read it as a patch, ``forbidden``: it reaches out
            of the tree.
        files: what it changes; empty for one that is damaged.
        applied: its identity in a record; None if it was refused.
        refusal: why it was refused; None if it was not.
        after: numbers of earlier refused patches that change the same files: this result may be
            different once they apply.
    """

    number: int
    name: str
    end: End
    files: tuple[FileChange, ...] = ()
    applied: PatchIdentity | None = None
    refusal: Refusal | None = None
    after: tuple[int, ...] = ()


class SeriesCheck(Record, frozen=True, kw_only=True):
    """What ``hgm series check --json`` prints.

    Attributes:
        source: ``--kernel``'s argument.
        version: of the source.
        base: its git tree.
        series: ``--series``'s argument.
        notes: what was chosen while the series was read.
        patches: every patch, in order.
        tree: the patched git tree; empty if a patch was refused.
        forbidden: why the series as a whole is refused; empty if it is not.
    """

    source: str
    version: str
    base: str
    series: str
    notes: tuple[str, ...] = ()
    patches: tuple[PatchCheck, ...] = ()
    tree: str = ""
    forbidden: str = ""

    @property
    def refused(self) -> tuple[PatchCheck, ...]:
        """Return the patches that were refused."""
        return tuple(patch for patch in self.patches if patch.refusal is not None)


def check(series: Series, source: Source, context: Context, *, fuzz: bool = False) -> SeriesCheck:
    """Apply every patch of a series that fits, and return how each did.

    A refused patch is left out, so that those after it are checked as well.

    Args:
        series: what `harness.kernel.series.read` returned.
        source: what it is applied to.
        context: what to work with.
        fuzz: whether a patch may apply with less context than it has.
    """
    base = source.identity.tree
    checked: list[PatchCheck] = []
    tree, forbidden = "", ""
    context.progress.stage("series", f"{len(series.patches)} patches")
    with ScratchIndex.on(base, context) as scratch:
        ends = scratch.put_each(series.patches, fuzz=fuzz)
        for patch, end in zip(series.patches, ends, strict=True):
            checked.append(_check(patch, end, numstat(scratch.numstat(patch)), checked))
        try:
            scratch.check_links(base)
        except SeriesError as error:
            forbidden = error.message
        if not forbidden and not any(patch.refusal for patch in checked):
            tree = scratch.tree()
    return SeriesCheck(
        source=source.identity.spec,
        version=source.version,
        base=base,
        series=series.spec,
        notes=series.notes,
        patches=tuple(checked),
        tree=tree,
        forbidden=forbidden,
    )


def _check(
    patch: Patch,
    end: PatchIdentity | Refusal,
    files: tuple[FileChange, ...],
    before: Sequence[PatchCheck],
) -> PatchCheck:
    touched = {change.path for change in files}
    after = tuple(
        each.number
        for each in before
        if each.refusal is not None and touched & {change.path for change in each.files}
    )
    refusal = end if isinstance(end, Refusal) else None
    return PatchCheck(
        number=patch.number,
        name=patch.name,
        end=_end(end),
        files=files,
        applied=None if isinstance(end, Refusal) else end,
        refusal=refusal,
        after=after,
    )


def _end(end: PatchIdentity | Refusal) -> End:
    if isinstance(end, PatchIdentity):
        return end.how
    if end.damaged:
        return "damaged"
    return "conflict" if end.misfits or end.fuzzy else "forbidden"


def numstat(text: str) -> tuple[FileChange, ...]:
    """Return the changes that ``git apply --numstat -z`` printed."""
    changes = []
    for row in filter(None, text.split("\0")):
        added, removed, path = row.split("\t", 2)
        changes.append(
            FileChange(path=printable(path), added=_lines(added), removed=_lines(removed))
        )
    return tuple(changes)


def _lines(count: str) -> int | None:
    return None if count == "-" else int(count)
