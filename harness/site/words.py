# SPDX-License-Identifier: GPL-2.0-only
"""Words and numbers as all pages show them."""

from __future__ import annotations

import functools

from harness.kernel import specs
from harness.records.base import Record
from harness.records.history import Cell, PastRun
from harness.report.history import when
from harness.site import names


class Link(Record, frozen=True, kw_only=True):
    """A link inside the site.

    Attributes:
        text: what is shown.
        path: relative to the site; empty for text that is not a link.
        title: what is shown when it is pointed at; may be empty.
    """

    text: str
    path: str = ""
    title: str = ""


class ShownPicture(Record, frozen=True, kw_only=True):
    """A picture.

    Attributes:
        path: relative to the site.
        words: what it shows, in a line.
    """

    path: str
    words: str


def run_link(run: PastRun, beside: PastRun | None = None) -> Link:
    """Return the link to a run: when it was, and of which kernel.

    Args:
        run: which one.
        beside: another run that is named with it: they are told apart by seconds where minutes
            are the same.
    """
    seconds = beside is not None and when(run) == when(beside)
    text = f"{when(run, seconds=seconds)} {run.release or 'not built'}"
    return Link(text=text, path=names.run(run.id))


def cell_words(cell: Cell | None) -> str:
    """Return a cell in a line, without directories of the host that ran it."""
    if cell is None:
        return "not recorded"
    kernel = specs.for_others(cell.kernel)
    series = " ".join(map(specs.for_others, cell.series.split(" ")))
    words = (kernel, f"series {series}", cell.config, cell.machine, cell.accel)
    chosen = f"probes {cell.probes}" if cell.probes not in ("", "all") else ""
    return ", ".join(word for word in (*words, chosen) if word)


@functools.cache
def cell_link(cell: Cell | None) -> Link:
    """Return the link to a cell's page."""
    return Link(text=cell_words(cell), path=names.cell(cell) if cell else "")


def duration(seconds: float) -> str:
    """Return a time for people."""
    if seconds >= 120:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2f} s"
