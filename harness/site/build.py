# SPDX-License-Identifier: GPL-2.0-only
"""Writes the site: every page whose content may have changed, and none else."""

from __future__ import annotations

import gc
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.context import Context
from harness.errors import HarnessError
from harness.evidence import coverage
from harness.probes import catalog
from harness.records.history import Cell, PastRun
from harness.site import (
    coverage_page,
    index_page,
    matrix_page,
    names,
    probe_page,
    render,
    run_files,
    trends,
)
from harness.site import past as past_
from harness.site.directory import Built, SiteDirectory
from harness.site.past import Nights, SiteData
from harness.site.run_files import Opener, RunJob
from harness.site.words import run_link
from harness.store import rundir
from harness.store.history.history import HistoryStore
from harness.workspace import digest

_STATIC = ("style.css", "filter.js", "icon.svg")


def build(opener: Opener, output: Path, days: int, context: Context) -> Built:
    """Write the site of a history.

    Args:
        opener: opens the history.
        output: directory of the site; made if it is not there.
        days: cells without a run in so many days before the newest run are not on the first page.
        context: where the lines that probes reached are counted; says what could not be shown.

    Raises:
        SpecError: if the directory has files and is not such a site, or cannot be written to.
        RecordError: if a record is damaged.
        NoSpace: if the file system is full.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(run_files.COLLECT)
    try:
        with opener() as history:
            return _build(history, opener, output, days, context)
    finally:
        gc.set_threshold(*thresholds)


def _build(
    history: HistoryStore, opener: Opener, output: Path, days: int, context: Context
) -> Built:
    site = SiteDirectory(output)
    found = past_.read(history, days)
    for name in _STATIC:
        data = (render.HERE / "static" / name).read_text()
        site.write(f"static/{name}", digest(data), lambda data=data: data)  # type: ignore[misc]
    keys, jobs = _run_jobs(site, history, found, context)
    with run_files.writing(site.path, jobs, history, opener) as written:
        figures = {nights.cell: _figure(site, history, nights) for nights in found.nights}
        _probe_pages(site, found)
        site.page("matrix", names.MATRIX, matrix_page.matrix(found.nights))
        for done in written:
            if done.differs:
                site.compared.add(done.run)
            for path in done.paths:
                site.wrote(path, keys.get(path) or keys[done.run])
    _cell_pages(site, found, figures)
    site.page("index", names.INDEX, index_page.index(found, site.compared))
    for each in index_page.runs(found.runs):
        site.page("runs", names.runs(each.number), each)
        if each.last:
            site.page("runs", names.RUNS, each)
    return site.finish()


# ---- runs --------------------------------------------------------------------------------------


def _run_jobs(
    site: SiteDirectory, history: HistoryStore, found: SiteData, context: Context
) -> tuple[dict[str, str], list[RunJob]]:
    """Return the key of each run's pages, and the runs that have pages to be written.

    The key is by the run's ID; that of its own page, which has a link to the run after it, is by
    the path of that page.
    """
    prints = history.fingerprints()
    keys: dict[str, str] = {}
    jobs: list[RunJob] = []
    for run in sorted(found.runs, key=lambda run: (past_.order(run.cell), run.started)):
        before, after = found.before.get(run.id), found.after.get(run.id)
        page = names.run(run.id)
        keys[run.id] = digest(prints[run.id], prints[before.id] if before else "")
        keys[page] = digest(keys[run.id], after.id if after else "")
        if site.keep(page, keys[page]):
            site.keep_below(posixpath.dirname(page))
        else:
            kept = _keep_what_it_has(site, run, keys[run.id])
            reached = "" if kept else _coverage(site, run, keys[run.id], context)
            jobs.append(RunJob(run, before, after, reached, kept))
    site.compared &= keys.keys() - {job.run.id for job in jobs}
    return keys, jobs


def _keep_what_it_has(site: SiteDirectory, run: PastRun, key: str) -> bool:
    """Keep the pages of a run that are as they were, or cannot be made again.

    Return whether there are any.
    """
    page = names.run(run.id)
    below = posixpath.dirname(page)
    gone = not (Path(run.run_dir) / rundir.RESULT).is_file()
    if not (site.path / page).is_file() or not (gone or site.unchanged_below(below, key, page)):
        return False
    return site.keep_below(below, but={page, names.comparison(run.id)})


def _coverage(site: SiteDirectory, run: PastRun, key: str, context: Context) -> str:
    """Write the page with the lines that a run reached; return its path, or empty without."""
    run_dir = Path(run.run_dir)
    if not (run_dir / rundir.COVERAGE).is_dir():
        return ""
    try:
        found = coverage.read([run_dir], context)
    except HarnessError as error:
        context.progress.note(
            f"the lines that {run_dir.name} reached are not shown: {error.line()}"
        )
        return ""
    path = names.coverage(run.id)
    site.put(path, key, render.page("coverage", coverage_page.coverage(run_link(run), found), path))
    return path


# ---- cells and probes --------------------------------------------------------------------------


def _cell_pages(
    site: SiteDirectory, found: SiteData, figures: Mapping[Cell, trends.Figure]
) -> None:
    states = {each.cell: each for each in found.state.cells}
    runs: dict[Cell, list[PastRun]] = {cell: [] for cell in states}
    for run in found.runs:
        if run.cell is not None:
            runs.setdefault(run.cell, []).append(run)
    for cell, those in runs.items():
        page = index_page.cell(
            cell, those[: past_.WINDOW], states.get(cell), site.compared, figures.get(cell)
        )
        site.page("cell", names.cell(cell), page)
    pictures_first = sorted(figures.values(), key=lambda figure: not figure.picture)
    site.page("trends", names.TRENDS, trends.TrendsPage(figures=tuple(pictures_first)))


def _figure(site: SiteDirectory, history: HistoryStore, nights: Nights) -> trends.Figure:
    path = names.trend(nights.cell)
    key = digest(*(run.id for run in nights.runs))
    if not (path in site.figures and site.keep(path, key)):
        times = [trends.times(history.record(run), run.started) for run in nights.runs]
        site.figures[path] = trends.figure(nights, times)
        if site.figures[path].picture:
            site.put(path, key, trends.svg(times))
    return site.figures[path]


def _probe_pages(site: SiteDirectory, found: SiteData) -> None:
    known = dict(_catalogue())
    for name in found.tests:
        page = probe_page.probe(name, found.nights, *known.get(name, ("", "")))
        site.page("probe", names.probe(name), page)


def _catalogue() -> Iterator[tuple[str, tuple[str, str]]]:
    for spec in catalog.load(sizes=catalog.every_size()):
        yield spec.name, (spec.shows, spec.guards)
