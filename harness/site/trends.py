# SPDX-License-Identifier: GPL-2.0-only
"""The times of a cell's runs as a picture: build, boot, and probes."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from harness.records.base import Record
from harness.records.run import RunRecord
from harness.report import picture
from harness.site import names
from harness.site.past import Nights
from harness.site.words import Link, cell_link, duration


class Times(NamedTuple):
    """The times of one run, in seconds.

    Attributes:
        started: when it began.
        build: of the build of its kernel; None if the kernel was in the cache.
        boot: of a guest's boot, the median of those that were booted; None if none has its time.
        probes: all probes together.
    """

    started: datetime.datetime
    build: float | None
    boot: float | None
    probes: float


class Figure(Record, frozen=True, kw_only=True):
    """The picture of a cell.

    Attributes:
        cell: which one.
        picture: its path; empty for a cell with a single run.
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
    kernel = record.kernel
    return Times(
        started=started,
        build=None if kernel is None or kernel.cached else kernel.build_seconds or None,
        boot=record.boot_seconds or None,
        probes=sum(probe.seconds for probe in record.probes),
    )


def figure(nights: Nights, found: Sequence[Times]) -> Figure:
    """Return the model of a cell's picture."""
    series = (
        ("build", [each.build for each in found if each.build is not None]),
        ("boot", [each.boot for each in found if each.boot is not None]),
        ("all probes", [each.probes for each in found]),
    )
    words = "; ".join(_words(name, values) for name, values in series if values)
    several = len(found) > 1
    return Figure(
        cell=cell_link(nights.cell),
        picture=names.trend(nights.cell) if several else "",
        words=f"The last of {len(found)} runs: {words}." if several else f"One run: {words}.",
    )


def _words(name: str, values: Sequence[float]) -> str:
    middle = f", median {duration(statistics.median(values))}" if len(values) > 1 else ""
    return f"{name} {duration(values[-1])}{middle}"


def svg(found: Sequence[Times]) -> str:
    """Return the picture as an SVG document, in light or dark as the reader has set."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure as Drawing

    with picture.style():
        series = [(name, _points(found, name)) for name in ("build", "boot", "probes")]
        series = [each for each in series if each[1]]
        drawing = Drawing(figsize=(6.4, 0.5 + 1.1 * len(series)), layout="constrained")
        rows = drawing.subplots(len(series), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, points) in zip(rows, series, strict=True):
            axes.plot(*zip(*points, strict=True), color=picture.DATA, lw=1)
            axes.plot(*zip(*points[-1:], strict=True), "o", color=picture.DATA, clip_on=False)
            axes.set_ylabel(f"{name}, s", color=picture.INK)
            axes.set_ylim(bottom=0)
            picture.plain(axes)
        locator = AutoDateLocator(minticks=2, maxticks=8)  # type: ignore[no-untyped-call]
        rows[-1].xaxis.set_major_locator(locator)
        rows[-1].xaxis.set_major_formatter(
            ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
        )
        return picture.svg(drawing)


def _points(found: Sequence[Times], name: str) -> list[tuple[datetime.datetime, float]]:
    values = ((each.started, getattr(each, name)) for each in found)
    return [each for each in values if each[1] is not None]
