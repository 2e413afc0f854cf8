# SPDX-License-Identifier: GPL-2.0-only
"""The times of a cell's runs as a picture: build, boot, and probes.

`matplotlib` is imported only where a picture is drawn, because that takes half a second.
"""

from __future__ import annotations

import datetime
import io
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from harness.records.base import Record
from harness.records.run import RunRecord
from harness.site import names
from harness.site.past import Nights
from harness.site.words import Link, cell_link, duration


class Times(NamedTuple):
    """The times of one run, in seconds.

    Attributes:
        started: when it began.
        build: of the build of its kernel; None if the kernel was in the cache.
        boot: what the guests took besides the probes.
        probes: all probes together.
    """

    started: datetime.datetime
    build: float | None
    boot: float
    probes: float


class Figure(Record, frozen=True, kw_only=True):
    """The picture of a cell.

    Attributes:
        cell: which one.
        picture: its path.
        words: what it shows, in a line.
    """

    cell: Link
    picture: str
    words: str


class TrendsPage(Record, frozen=True, kw_only=True):
    """The page with the pictures of all cells."""

    figures: tuple[Figure, ...]


def times(record: RunRecord, started: datetime.datetime) -> Times:
    """Return the times of a run whose probes ran."""
    probes = sum(probe.seconds for probe in record.probes)
    guest = sum(stage.seconds for stage in record.stages if stage.name == "guest")
    kernel = record.kernel
    return Times(
        started=started,
        build=None if kernel is None or kernel.cached else kernel.build_seconds or None,
        boot=max(0.0, guest - probes),
        probes=probes,
    )


def figure(nights: Nights, found: Sequence[Times]) -> Figure:
    """Return the model of a cell's picture."""
    series = (
        ("build", [each.build for each in found if each.build is not None]),
        ("boot", [each.boot for each in found]),
        ("all probes", [each.probes for each in found]),
    )
    words = (
        f"{name} {duration(values[-1])}, median {duration(statistics.median(values))}"
        for name, values in series
        if values
    )
    return Figure(
        cell=cell_link(nights.cell),
        picture=names.trend(nights.cell),
        words=f"The last of {len(found)} runs: {'; '.join(words)}.",
    )


#: Colours that are put in by the picture's style sheet, by what stands for them in the drawing.
_COLOURS = {"#010101": ("ink", "#56626e", "#9ba7b3"), "#020202": ("line", "#d5dbe1", "#323b45")}
_COLOURS |= {"#030303": ("data", "#1d56a5", "#7fb2f5")}
_INK, _LINE, _DATA = _COLOURS


def svg(found: Sequence[Times]) -> str:
    """Return the picture as an SVG document, in light or dark as the reader has set."""
    import matplotlib as mpl
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure as Drawing

    with mpl.rc_context(
        {
            "font.family": "sans-serif",
            "font.size": 9,
            "svg.fonttype": "none",
            "svg.hashsalt": "hgm",
            "text.parse_math": False,
        }
    ):
        drawing = Drawing(figsize=(8, 3.6), layout="constrained")
        rows = drawing.subplots(3, 1, sharex=True)
        for axes, name in zip(rows, ("build", "boot", "probes"), strict=True):
            points = [(each.started, getattr(each, name)) for each in found]
            points = [each for each in points if each[1] is not None]
            axes.plot(*zip(*points, strict=True) if points else ((), ()), color=_DATA, lw=1)
            axes.plot(*zip(*points[-1:], strict=True) if points else ((), ()), "o", color=_DATA)
            axes.set_ylabel(f"{name}, s", color=_INK)
            axes.set_ylim(bottom=0)
            axes.tick_params(colors=_INK, length=2)
            axes.grid(color=_LINE, lw=0.6)
            axes.spines[:].set_visible(False)
        locator = AutoDateLocator(minticks=2, maxticks=8)  # type: ignore[no-untyped-call]
        rows[-1].xaxis.set_major_locator(locator)
        rows[-1].xaxis.set_major_formatter(
            ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
        )
        out = io.StringIO()
        drawing.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return _coloured(out.getvalue())


def _coloured(drawn: str) -> str:
    for code, (name, _, _) in _COLOURS.items():
        drawn = drawn.replace(code, f"var(--{name})")
    light = "".join(f"--{name}:{colour};" for name, colour, _ in _COLOURS.values())
    dark = "".join(f"--{name}:{colour};" for name, _, colour in _COLOURS.values())
    style = f"svg{{{light}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}"
    return drawn.replace("<defs>", f"<style>{style}</style>\n <defs>", 1)
