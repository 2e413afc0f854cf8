# SPDX-License-Identifier: GPL-2.0-only
"""Writes the site: every page whose content may have changed, and none else.

``site.json`` in it has, for each page, a key made from all that the page is made from. A page with
the same key is left alone. It is written last, so that a site that was cut is made whole the next
time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

import harness
from harness.campaign import compare
from harness.errors import HarnessError, RecordError, SpecError, no_space
from harness.probes import catalog
from harness.records.base import Record, read_json
from harness.records.campaign import Comparison
from harness.records.history import Cell, PastRun
from harness.records.outcome import Outcome
from harness.records.run import RunRecord
from harness.site import (
    compare_page,
    evidence,
    index_page,
    matrix_page,
    names,
    probe_page,
    render,
    run_page,
    text_page,
    trends,
)
from harness.site import past as past_
from harness.site.past import Nights, SiteData
from harness.site.words import run_link
from harness.store import rundir
from harness.store.history.history import HistoryStore
from harness.workspace import atomic_write, digest

_LIST = "site.json"
_STATIC = ("style.css", "filter.js", "icon.svg")


class SiteList(Record, frozen=True, kw_only=True):
    """What the site consists of: ``site.json``.

    Attributes:
        pages: the key of each page by its path.
        compared: IDs of the runs that differ from the run before.
        figures: what the picture of each cell shows, by its path.
    """

    pages: dict[str, str] = {}  # noqa: RUF012 - msgspec copies it
    compared: tuple[str, ...] = ()
    figures: dict[str, trends.Figure] = {}  # noqa: RUF012


class Built(Record, frozen=True, kw_only=True):
    """What was done.

    Attributes:
        written: pages and pictures.
        kept: those that were left as they are.
        removed: those of runs that the history no longer has.
    """

    written: int
    kept: int
    removed: int


def build(history: HistoryStore, output: Path, days: int) -> Built:
    """Write the site of a history.

    Args:
        history: the store.
        output: directory of the site; made if it is not there.
        days: cells without a run in so many days before the newest run are not on the first page.

    Raises:
        SpecError: if the directory has files and is not such a site, or cannot be written to.
        RecordError: if a record is damaged.
        NoSpace: if the file system is full.
    """
    site = _Site(output)
    found = past_.read(history, days)
    for name in _STATIC:
        data = (render.HERE / "static" / name).read_text()
        site.write(f"static/{name}", digest(data), lambda data=data: data)  # type: ignore[misc]
    _run_pages(site, history, found)
    _cell_pages(site, history, found)
    _probe_pages(site, found)
    site.page("index", names.INDEX, index_page.index(found, site.compared))
    site.page("matrix", names.MATRIX, matrix_page.matrix(found.nights))
    for each in index_page.runs(found.runs):
        site.page("runs", names.runs(each.number), each)
        if each.last:
            site.page("runs", names.RUNS, each)
    if not found.runs:
        site.page(
            "runs", names.RUNS, index_page.RunsPage(number=1, last=1, runs=(), newer="", older="")
        )
    return site.finish()


class _Site:
    """The directory that is written to.

    Args:
        output: its path.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        old = read_json(output / _LIST, SiteList)
        if old is None and output.is_dir() and any(output.iterdir()):
            raise SpecError(
                f"--output: {output} has files and is not a site of hgm report",
                hint="choose a new or empty directory",
            )
        self._old = old or SiteList()
        self._pages: dict[str, str] = {}
        self._version = _version()
        self._written = 0
        self._made: set[Path] = set()
        self.compared = set(self._old.compared)
        self.figures = dict(self._old.figures)
        if old is None:  # so that a site that was cut is known as one
            rundir.make_directory(output, "--output")
            self._save(self._old)

    def page(self, template: str, path: str, model: Record) -> None:
        """Write a page if its model is not as before."""
        key = digest(msgspec.json.encode(model))
        self.write(path, key, lambda: render.page(template, model, path))

    def write(self, path: str, key: str, content: Callable[[], str]) -> None:
        """Write a file if its key is not as before."""
        if not self.keep(path, key):
            self.put(path, key, content())

    def keep(self, path: str, key: str) -> bool:
        """Keep a file if its key is as before; return whether it is."""
        whole = self._key(key)
        if self._old.pages.get(path) != whole or not (self._output / path).is_file():
            return False
        self._pages[path] = whole
        return True

    def keep_below(self, directory: str) -> None:
        """Keep all files of a directory."""
        for path, key in self._old.pages.items():
            if path.startswith(directory):
                self._pages[path] = key

    def put(self, path: str, key: str, content: str) -> None:
        """Write a file."""
        target = self._output / path
        try:
            if target.parent not in self._made:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._made.add(target.parent)
            atomic_write(target, content.encode("utf-8", "replace"))
        except OSError as error:
            raise self._failure(error, target) from None
        self._pages[path] = self._key(key)
        self._written += 1

    def _key(self, key: str) -> str:
        return digest(self._version, key)[:16]

    def finish(self) -> Built:
        """Remove what no longer belongs to the site, and write the list of what does."""
        gone = self._old.pages.keys() - self._pages.keys()
        for path in gone:
            (self._output / path).unlink(missing_ok=True)
        for directory in {(self._output / path).parent for path in gone}:
            if directory.is_dir() and not any(directory.iterdir()):
                directory.rmdir()
        now = SiteList(
            pages=self._pages,
            compared=tuple(sorted(self.compared)),
            figures={path: each for path, each in self.figures.items() if path in self._pages},
        )
        if now != self._old:
            self._save(now)
        return Built(
            written=self._written, kept=len(self._pages) - self._written, removed=len(gone)
        )

    def _save(self, what: SiteList) -> None:
        try:
            atomic_write(self._output / _LIST, msgspec.json.encode(what))
        except OSError as error:
            raise self._failure(error, self._output / _LIST) from None

    @staticmethod
    def _failure(error: OSError, path: Path) -> HarnessError:
        return no_space(error, path) or SpecError(
            f"--output: cannot write {path}: {error.strerror}"
        )


def _version() -> str:
    """Return a hash of the program that makes the pages."""
    files = sorted(each for each in render.HERE.rglob("*") if each.suffix in (".py", ".html"))
    return digest(harness.__version__, *(each.read_bytes() for each in files))


# ---- runs --------------------------------------------------------------------------------------


def _run_pages(site: _Site, history: HistoryStore, found: SiteData) -> None:
    prints = history.fingerprints()
    last: tuple[str, RunRecord] | None = None

    def key(run: PastRun) -> str:
        before, after = found.before.get(run.id), found.after.get(run.id)
        return digest(
            prints[run.id],
            prints[before.id] if before else "",
            after.id if after else "",
        )

    def record(run: PastRun) -> RunRecord:
        nonlocal last
        if last is None or last[0] != run.id:
            last = (run.id, history.record(run))
        return last[1]

    by_cell = sorted(found.runs, key=lambda run: (past_.order(run.cell), run.started))
    for run in by_cell:
        if site.keep(names.run(run.id), key(run)):
            site.keep_below(f"run/{names.file_name(run.id)}/")
            continue
        before = found.before.get(run.id)
        earlier = record(before) if before else None
        _run(site, run, record(run), earlier, found, key(run))
    site.compared &= {run.id for run in found.runs}


def _run(
    site: _Site,
    run: PastRun,
    record: RunRecord,
    earlier: RunRecord | None,
    found: SiteData,
    key: str,
) -> None:
    files = evidence.read(Path(run.run_dir), record)
    before = found.before.get(run.id)
    comparison = _comparison(earlier, record)
    context = run_page.Neighbours(
        before=before, after=found.after.get(run.id), comparison=comparison
    )
    link = run_link(run)
    site.compared.discard(run.id)
    if before and comparison and run_page.differ(comparison):
        site.compared.add(run.id)
        model = compare_page.comparison(comparison, run_link(before), link)
        path = names.comparison(run.id)
        site.put(path, key, render.page("compare", model, path))
    if files.console:
        path = names.console(run.id)
        site.put(path, key, render.page("text", text_page.console(link, files.console), path))
    if files.outputs:
        path = names.ktap(run.id)
        shown = text_page.outputs(link, record, files.outputs)
        site.put(path, key, render.page("text", shown, path))
    for probe, picture in files.maps.items():
        site.put(names.page_map(run.id, probe), key, picture)
    # Last: where this page is, the others are there.
    path = names.run(run.id)
    page = run_page.run(run, record, files, context, "")
    site.put(path, key, render.page("run", page, path))


def _comparison(before: RunRecord | None, after: RunRecord) -> Comparison | None:
    if before is None or after.outcome is not Outcome.PROBES_RAN:
        return None
    try:
        return compare.compare(before, after)
    except RecordError:  # one of them has no verdict to compare
        return None


# ---- cells and probes --------------------------------------------------------------------------


def _cell_pages(site: _Site, history: HistoryStore, found: SiteData) -> None:
    states = {each.cell: each for each in found.state.cells}
    figures = {nights.cell: _figure(site, history, nights) for nights in found.nights}
    runs: dict[Cell, list[PastRun]] = {cell: [] for cell in states}
    for run in found.runs:
        if run.cell is not None:
            runs.setdefault(run.cell, []).append(run)
    for cell, those in runs.items():
        page = index_page.cell(
            cell, those[: past_.WINDOW], states.get(cell), site.compared, figures.get(cell)
        )
        site.page("cell", names.cell(cell), page)
    site.page("trends", names.TRENDS, trends.TrendsPage(figures=tuple(figures.values())))


def _figure(site: _Site, history: HistoryStore, nights: Nights) -> trends.Figure:
    path = names.trend(nights.cell)
    key = digest(*(run.id for run in nights.runs))
    if not (path in site.figures and site.keep(path, key)):
        times = [trends.times(history.record(run), run.started) for run in nights.runs]
        site.figures[path] = trends.figure(nights, times)
        site.put(path, key, trends.svg(times))
    return site.figures[path]


def _probe_pages(site: _Site, found: SiteData) -> None:
    known = dict(_catalogue())
    for name in found.tests:
        page = probe_page.probe(name, found.nights, *known.get(name, ("", "")))
        site.page("probe", names.probe(name), page)


def _catalogue() -> Iterator[tuple[str, tuple[str, str]]]:
    for spec in catalog.load():
        yield spec.name, (spec.shows, spec.guards)
