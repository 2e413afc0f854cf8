# SPDX-License-Identifier: GPL-2.0-only
"""The post-copy study as text, and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.errors import UserError
from harness.records.study import PostcopyRow, PostcopyStudy, PrecopyRow
from harness.report import columns, picture

_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_BACKINGS = {
    "huge": "hugetlb {size}, whole",
    "split": "hugetlb {size}, split",
    "shmem": "shmem",
    "shmem-thp": "shmem THP",
    "shmem-thp-mlock": "shmem THP, mlock",
}


def lines(study: PostcopyStudy) -> Iterator[str]:
    """Yield the counts, then the times, then what has neither, then the verdict."""
    if study.precopy or study.rows:
        yield f"Counts, exact on any host; kernel {study.kernel}"
    if study.precopy:
        yield "Dirty tracking:"
        rows = (_tracked(row, study) for row in study.precopy)
        yield from columns.lines([_TRACKED, *rows])
        yield ""
    if study.rows:
        yield "Post-copy:"
        yield from columns.lines([_COUNTS, *(_counts(row, study) for row in study.rows)])
        yield ""
        link = study.link
        yield (
            f"fetch: computed for one unit by a link of {link.gbit:g} Gbit/s with a round trip "
            f"of {link.round_trip_us:g} us"
        )
        yield ""
    if study.precopy or study.rows:
        yield _times_heading(study)
    if study.precopy:
        rows = (_track_times(row, study) for row in study.precopy)
        yield from columns.lines([_TRACK_TIMES, *rows])
        yield ""
    if study.rows:
        yield from columns.lines([_TIMES, *(_times(row, study) for row in study.rows)])
        yield ""
    for each in study.absent:
        yield f"no figures: {each.probe}: {each.reason}"
    yield f"record {study.run_dir}"
    yield f"{study.verdict}: {study.reason}" if study.reason else study.verdict


_TRACKED = (
    *("memory", "tracked by", "written in", "grain", "rounds"),
    *("written", "reported", "reported/written"),
)
_COUNTS = ("memory", "touched in", "unit", "touched", "moved", "moved/touched", "faults", "fetch")
_TRACK_TIMES = ("memory", "tracked by", "written in", "protect all", "write", "scan and protect")
_STEPS = ("read", "queue", "fetch", "install", "resume")
_TIMES = ("memory", "touched in", *_STEPS, "access", "99 %", "99.9 %", "longest")


def svg(study: PostcopyStudy) -> str:
    """Return the table's amplifications as an SVG picture, one mark for each access pattern.

    Raises:
        UserError: if the study has no figures.
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
        raise UserError(f"{study.run_dir}: the study has no figures to draw")
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
        handles, labels = panes[0].get_legend_handles_labels()
        drawing.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=4,
            frameon=False,
            labelcolor=picture.INK,
        )
        return picture.svg(drawing)


_MARKERS = {"sequential": "o", "uniform": "s", "zipf": "^", "moving": "D"}


def _points(
    rows: Sequence[PostcopyRow | PrecopyRow], study: PostcopyStudy
) -> list[tuple[str, str, float]]:
    """Return memory, pattern and amplification of the rows whose pattern the picture shows."""
    return [
        (_backing(row, study), row.figures.pattern, row.amplification)
        for row in rows
        if row.figures.pattern in _MARKERS
    ]


def _counts(row: PostcopyRow, study: PostcopyStudy) -> tuple[str, ...]:
    figures = row.figures
    return (
        _backing(row, study),
        figures.pattern,
        _size(figures.unit),
        _size(figures.touched),
        _size(figures.moved),
        f"{row.amplification:.1f}",
        str(figures.faults),
        _time(row.fetch_seconds * 1e9),
    )


def _tracked(row: PrecopyRow, study: PostcopyStudy) -> tuple[str, ...]:
    figures = row.figures
    return (
        _backing(row, study),
        figures.method,
        figures.pattern,
        _size(figures.grain),
        str(figures.rounds),
        _size(figures.written),
        _size(figures.reported),
        f"{row.amplification:.1f}",
    )


def _times(row: PostcopyRow, study: PostcopyStudy) -> tuple[str, ...]:
    steps = {each.step: each for each in row.times}
    whole = steps.get("access")
    return (
        _backing(row, study),
        row.figures.pattern,
        *(_time(steps[step].p50) if step in steps else "" for step in _STEPS),
        *((_time(whole.p50), _time(whole.p99), _time(whole.p99_9)) if whole else ("", "", "")),
        _time(whole.longest) if whole else "",
    )


def _track_times(row: PrecopyRow, study: PostcopyStudy) -> tuple[str, ...]:
    figures = row.figures
    return (
        _backing(row, study),
        figures.method,
        figures.pattern,
        _time(figures.arm_ns) if figures.arm_ns else "",
        _time(figures.write_ns / (figures.written // 4096)),
        _time(figures.scan_ns / figures.rounds),
    )


def _times_heading(study: PostcopyStudy) -> str:
    heading = (
        "Times: of tracking, means; of accesses that waited for a unit, medians without the link"
    )
    if study.accel == "kvm":
        return heading
    return f"{heading}; emulated, they compare neither memories nor kernels"


def _backing(row: PostcopyRow | PrecopyRow, study: PostcopyStudy) -> str:
    size = row.probe.partition("#")[0].rpartition("/")[2]
    name = _BACKINGS.get(row.figures.backing, row.figures.backing).format(size=size)
    return f"{name}, CMA" if study.hugetlb_cma and "1G" in name else name


def _size(count: int) -> str:
    for factor, name in _UNITS:
        if count >= factor:
            return f"{count / factor:.4g} {name}"
    return f"{count} B"


def _time(nanoseconds: float) -> str:
    for factor, name in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if nanoseconds >= factor:
            return f"{nanoseconds / factor:.3g} {name}"
    return f"{nanoseconds:.0f} ns"
