# SPDX-License-Identifier: GPL-2.0-only
"""The post-copy study as tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import msgspec

from harness.records.base import Record
from harness.records.study import (
    Landing,
    PostcopyRounds,
    PostcopyRow,
    PostcopyStudy,
    PrecopyFigures,
    PrecopyRow,
    RunTimes,
)
from harness.report import columns

_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_BACKINGS = {
    "huge": "hugetlb {size}, whole",
    "split": "hugetlb {size}, split",
    "shmem": "shmem",
    "shmem-thp": "shmem THP",
    "shmem-thp-mlock": "shmem THP, mlock",
    "thp": "anonymous THP",
}


class FigureTable(Record, frozen=True, kw_only=True):
    """A table.

    Attributes:
        title: what it shows.
        head: the name of each column.
        rows: as many cells each.
        note: what a word in it means; may be empty.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def lines(study: PostcopyStudy) -> Iterator[str]:
    """Yield the counts, then the times, then what has neither, then the verdict."""
    if study.precopy or study.rows or study.guarantees:
        yield f"Counts, exact on any host; kernel {study.kernel}"
    yield from _lines(counts(study))
    if study.precopy or study.rows:
        yield times_heading(study)
    yield from _lines(times(study))
    for each in study.absent:
        yield f"no figures: {each.probe}: {each.reason}"
    yield f"record {study.run_dir}"
    yield f"{study.verdict}: {study.reason}" if study.reason else study.verdict


def rounds(found: PostcopyRounds) -> Iterator[str]:
    """Yield the counts of the first run, the times of all, and the verdict.

    What was emulated is not compared.
    """
    first = found.runs[0]
    yield f"Counts, exact on any host; kernel {first.kernel}"
    yield from _lines(counts(first))
    yield times_heading(first)
    yield from _lines(iter((run_times(found),)))
    for each in first.absent:
        yield f"no figures: {each.probe}: {each.reason}"
    for study in found.runs:
        yield f"record {study.run_dir}"
    yield f"{found.verdict}: {found.reason}"


def run_times(found: PostcopyRounds) -> FigureTable:
    """Return the table of the times of several runs; of TCG without a comparison."""
    compares = bool(found.reference)
    note = "Of each run the median is one observation"
    if compares and len(found.runs) < found.rounds_needed:
        note += (
            f"; {len(found.runs)} are too few to compare them, use --rounds {found.rounds_needed}"
        )
    elif compares:
        note += (
            f"; p: exact Mann-Whitney test; as so many are compared, a difference counts up to "
            f"{found.level:.2g}"
        )
    head = ("memory", "touched in", "median", "least", "most")
    return FigureTable(
        title=f"Accesses that waited for a unit, medians of {len(found.runs)} runs",
        head=(*head, f"against {found.reference}", "p") if compares else head,
        rows=tuple(_run_times(each, compares=compares) for each in found.times),
        note=note,
    )


def counts(study: PostcopyStudy) -> Iterator[FigureTable]:
    """Yield the tables of what was counted; none where nothing was."""
    if study.guarantees:
        rows = tuple(map(msgspec.structs.astuple, study.guarantees))
        yield FigureTable(
            title="What each memory guarantees, as tested in this run",
            head=_GUARANTEES,
            rows=rows,
            note="Huge pages that could be used when memory was fragmented by pinned pages; "
            "reserved: that were mapped before, fragmented: that were asked for then",
        )
    if study.precopy:
        tracked = tuple(_tracked(row, study) for row in study.precopy)
        yield FigureTable(title="Dirty tracking", head=_TRACKED, rows=tracked)
    if study.rows:
        link = study.link
        yield FigureTable(
            title="Post-copy",
            head=_COUNTS,
            rows=tuple(_counts(row, study) for row in study.rows),
            note=f"{_who(study)}; fetch: computed for one unit by a link of {link.gbit:g} Gbit/s "
            f"with a round trip of {link.round_trip_us:g} us",
        )


def times(study: PostcopyStudy) -> Iterator[FigureTable]:
    """Yield the tables of what was measured; none where nothing was."""
    if study.precopy:
        tracked = tuple(_track_times(row, study) for row in study.precopy)
        yield FigureTable(title="Dirty tracking, means", head=_TRACK_TIMES, rows=tracked)
    if study.rows:
        yield FigureTable(
            title="Accesses that waited for a unit, medians without the link",
            head=_TIMES,
            rows=tuple(_times(row, study) for row in study.rows),
        )
    arrived = tuple(_arrived(row, study) for row in study.rows if row.residence)
    if arrived:
        yield FigureTable(title="Until all has arrived", head=_ARRIVED, rows=arrived)
    afterwards = tuple(_afterwards(row, study) for row in study.rows if row.afterwards)
    if afterwards:
        yield FigureTable(
            title="Afterwards: one read, by how the memory is mapped, medians of passes",
            head=_AFTERWARDS,
            rows=afterwards,
        )


def times_heading(study: PostcopyStudy) -> str:
    """Return what the times are good for."""
    if study.accel == "kvm":
        return "Times"
    return "Times; emulated, they compare neither memories nor kernels"


def backing(row: PostcopyRow | PrecopyRow, study: PostcopyStudy) -> str:
    """Return what the memory of a row is called."""
    return memory(row.figures.backing, row.probe, cma=study.hugetlb_cma)


def memory(kind: str, probe: str, *, cma: bool) -> str:
    """Return what a memory is called.

    Args:
        kind: as in `PostcopyFigures.backing`.
        probe: the probe that is about it.
        cma: whether pages of 1 GiB came out of CMA.
    """
    pages = probe.partition("#")[0].rpartition("/")[2]
    name = _BACKINGS.get(kind, kind).format(size=pages)
    return f"{name}, CMA" if cma and "1G" in name else name


def _lines(tables: Iterator[FigureTable]) -> Iterator[str]:
    for table in tables:
        yield f"{table.title}:"
        yield from columns.lines([table.head, *table.rows])
        yield ""
        if table.note:
            yield table.note
            yield ""


_GUARANTEES = (
    *("memory", "reserved", "fragmented", "reclaim", "4 KiB faults", "4 KiB tracking"),
    "huge again by",
)
_TRACKED = (
    *("memory", "tracked by", "written in", "grain", "rounds"),
    *("written", "reported", "reported/written"),
)
_COUNTS = ("memory", "touched in", "unit", "touched", "moved", "moved/touched", "faults", "fetch")
_TRACK_TIMES = ("memory", "tracked by", "written in", "protect all", "write", "scan and protect")
_STEPS = ("read", "queue", "fetch", "install", "resume")
_ARRIVED = ("memory", "touched in", "moved", "half", "all")
_AFTERWARDS = ("memory", "base pages", "collapsed", "always huge", "collapse")
_TIMES = ("memory", "touched in", *_STEPS, "access", "99 %", "99.9 %", "longest")


def _counts(row: PostcopyRow, study: PostcopyStudy) -> tuple[str, ...]:
    figures = row.figures
    return (
        backing(row, study),
        figures.pattern,
        size(figures.unit),
        size(figures.touched),
        size(figures.moved),
        f"{row.amplification:.1f}",
        str(figures.faults),
        _time(row.fetch_seconds * 1e9),
    )


def _tracked(row: PrecopyRow, study: PostcopyStudy) -> tuple[str, ...]:
    figures = row.figures
    return (
        backing(row, study),
        figures.method,
        figures.pattern,
        size(figures.grain),
        str(figures.rounds),
        size(figures.written),
        size(figures.reported),
        f"{row.amplification:.1f}",
    )


def _times(row: PostcopyRow, study: PostcopyStudy) -> tuple[str, ...]:
    steps = {each.step: each for each in row.times}
    whole = steps.get("access")
    return (
        backing(row, study),
        row.figures.pattern,
        *(_time(steps[step].p50) if step in steps else "" for step in _STEPS),
        *((_time(whole.p50), _time(whole.p99), _time(whole.p99_9)) if whole else ("", "", "")),
        _time(whole.longest) if whole else "",
    )


def _who(study: PostcopyStudy) -> str:
    """Return how many threads there were, which is the same for all rows of a study."""
    figures = study.rows[0].figures
    return (
        f"{columns.count(figures.threads, 'thread')} touch the memory, "
        f"{columns.count(figures.readers, 'reader')} for each of "
        f"{columns.count(figures.uffds, 'userfaultfd')}"
    )


def _arrived(row: PostcopyRow, study: PostcopyStudy) -> tuple[str, ...]:
    half, last = arrived(row)
    moved = size(last.moved)
    return (backing(row, study), row.figures.pattern, moved, _time(half.ns), _time(last.ns))


def arrived(row: PostcopyRow) -> tuple[Landing, Landing]:
    """Return when half and all of a memory had arrived, of a row that knows it."""
    last = row.residence[-1]
    return next(each for each in row.residence if 2 * each.moved >= last.moved), last


def _run_times(row: RunTimes, *, compares: bool) -> tuple[str, ...]:
    of_runs = (statistics.median(row.medians), min(row.medians), max(row.medians))
    shown = (row.memory, row.pattern, *map(_time, of_runs))
    if not compares:
        return shown
    if row.ratio is None or row.p is None:
        return (*shown, "", "")
    return (*shown, f"{row.ratio:.2f}", f"{row.p:.2g}")


def _afterwards(row: PostcopyRow, study: PostcopyStudy) -> tuple[str, ...]:
    median = {each.mapping: f"{each.median:.1f} ns" for each in row.afterwards}
    return (
        backing(row, study),
        *(median.get(mapping, "") for mapping in ("base", "collapsed", "huge")),
        _time(row.collapse_ns) if row.collapse_ns else "",
    )


def _track_times(row: PrecopyRow, study: PostcopyStudy) -> tuple[str, ...]:
    figures = row.figures
    protect, write, scan = track_times(figures)
    return (
        backing(row, study),
        figures.method,
        figures.pattern,
        _time(protect) if protect else "",
        _time(write),
        _time(scan),
    )


def track_times(figures: PrecopyFigures) -> tuple[float, float, float]:
    """Return the means in ns of: protecting all, writing a base page, a round's scan."""
    written, rounds = figures.written // 4096, figures.rounds
    return figures.arm_ns, figures.write_ns / written, figures.scan_ns / rounds


def size(count: int) -> str:
    """Return a number of bytes in words."""
    for factor, name in _UNITS:
        if count >= factor:
            return f"{count / factor:.4g} {name}"
    return f"{count} B"


def _time(nanoseconds: float) -> str:
    for factor, name in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if nanoseconds >= factor:
            return f"{nanoseconds / factor:.3g} {name}"
    return f"{nanoseconds:.0f} ns"
