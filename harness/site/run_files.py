# SPDX-License-Identifier: GPL-2.0-only
"""Writes the pages of runs: many at once on all CPUs, since each is made by itself."""

from __future__ import annotations

import contextlib
import gc
import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from harness.campaign import compare
from harness.errors import RecordError
from harness.records.campaign import Comparison
from harness.records.history import PastRun
from harness.records.outcome import Outcome
from harness.records.run import RunRecord
from harness.records.study import LinkModel
from harness.site import (
    compare_page,
    directory,
    evidence,
    names,
    render,
    run_page,
    study_page,
    text_page,
)
from harness.site.words import run_link
from harness.store.history.history import HistoryStore
from harness.study import postcopy as studies

#: Opens the history, in a process of its own.
Opener = Callable[[], AbstractContextManager[HistoryStore]]

#: Most runs that one process writes at a time.
_TOGETHER = 250

#: Python looks for cycles after so many new objects: a run has thousands, none of them in a cycle.
COLLECT = 50_000

#: Processes are worth it for so many runs: one takes as long to start as the pages of a real run.
_SEVERAL = 6


class RunJob(NamedTuple):
    """A run whose pages are to be written.

    Attributes:
        run: which one.
        before: the run before it in its cell; None without.
        after: the run after it; None without.
        coverage: path of the page with the lines that it reached; empty without.
        kept: whether what was made from its directory is there and stays: nothing but the run after
            it has changed, or the directory is gone. In the run's own page only the links to other
            runs are then made again.
    """

    run: PastRun
    before: PastRun | None
    after: PastRun | None
    coverage: str = ""
    kept: bool = False


class WrittenRun(NamedTuple):
    """The pages of a run.

    Attributes:
        run: its ID.
        paths: of its pages.
        differs: whether it differs from the run before.
    """

    run: str
    paths: tuple[str, ...]
    differs: bool


@contextlib.contextmanager
def writing(
    output: Path, jobs: Sequence[RunJob], history: HistoryStore, opener: Opener
) -> Iterator[Iterable[WrittenRun]]:
    """Write the pages of runs, if there are many while the caller does something else.

    Yield what was written.

    Args:
        output: the directory of the site.
        jobs: the runs; the work is least if those of a cell are next to each other, in order.
        history: where their records are.
        opener: opens it once more.

    Raises:
        SpecError: if a page cannot be written.
        NoSpace: if the file system is full.
        RecordError: if a record is damaged.
    """
    cpus = len(os.sched_getaffinity(0))
    if cpus == 1 or sum(not job.kept for job in jobs) < _SEVERAL:
        yield _write(output, jobs, history)
        return
    together = min(_TOGETHER, -(-len(jobs) // (4 * cpus)))  # so that all are busy until the end
    parts = [jobs[first : first + together] for first in range(0, len(jobs), together)]
    pool = ProcessPoolExecutor(cpus, multiprocessing.get_context("spawn"), _begin)
    try:
        written = pool.map(partial(_write_part, output, opener), parts)
        yield itertools.chain.from_iterable(written)
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that waits for this one decides
    gc.set_threshold(COLLECT)


def _write_part(output: Path, opener: Opener, jobs: Sequence[RunJob]) -> list[WrittenRun]:
    with opener() as history:
        return list(_write(output, jobs, history))


def _write(output: Path, jobs: Sequence[RunJob], history: HistoryStore) -> Iterator[WrittenRun]:
    last: tuple[str, RunRecord] | None = None
    for job in jobs:
        earlier = None
        if job.before is not None:
            same = last is not None and last[0] == job.before.id
            earlier = last[1] if last and same else history.record(job.before)
        record = history.record(job.run)
        last = (job.run.id, record)
        found = _comparison(earlier, record)
        made = _kept_pages(output, job, found) if job.kept else _pages(job, record, found)
        pages = dict(made)
        for path, content in pages.items():
            directory.write(output, path, content)
        yield WrittenRun(job.run.id, tuple(pages), names.comparison(job.run.id) in pages)


def _pages(
    job: RunJob, record: RunRecord, comparison: Comparison | None
) -> Iterator[tuple[str, str]]:
    """Yield path and content of each page of a run."""
    run, link = job.run, run_link(job.run)
    files = evidence.read(Path(run.run_dir), record)
    yield from _comparison_page(job, comparison)
    for name, console in files.consoles.items():
        path = names.console(run.id, name)
        yield path, render.page("text", text_page.console(link, name, console), path)
    if files.outputs:
        path = names.ktap(run.id)
        yield path, render.page("text", text_page.outputs(link, record, files.outputs), path)
    for probe, drawn in files.maps.items():
        yield names.page_map(run.id, probe), drawn.svg
    study = studies.study(record, files.outputs, LinkModel()) if files.outputs else None
    has_study = bool(study and study.guarantees)
    if study and has_study:
        pictures = study_page.pictures(run.id, study)
        yield from pictures.items()
        path = names.study(run.id)
        page = study_page.study(link, run.id, study, record.verdict, pictures)
        yield path, render.page("study", page, path)
    # Last: where this page is, the others are there.
    path = names.run(run.id)
    config: tuple[str, ...] = ()
    if job.before and job.before.kernel_key != run.kernel_key:
        config = evidence.config_changes(Path(job.before.run_dir), Path(run.run_dir))
    others = run_page.Neighbours(
        before=job.before, after=job.after, comparison=comparison, config=config
    )
    shown = run_page.run(run, record, files, others, job.coverage, study=has_study)
    yield path, render.page("run", shown, path)


def _kept_pages(
    output: Path, job: RunJob, comparison: Comparison | None
) -> Iterator[tuple[str, str]]:
    """Yield path and content of each page of a run that has kept the others."""
    yield from _comparison_page(job, comparison)
    path = names.run(job.run.id)
    others = run_page.Neighbours(before=job.before, after=job.after, comparison=comparison)
    page = (output / path).read_text(encoding="utf-8")
    yield path, run_page.with_beside(page, run_page.beside(job.run, others), path)


def _comparison_page(job: RunJob, comparison: Comparison | None) -> Iterator[tuple[str, str]]:
    if job.before and comparison and run_page.differ(comparison):
        compared = compare_page.comparison(
            comparison, run_link(job.before, job.run), run_link(job.run, job.before)
        )
        path = names.comparison(job.run.id)
        yield path, render.page("compare", compared, path)


def _comparison(before: RunRecord | None, after: RunRecord) -> Comparison | None:
    if before is None or after.outcome is not Outcome.PROBES_RAN:
        return None
    try:
        return compare.compare(before, after)
    except RecordError:  # one of them has no verdict to compare
        return None
