# SPDX-License-Identifier: GPL-2.0-only
"""What the history of runs says: runs, the results of one test over many of them, and changes."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

import msgspec

from harness.records.base import Record
from harness.records.outcome import Outcome
from harness.records.probe import Status
from harness.records.run import Verdict

#: Names of results that are not a probe's: whether the kernel was built, whether it booted, and
#: whether it reported no splat outside of any probe.
BUILD, BOOT, CONSOLE = "build", "boot", "console"

#: How a result changed against the run before it in the same cell; KernelCI's categories.
#:
#: ``regression``: passed, and fails now; ``fixed``: the other way round; ``new failure`` and ``new
#: pass``: there was no result, or a SKIP; ``appeared``: there was none, and is a SKIP now;
#: ``disappeared``: there was one, and is none, a SKIP or LOST now.
Category = Literal[
    "regression",
    "new failure",
    "still failing",
    "disappeared",
    "fixed",
    "new pass",
    "appeared",
    "same",
]


class Cell(Record, frozen=True, kw_only=True):
    """What two runs must share to be compared: a cell of the matrix.

    Whether the kernel was built is a matter of ``kernel``, ``series`` and ``config`` alone, so a
    build is in a cell whose other fields are empty.

    Attributes:
        kernel: the source without its version, such as ``debian:linux-source-6.12``.
        series: the series without its version, such as ``hgm-6.12``, and which part of it.
        config: features of the configuration, such as ``base+debug``.
        machine: huge pages, CPUs, nodes, memory.
        accel: ``kvm`` or ``tcg``.
        probes: the globs that chose the probes, or ``all``.
    """

    kernel: str
    series: str
    config: str
    machine: str = ""
    accel: str = ""
    probes: str = ""

    @property
    def line(self) -> Cell:
        """Return the cell of the kernel's builds."""
        return Cell(kernel=self.kernel, series=self.series, config=self.config)


class PastRun(Record, frozen=True, kw_only=True):
    """A run in the history.

    Attributes:
        id: 16 hex digits, made from its record.
        started: when it began, UTC.
        seconds: wall time.
        build_seconds: wall time of the build that made its kernel.
        verdict: see `harness.records.run.Verdict`.
        outcome: see `Outcome`.
        exit_code: of the command.
        reason: one line.
        release: ``uname -r``; empty where the kernel was not built.
        origin: package and version, commit, or SHA-256 of the source; empty likewise.
        kernel_key: content hash of all that went into the kernel; empty likewise.
        cell: what it is compared by; None if it does not say.
        campaign: the kind of campaign that it is part of; empty for none.
        run_dir: absolute path of its directory when it was recorded.
    """

    id: str
    started: datetime.datetime
    seconds: float
    build_seconds: float
    verdict: Verdict
    outcome: Outcome
    exit_code: int
    reason: str
    release: str
    origin: str
    kernel_key: str
    cell: Cell | None
    campaign: str
    run_dir: str


class PastResult(Record, frozen=True, kw_only=True):
    """How one test ended in one run, its repetitions together.

    Attributes:
        run: the run.
        name: the probe, or `BUILD`, `BOOT` or `CONSOLE`.
        cell: the run's, or for a build that of the kernel's builds; None if the record does not
            say what was asked for.
        status: the worst of the repetitions.
        good: how many passed.
        bad: how many blame the kernel, known issues included.
        seconds: median wall time of those that passed, or else of all; 0 if it is not known.
        reason: of the first with that status.
        known_issues: names of the known issues that it found.
    """

    run: PastRun
    name: str
    cell: Cell | None
    status: Status
    good: int
    bad: int
    seconds: float
    reason: str
    known_issues: tuple[str, ...]


class Mark(Record, frozen=True):
    """How one test ended in a run, of which many are read at once; see `PastResult`."""

    status: Status
    good: int
    bad: int
    seconds: float
    reason: str


class ResultHistory(Record, frozen=True, kw_only=True):
    """`hgm history PROBE`.

    Attributes:
        results: newest first.
    """

    results: tuple[PastResult, ...]


class RunHistory(Record, frozen=True, kw_only=True):
    """`hgm history`.

    Attributes:
        runs: newest first.
    """

    runs: tuple[PastRun, ...]


class ResultState(Record, frozen=True, kw_only=True):
    """What the history says of one test in one cell.

    Attributes:
        name: as `PastResult.name`.
        category: against the run before.
        status: in the newest run; None where that has no result.
        reason: of the newest run, or empty.
        known_issues: names of the known issues that it found; if there are none, a failure is new.
        first_bad: the run since which it fails; None if it does not.
        last_good: the last run in which it passed; None if there is none.
        flaky: whether one and the same kernel has both passed and failed it.
        bad: how many of the last repetitions were bad.
        known: how many there were.
    """

    name: str
    category: Category
    status: Status | None
    reason: str = ""
    known_issues: tuple[str, ...] = ()
    first_bad: PastRun | None = None
    last_good: PastRun | None = None
    flaky: bool = False
    bad: int = 0
    known: int = 0

    @property
    def alarming(self) -> bool:
        """Return whether the kernel got worse, by nothing that is known and not by chance."""
        new = self.category in ("regression", "new failure")
        return new and not self.flaky and self.status != "KNOWN"


class CellState(Record, frozen=True, kw_only=True):
    """What the history says of one cell.

    Attributes:
        cell: which one.
        latest: its newest run that says something about the kernel.
        before: the run that it is compared with; None for the first one.
        tests: those that do not end as before, and those that fail; by category.
        passing: how many more passed, as they did before.
        known: how many more failed by a known issue alone, in the first run of a cell.
        skipped: how many more were skipped, as before.
    """

    cell: Cell
    latest: PastRun
    before: PastRun | None
    tests: tuple[ResultState, ...]
    passing: int
    known: int = 0
    skipped: int


class HistoryState(Record, frozen=True, kw_only=True):
    """`hgm status`.

    Attributes:
        cells: those with something to say first.
        counts: how many tests are in each category.
        stale: how many cells were left out because they have no recent run.
        exit_code: 1 if a test is alarming, else 0.
    """

    cells: tuple[CellState, ...]
    counts: dict[Category, int]
    stale: int
    exit_code: int


_Number = Annotated[int, msgspec.Meta(ge=0)]


class Retention(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which runs are kept; one that either of the two keeps is kept.

    Attributes:
        days: those of so many days; None: age keeps none.
        runs: so many of each cell, the newest; None: number keeps none. Runs that are in no cell,
            or part of a campaign other than a matrix, are removed by age alone.
    """

    days: _Number | None = None
    runs: _Number | None = None

    def __post_init__(self) -> None:
        """Refuse a retention without either: it would remove every run."""
        if self.days is None and self.runs is None:
            raise ValueError("neither `days` nor `runs` says what is kept")


class Pruned(Record, frozen=True, kw_only=True):
    """`hgm prune`.

    Attributes:
        removed: the runs that were removed, or would be, newest first.
        failed: why others were not, a line each; they stay in the history.
        bytes: what their directories took on the disk.
        kept: how many runs of this host are left.
        landmarks: how many of them are kept only because a test began to fail there.
        dry_run: whether nothing was removed.
    """

    removed: tuple[PastRun, ...]
    bytes: int
    kept: int
    landmarks: int
    dry_run: bool
    failed: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """Return 3 if a directory could not be removed, else 0."""
        return 3 if self.failed else 0
