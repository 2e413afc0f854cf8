# SPDX-License-Identifier: GPL-2.0-only
"""Which runs `hgm prune` removes, and how: their directories and their rows."""

from __future__ import annotations

import contextlib
import datetime
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from harness.cache import disk_usage
from harness.errors import RecordError
from harness.records.history import PastResult, PastRun, Pruned, Retention
from harness.store import rundir
from harness.store.history import changes
from harness.store.history.cell import run_id
from harness.store.history.history import NIGHTLY, HistoryStore


def prune(
    history: HistoryStore,
    retention: Retention,
    now: datetime.datetime,
    *,
    dry_run: bool,
    below: Path | None = None,
) -> Pruned:
    """Remove the runs of this host that are not kept.

    Kept are also the last good and the first bad run of each failure, see `landmarks`. A directory
    that cannot be removed does not keep the others.

    Args:
        history: all runs.
        retention: which ones are kept.
        now: what ages are counted from.
        dry_run: remove nothing, and return what would be removed.
        below: leave alone the runs whose directories are not below this one; None for all.
    """
    runs = history.runs(here=True)
    if below is not None:
        runs = tuple(run for run in runs if Path(run.run_dir).is_relative_to(below.absolute()))
    wanted = expired(runs, retention, now)
    kept = landmarks(history.trail(cell, name) for cell, name in history.ever_bad())
    doomed = [run for run in wanted if run.id not in kept]
    removed: list[PastRun] = []
    failed: list[str] = []
    size = 0
    for run in doomed:
        directory = _directory(run)
        used = disk_usage(directory) if directory else 0
        if not dry_run:
            try:
                if directory:
                    _remove(directory)
            except OSError as error:
                failed.append(f"cannot remove {error.filename or directory}: {error.strerror}")
                continue
            history.remove([run.id])
        removed.append(run)
        size += used
    return Pruned(
        removed=tuple(removed),
        bytes=size,
        kept=len(runs) - len(removed),
        landmarks=len(wanted) - len(doomed),
        dry_run=dry_run,
        failed=tuple(failed),
    )


def expired(
    runs: Sequence[PastRun], retention: Retention, now: datetime.datetime
) -> tuple[PastRun, ...]:
    """Return the runs that neither age nor number keeps.

    Args:
        runs: newest first.
        retention: what is kept.
        now: what ages are counted from.
    """
    newer: Counter[bytes] = Counter()
    found = []
    for run in runs:
        compared = run.cell is not None and run.campaign in NIGHTLY
        key = msgspec.json.encode(run.cell)
        newer[key] += compared
        age = (now - run.started) / datetime.timedelta(days=1)
        by_age = retention.days is not None and age <= retention.days
        if not compared:
            by_number = retention.days is None
        else:
            by_number = retention.runs is not None and newer[key] <= retention.runs
        if not by_age and not by_number:
            found.append(run)
    return tuple(found)


def landmarks(trails: Iterable[Iterable[PastResult]]) -> frozenset[str]:
    """Return the IDs of the runs between which a test began to fail.

    That is the last good and the first bad run of each failure; of a flaky test only if it fails
    now, and then of that failure alone.

    Args:
        trails: of each test in each cell its results, newest first.
    """
    found: set[str] = set()
    for trail in trails:
        results = tuple(each for each in trail if each.good or each.bad)
        pairs = list(_pairs(results))
        if changes.flaky(results):
            pairs = pairs[:1] if results[0].bad else []
        found.update(run.id for pair in pairs for run in pair)
    return frozenset(found)


def _pairs(results: Sequence[PastResult]) -> Iterator[tuple[PastRun, ...]]:
    """Yield the last good and first bad run of each failure, newest first."""
    for number, result in enumerate(results):
        older = results[number + 1] if number + 1 < len(results) else None
        if result.bad and (older is None or not older.bad):
            yield (result.run,) if older is None else (older.run, result.run)


def _directory(run: PastRun) -> Path | None:
    """Return the directory of a run; None if what is there now is not that run."""
    directory = Path(run.run_dir)
    try:
        return directory if run_id(rundir.load(directory)) == run.id else None
    except RecordError:
        return None


def _remove(directory: Path) -> None:
    """Remove a run directory, the link to it, and the step of a campaign that had no other.

    Raises:
        OSError: if it cannot be removed.
    """
    shutil.rmtree(directory)
    latest = directory.parent / "latest"
    if latest.is_symlink() and not latest.exists():
        latest.unlink()
    if rundir.campaign_of(directory)[1]:
        with contextlib.suppress(OSError):  # it has other runs
            directory.parent.rmdir()
