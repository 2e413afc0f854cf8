# SPDX-License-Identifier: GPL-2.0-only
"""Which part of the kernel's sources the probes reached, as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from harness.records.coverage import Coverage

_WIDTH = 100


def lines(coverage: Coverage) -> Iterator[str]:
    """Yield a row for each source, and the functions of each that no probe entered."""
    sources = coverage.sources
    width = max(len(source.path) for source in sources)
    yield f"{'source':<{width}}   lines  reached          functions  entered"
    for each in sources:
        entered = sum(function.calls > 0 for function in each.functions)
        share = 100 * each.reached / each.lines if each.lines else 0.0
        yield (
            f"{each.path:<{width}}  {each.lines:>6}   {each.reached:>6}  ({share:5.1f} %)  "
            f"{len(each.functions):>9}  {entered:>7}"
        )
    for each in sources:
        if missed := [function.name for function in each.functions if not function.calls]:
            yield ""
            yield f"{each.path}: no probe enters"
            yield from textwrap.wrap(
                ", ".join(missed), _WIDTH, initial_indent="  ", subsequent_indent="  "
            )
