# SPDX-License-Identifier: GPL-2.0-only
"""A source with a series applied, from the cache if these patches were applied to it before."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.context import Context
from harness.errors import SeriesError
from harness.kernel.git import Store
from harness.kernel.series.applying import ScratchIndex, patch_identity
from harness.kernel.series.patch import Series
from harness.kernel.series.refusal import Refusal, explain, refused
from harness.kernel.source import Source, tree_version
from harness.progress import Silent
from harness.records.base import Record, read_json, to_json
from harness.records.kernel import PatchIdentity, SeriesIdentity
from harness.workspace import atomic_write, digest

#: Raised whenever the same patches on the same tree would no longer give the same record.
_RECIPE = "2"


class Patched(Record, frozen=True, kw_only=True):
    """A source with its series applied.

    Attributes:
        identity: which patches, and the tree they made.
        version: ``VERSION.PATCHLEVEL.SUBLEVEL`` of the patched Makefile.
    """

    identity: SeriesIdentity
    version: str


def apply(series: Series, source: Source, context: Context, *, fuzz: bool = False) -> Patched:
    """Return the patched source, from the cache if these patches were applied to it before.

    Args:
        series: what `read` returned.
        source: what it is applied to.
        context: what to work with.
        fuzz: whether a patch may apply with less context than it has.

    Raises:
        SeriesError: naming the patch, the file and the hunk that do not fit.
    """
    base = source.identity.tree
    if not series.patches:
        identity = _identity(series, (), base)
        return Patched(identity=identity, version=source.version)
    memory = _memory(series, base, context, fuzz)
    if known := read_json(memory, Patched):
        identity = _identity(series, known.identity.patches, known.identity.tree)
        return msgspec.structs.replace(known, identity=identity)
    context.progress.stage("series", f"{len(series.patches)} patches")
    tree, applied = _apply_all(series, base, context, fuzz)
    identity = _identity(series, applied, tree)
    version = tree_version(Store.of(context), tree, "the patched source", context.deadline)
    patched = Patched(identity=identity, version=version)
    atomic_write(memory, to_json(patched))
    return patched


def planned(series: Series) -> SeriesIdentity:
    """Return which patches are to be applied; how they apply, and what they make, is not known."""
    return _identity(series, [patch_identity(each, "planned") for each in series.patches], "")


def _identity(series: Series, applied: Sequence[PatchIdentity], tree: str) -> SeriesIdentity:
    """Return which series made a tree; the same patches may have come in other mails before."""
    patches = tuple(
        msgspec.structs.replace(identity, message_id=patch.message_id)
        for identity, patch in zip(applied, series.patches, strict=True)
    )
    return SeriesIdentity(
        spec=series.spec,
        patches=patches,
        tree=tree,
        notes=series.notes,
        message_id=series.message_id,
        subject=series.subject,
    )


def refusal(series: Series, source: Source, context: Context, *, fuzz: bool = False) -> str:
    """Return why a series does not apply to a source; empty if it does. Both are remembered."""
    memory = _memory(series, source.identity.tree, context, fuzz).with_suffix(".refused")
    with contextlib.suppress(FileNotFoundError):
        return memory.read_text()
    quiet = dataclasses.replace(context, progress=Silent())
    try:
        apply(series, source, quiet, fuzz=fuzz)
    except SeriesError as error:
        atomic_write(memory, error.message)
        return error.message
    return ""


def _memory(series: Series, base: str, context: Context, fuzz: bool) -> Path:
    parts: list[str | bytes] = [_RECIPE, base, str(fuzz)]
    for patch in series.patches:
        parts += [str(patch.strip), patch.name, patch.data, patch.resolved, patch.replaces]
    return context.workspace.room("sources") / f"series-{digest(*parts)}.json"


def _begun(
    series: Series, base: str, context: Context, fuzz: bool
) -> tuple[str, tuple[PatchIdentity, ...]]:
    """Return the tree of the longest part of the series applied before, and its patches."""
    for first in range(len(series.patches) - 1, 0, -1):
        if known := read_json(_memory(series.first(first), base, context, fuzz), Patched):
            return known.identity.tree, known.identity.patches
    return base, ()


def _apply_all(
    series: Series, base: str, context: Context, fuzz: bool
) -> tuple[str, tuple[PatchIdentity, ...]]:
    """Return the tree that the whole series makes of ``base``, and how each patch applied."""
    tree, begun = _begun(series, base, context, fuzz)
    applied = list(begun)
    with ScratchIndex.on(tree, context) as scratch:
        left = series.patches[len(begun) :]
        for patch, end in zip(left, scratch.put_each(left, fuzz=fuzz), strict=True):
            if isinstance(end, Refusal):
                for line in explain(end):
                    context.progress.note(line)
                raise refused(patch, end)
            applied.append(end)
        scratch.check_links(base)
        made = scratch.tree()
        scratch.keep(made)
        return made, tuple(applied)
