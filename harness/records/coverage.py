# SPDX-License-Identifier: GPL-2.0-only
"""What the probes reached of the kernel's sources."""

from __future__ import annotations

from harness.records.base import Record


class CountedFunction(Record, frozen=True, kw_only=True):
    """A function of a counted source.

    Attributes:
        name: as in the source.
        line: where it begins.
        calls: how often it was entered.
    """

    name: str
    line: int
    calls: int


class SourceCoverage(Record, frozen=True, kw_only=True):
    """What was reached of one source.

    Attributes:
        path: below the tree's root.
        lines: how many lines have code.
        reached: how many of them ran.
        functions: its functions, by line, without those that the compiler only inlined.
    """

    path: str
    lines: int
    reached: int
    functions: tuple[CountedFunction, ...]


class Coverage(Record, frozen=True, kw_only=True):
    """What the probes of some runs reached together.

    Attributes:
        sources: the counted ones, by path.
    """

    sources: tuple[SourceCoverage, ...]
