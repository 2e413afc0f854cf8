# SPDX-License-Identifier: GPL-2.0-only
"""The figures of a run's post-copy study as numbers for KCIDB, each of which becomes a test.

They are those of the tables of `harness.report.study`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from harness.records.study import PostcopyRow, PostcopyStudy, PrecopyRow
from harness.report import study as report

#: Symbols of units. A ratio of bytes has one, as what it is of what would not be known without it.
SECONDS, BYTES, RATIO, PAGES = "s", "B", "B/B", "pages"


_TRACKING = {
    "protect": "the first protection of all",
    "write": "to write one base page, mean",
    "scan": "to scan and protect once, mean",
}


class Number(NamedTuple):
    """A figure of a study.

    Attributes:
        probe: which one found it.
        path: parts of its path below the probe's.
        value: what was found.
        unit: one of the symbols above.
        words: what it is, in a line.
    """

    probe: str
    path: tuple[str, ...]
    value: float
    unit: str
    words: str


def numbers(study: PostcopyStudy) -> Iterator[Number]:
    """Yield the figures of a study that were counted or measured."""
    heading = report.times_heading(study)
    emulated = "" if study.accel == "kvm" else f"; {heading.partition('; ')[2]}"
    for row in study.precopy:
        yield from _tracked(row, report.backing(row, study), emulated)
    for moved in study.rows:
        yield from _moved(moved, report.backing(moved, study), emulated)
    for had in study.fragmented:
        name = report.memory(had.memory, had.probe, cma=study.hugetlb_cma)
        words = f"{name}: huge pages of {had.wanted} that could be used, mapped {had.mapped}"
        yield Number(had.probe, (had.memory, had.mapped), had.got, PAGES, words)
    for left in study.reclaimed:
        name = report.memory(left.backing, left.probe, cma=study.hugetlb_cma)
        for what, value in (("resident", left.resident), ("huge", left.huge)):
            words = f"{name}: {what} after {left.by}, of {report.size(left.memory)}"
            yield Number(left.probe, (left.backing, left.by, what), value, BYTES, words)


def _tracked(row: PrecopyRow, name: str, emulated: str) -> Iterator[Number]:
    """Yield what dirty tracking reported, and the means of what it took."""
    figures = row.figures
    where = (figures.method, figures.pattern, report.size(figures.grain))
    how = f"{name}, tracked by {figures.method}, written in {figures.pattern}"
    words = f"{how}: bytes reported for each byte written"
    yield Number(row.probe, (*where, "amplification"), row.amplification, RATIO, words)
    means = zip(("protect", "write", "scan"), report.track_times(figures), strict=True)
    for what, time in ((what, time) for what, time in means if time):
        words = f"{how}: {_TRACKING[what]}{emulated}"
        yield Number(row.probe, (*where, what), time / 1e9, SECONDS, words)


def _moved(row: PostcopyRow, name: str, emulated: str) -> Iterator[Number]:
    """Yield what post-copy moved, and how long what it did took."""
    pattern = row.figures.pattern
    how = f"{name}, touched in {pattern}"

    def number(path: tuple[str, ...], value: float, unit: str, words: str) -> Number:
        timed = emulated if unit == SECONDS else ""
        return Number(row.probe, (pattern, *path), value, unit, f"{how}: {words}{timed}")

    words = "bytes moved for each byte touched"
    yield number(("amplification",), row.amplification, RATIO, words)
    for times in row.times:
        for share, time in (
            *(("p50", times.p50), ("p99", times.p99), ("p99_9", times.p99_9)),
            ("longest", times.longest),
        ):
            yield number((times.step, share), time / 1e9, SECONDS, f"{times.step}, {share}")
    if row.residence:
        half, whole = report.arrived(row)
        yield number(("arrived", "half"), half.ns / 1e9, SECONDS, "until half has arrived")
        yield number(("arrived", "all"), whole.ns / 1e9, SECONDS, "until all has arrived")
    if row.collapse_ns:
        yield number(("collapse",), row.collapse_ns / 1e9, SECONDS, "MADV_COLLAPSE of all")
    for reads in row.afterwards:
        words = f"one read afterwards, mapping {reads.mapping}, median of passes"
        yield number(("afterwards", reads.mapping), reads.median / 1e9, SECONDS, words)
