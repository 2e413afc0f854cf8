# SPDX-License-Identifier: GPL-2.0-only
"""Symbols of a configuration as text: the value of each, why, and what decides on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.kernel.kconfig import SymbolFacts
from harness.report import columns


def lines(found: Sequence[SymbolFacts]) -> Iterator[str]:
    """Yield the lines of each symbol, an empty one between two."""
    for number, symbol in enumerate(found):
        if number:
            yield ""
        yield f"CONFIG_{symbol.name}={symbol.value}: {symbol.why}"
        rows = [
            ("  requested", symbol.asked or "by no fragment"),
            ("  prompt", symbol.prompt or "none"),
            *(("  defined", place) for place in symbol.defined),
            ("  depends on", symbol.depends or "nothing"),
            ("  selected by", _selectors(symbol)),
        ]
        yield from columns.lines(rows)


def _selectors(symbol: SymbolFacts) -> str:
    if symbol.selected:
        return ", ".join(symbol.selected)
    if not symbol.selectors:
        return "nothing"
    return f"{columns.count(symbol.selectors, 'symbol')}, of which none is on"
