# SPDX-License-Identifier: GPL-2.0-only
"""The post-copy study as pictures."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.records.study import PostcopyRow, PostcopyStudy, PrecopyRow
from harness.report import picture
from harness.report.study import backing
from harness.study import histogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = {"sequential": "o", "uniform": "s", "zipf": "^", "moving": "D"}
#: Colour and line of each step of an access; `queue` and `fetch` are the test's own.
_STEPS = {
    "access": (picture.DATA, "-"),
    "read": (picture.INK, ":"),
    "install": (picture.INK, "--"),
    "resume": (picture.INK, "-."),
}
_COLUMNS = 3
_LINES = tuple(
    (colour, line) for line in ("-", "--", ":", "-.") for colour in (picture.DATA, picture.INK)
)


def amplification(study: PostcopyStudy) -> str:
    """Return the tables' amplifications as an SVG picture, one mark for each access pattern.

    Empty where the study has no figures.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    panels = [
        (title, points)
        for title, points in (
            ("bytes reported dirty for each byte written", _points(study.precopy, study)),
            ("bytes moved for each byte touched", _points(study.rows, study)),
        )
        if points
    ]
    if not panels:
        return ""
    memories = list(dict.fromkeys(memory for _, points in panels for memory, _, _ in points))
    with picture.style():
        drawing = Figure(figsize=(7.2, 1.1 + 0.24 * len(memories)), layout="constrained")
        panes = drawing.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, points) in zip(panes, panels, strict=True):
            for pattern, marker in _MARKERS.items():
                drawn = [
                    (value, memories.index(name)) for name, one, value in points if one == pattern
                ]
                axes.plot(
                    [value for value, _ in drawn],
                    [place for _, place in drawn],
                    marker,
                    label=pattern,
                    color=picture.DATA,
                    fillstyle="none",
                )
            axes.set_title(title, color=picture.INK, fontsize=9)
            axes.set_xscale("log", base=4)
            axes.set_xlim(0.7, 2 * max(value for _, _, value in points))
            axes.xaxis.set_major_locator(LogLocator(base=4))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
            axes.set_yticks(range(len(memories)), memories)
            axes.set_ylim(len(memories) - 0.5, -0.5)
            picture.plain(axes)
        _legend(drawing, panes[0])
        return picture.svg(drawing)


def latencies(study: PostcopyStudy) -> str:
    """Return how the times of accesses are distributed, as an SVG picture: a panel for each memory.

    A curve is the share of the times of one step, of all patterns without a push together, that
    are not longer. Empty where no times were kept.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator, NullLocator, PercentFormatter

    found = _distributions(study)
    if not found:
        return ""
    columns = min(_COLUMNS, len(found))
    rows = -(-len(found) // columns)
    with picture.style():
        drawing = Figure(figsize=(3 * columns, 0.7 + 1.6 * rows), layout="constrained")
        panes = drawing.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
        for axes, (memory, steps) in zip(panes, found.items(), strict=False):
            for step, (colour, line) in _STEPS.items():
                points = histogram.shares(sorted(steps.get(step, Counter()).items()))
                times, shares = zip(*points, strict=True) if points else ((), ())
                axes.step(
                    [time / 1e9 for time in times],
                    shares,
                    where="post",
                    label=step,
                    color=colour,
                    ls=line,
                    lw=1.2,
                )
            axes.set_title(memory, color=picture.INK, fontsize=9)
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(numticks=5))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_ylim(0, 1.02)
            axes.xaxis.set_major_formatter(EngFormatter(unit="s", sep=" "))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
            picture.plain(axes)
        for axes in panes[len(found) :]:
            axes.set_axis_off()
        _legend(drawing, panes[0])
        return picture.svg(drawing)


def residence(study: PostcopyStudy) -> str:
    """Return how each memory arrived, as an SVG picture: its share by time, with a push beside.

    Empty where no memory was waited for until all of it had arrived.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, PercentFormatter

    rows = [row for row in study.rows if row.residence]
    if not rows:
        return ""
    with picture.style():
        drawing = Figure(figsize=(7.2, 3.2), layout="constrained")
        axes = drawing.subplots()
        for row, (colour, line) in zip(rows, itertools.cycle(_LINES), strict=False):
            all_of_it = row.residence[-1].moved
            axes.step(
                [each.ns / 1e9 for each in row.residence],
                [each.moved / all_of_it for each in row.residence],
                where="post",
                label=backing(row, study),
                color=colour,
                ls=line,
                lw=1.2,
                marker="." if len(row.residence) == 1 else "",
            )
        axes.set_xscale("log")
        axes.set_ylim(0, 1.02)
        axes.xaxis.set_major_formatter(EngFormatter(unit="s", sep=" "))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        picture.plain(axes)
        _legend(drawing, axes)
        return picture.svg(drawing)


def _distributions(study: PostcopyStudy) -> dict[str, dict[str, Counter[int]]]:
    """Return the histograms of each memory's steps, by memory and step."""
    found: dict[str, dict[str, Counter[int]]] = {}
    for row in study.rows:
        if row.figures.pattern not in _MARKERS:
            continue
        for times in row.times:
            steps = found.setdefault(backing(row, study), {})
            steps.setdefault(times.step, Counter()).update(dict(times.cells))
    return found


def _legend(drawing: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    drawing.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=4,
        frameon=False,
        labelcolor=picture.INK,
    )


def _points(
    rows: Sequence[PostcopyRow | PrecopyRow], study: PostcopyStudy
) -> list[tuple[str, str, float]]:
    """Return memory, pattern and amplification of the rows whose pattern the picture shows."""
    return [
        (backing(row, study), row.figures.pattern, row.amplification)
        for row in rows
        if row.figures.pattern in _MARKERS
    ]
