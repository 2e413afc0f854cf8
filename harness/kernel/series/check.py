# SPDX-License-Identifier: GPL-2.0-only
"""How each patch of a series applies to a source, without building it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from harness.context import Context
from harness.errors import SeriesError
from harness.kernel.series import diagnosis
from harness.kernel.series.applying import ScratchIndex
from harness.kernel.series.depends import Ported
from harness.kernel.series.diagnosis import FilePatch
from harness.kernel.series.patch import Patch, Series, printable
from harness.kernel.series.refusal import Refusal
from harness.kernel.source import Source
from harness.records.base import Record
from harness.records.kernel import How, PatchIdentity

End = Literal[How, "conflict", "depends", "damaged", "forbidden"]


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
            another base, ``depends``: it needs earlier patches that conflict, ``damaged``: git
            cannot read it as a patch, ``forbidden``: it reaches out of the tree.
        files: what it changes; empty for one that is damaged.
        applied: its identity in a record; None if it was refused.
        refusal: why it was refused; None if it was not, or depends on one that was.
        needs: numbers of the earlier conflicting patches that it depends on: it applies once these
            are ported. See `harness.kernel.series.depends`.
        perhaps: numbers of earlier refused patches that it may depend on: what they do to its files
            is not known, because they are damaged, binary or huge.
    """

    number: int
    name: str
    end: End
    files: tuple[FileChange, ...] = ()
    applied: PatchIdentity | None = None
    refusal: Refusal | None = None
    needs: tuple[int, ...] = ()
    perhaps: tuple[int, ...] = ()


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
        """Return the patches that were refused for what they are themselves."""
        return tuple(patch for patch in self.patches if patch.refusal is not None)

    @property
    def dependent(self) -> tuple[PatchCheck, ...]:
        """Return the patches that do not apply because they need a refused one."""
        return tuple(patch for patch in self.patches if patch.end == "depends")


def check(series: Series, source: Source, context: Context, *, fuzz: bool = False) -> SeriesCheck:
    """Apply every patch of a series that fits, and return how each did.

    A refused patch is left out, so that those after it are checked as well; so is one that depends
    on it.

    Args:
        series: what `harness.kernel.series.read` returned.
        source: what it is applied to.
        context: what to work with.
        fuzz: whether a patch may apply with less context than it has.
    """
    base = source.identity.tree
    tree, forbidden = "", ""
    context.progress.stage("series", f"{len(series.patches)} patches")
    with ScratchIndex.on(base, context) as scratch:
        checked = tuple(_Check(scratch, fuzz).each(series))
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
        patches=checked,
        tree=tree,
        forbidden=forbidden,
    )


def changed(series: Series, context: Context) -> tuple[str, ...]:
    """Return the files that a series changes, sorted; nothing is applied.

    Raises:
        SeriesError: if git cannot read one of its patches.
    """
    files: set[str] = set()
    with ScratchIndex.empty(context) as scratch:
        for patch in series.patches:
            changes = numstat(scratch.numstat(patch))
            if not changes:
                raise SeriesError(
                    f"{series.spec}: {patch.name}: git cannot read which files it changes",
                    hint="`hgm series check` says what is wrong with it",
                )
            files.update(change.path for change in changes)
    return tuple(sorted(files))


@dataclass
class _Check:
    """The patches of a series, one after the other.

    Attributes:
        scratch: holds the source with the patches that apply.
        fuzz: see `check`.
        ported: the files of the refused patches.
        unknown: refused patches that cannot be ported, and the files that they change.
    """

    scratch: ScratchIndex
    fuzz: bool
    ported: Ported = field(init=False)
    unknown: dict[int, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ported = Ported(self.scratch.text)

    def each(self, series: Series) -> Iterator[PatchCheck]:
        """Yield how each patch of a series applies."""
        exact = self.scratch.put_exactly(series.patches)
        for index, patch in enumerate(series.patches):
            self.scratch.context.progress.step(patch.number, series.patches[-1].number, "patches")
            changes = numstat(self.scratch.numstat(patch))
            if exact:
                yield _applied(patch, exact[index], changes)
            else:
                yield self._one(patch, changes)

    def _one(self, patch: Patch, changes: tuple[FileChange, ...]) -> PatchCheck:
        files = _text_files(patch, changes) if self.ported.anything else ()
        if needs := self.ported.needed(files):
            self.ported.refuse(patch.number, files, needs)
            return PatchCheck(
                number=patch.number, name=patch.name, end="depends", files=changes, needs=needs
            )
        end = self.scratch.put(patch, fuzz=self.fuzz)
        if isinstance(end, PatchIdentity):
            self.ported.apply(files)
            return _applied(patch, end, changes)
        paths = {change.path for change in changes}
        perhaps = [each for each, theirs in self.unknown.items() if not theirs or theirs & paths]
        files = _text_files(patch, changes)
        self.ported.refuse(patch.number, files)
        if not files:
            self.unknown[patch.number] = paths
        return PatchCheck(
            number=patch.number,
            name=patch.name,
            end=_end(end),
            files=changes,
            refusal=end,
            perhaps=tuple(perhaps),
        )


def _applied(patch: Patch, identity: PatchIdentity, changes: tuple[FileChange, ...]) -> PatchCheck:
    return PatchCheck(
        number=patch.number, name=patch.name, end=identity.how, files=changes, applied=identity
    )


def _text_files(patch: Patch, changes: tuple[FileChange, ...]) -> tuple[FilePatch, ...]:
    """Return what a patch does to each file; nothing if that is not text alone, or too long."""
    if any(change.added is None for change in changes):
        return ()
    files = diagnosis.parse(patch.data.decode(errors="replace"), patch.strip)
    return files if len(files) == len(changes) else ()


def _end(end: Refusal) -> End:
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
