# SPDX-License-Identifier: GPL-2.0-only
"""The page with what a run's probes reached of the kernel's sources."""

from __future__ import annotations

from harness.records.base import Record
from harness.records.coverage import CountedFunction, Coverage, SourceCoverage
from harness.site.words import Link


class SourceBlock(Record, frozen=True, kw_only=True):
    """A source.

    Attributes:
        path: below the tree's root.
        reached: how many of its lines, in words.
        entered: how many of its functions, in words.
        functions: those that no probe entered first, then by line.
    """

    path: str
    reached: str
    entered: str
    functions: tuple[CountedFunction, ...]


class CoveragePage(Record, frozen=True, kw_only=True):
    """What a run's probes reached."""

    run: Link
    sources: tuple[SourceBlock, ...]


def coverage(run: Link, found: Coverage) -> CoveragePage:
    """Return the model of the page."""
    return CoveragePage(run=run, sources=tuple(map(_block, found.sources)))


def _block(source: SourceCoverage) -> SourceBlock:
    functions = sorted(source.functions, key=lambda each: (each.calls > 0, each.line))
    entered = sum(each.calls > 0 for each in functions)
    share = f" ({100 * source.reached / source.lines:.1f} %)" if source.lines else ""
    return SourceBlock(
        path=source.path,
        reached=f"{source.reached} of {source.lines}{share}",
        entered=f"{entered} of {len(functions)}",
        functions=tuple(functions),
    )
