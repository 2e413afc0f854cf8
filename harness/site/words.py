# SPDX-License-Identifier: GPL-2.0-only
"""Words and numbers as all pages show them."""

from __future__ import annotations

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


def run_link(run: PastRun) -> Link:
    """Return the link to a run: when it was, and of which kernel."""
    return Link(text=f"{when(run)} {run.release or 'not built'}", path=names.run(run.id))


def cell_words(cell: Cell | None) -> str:
    """Return a cell in a line."""
    if cell is None:
        return "not recorded"
    words = (cell.kernel, f"series {cell.series}", cell.config, cell.machine, cell.accel)
    chosen = f"probes {cell.probes}" if cell.probes not in ("", "all") else ""
    return ", ".join(word for word in (*words, chosen) if word)


def cell_link(cell: Cell | None) -> Link:
    """Return the link to a cell's page."""
    return Link(text=cell_words(cell), path=names.cell(cell) if cell else "")


def duration(seconds: float) -> str:
    """Return a time for people."""
    if seconds >= 120:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2f} s"
