# SPDX-License-Identifier: GPL-2.0-only
"""A round of a matrix as text: a line for each cell, then what is new, then one that sums it up."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator

from harness.records.campaign import Bisection, MatrixResult
from harness.report import bisect, columns


def lines(found: MatrixResult) -> Iterator[str]:
    """Yield the cells, with the reason of each that did not pass, and the verdict."""
    rows = [(cell.verdict, f"{cell.seconds:.0f} s", cell.names) for cell in found.cells]
    for line, cell in zip(columns.lines(rows), found.cells, strict=True):
        yield line
        if cell.verdict != "PASS":
            yield f"    {cell.reason}"
        if cell.verdict != "PASS" and cell.run_dir:
            yield f"    {cell.run_dir}"
    for each in found.bisections:
        yield f"new in {each.names}: {', '.join(each.tests)}"
        if each.found is None:
            yield f"    not bisected: {each.reason}"
        else:
            yield from (f"    {line}" for line in _culprit(each.found))
    yield f"record   {found.directory}"
    counts = Counter(cell.verdict for cell in found.cells)
    told = ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common())
    seconds = sum(cell.seconds for cell in found.cells)
    end = "" if found.finished else "; not finished, the same command continues it"
    word = {0: "PASS", 1: "FAIL"}.get(found.exit_code, "ERROR")
    cells = columns.count(len(found.cells), "cell")
    yield f"{word}: round {found.round}: {cells}: {told} ({seconds:.0f} s){end}"


def _culprit(found: Bisection) -> Iterator[str]:
    yield bisect.verdict_line(found)
    yield from (f"again    {shlex.join(command)}" for command in found.commands[:1])
    yield found.directory
