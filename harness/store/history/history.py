# SPDX-License-Identifier: GPL-2.0-only
"""The history of runs: what goes into the database, and what is asked of it, as typed records."""

from __future__ import annotations

import contextlib
import datetime
import platform
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    bindparam,
    delete,
    insert,
    select,
)

from harness.errors import RecordError
from harness.probes.catalog import matches
from harness.records.base import from_json, to_json
from harness.records.bench import Bench
from harness.records.history import BOOT, BUILD, CONSOLE, Cell, Mark, PastResult, PastRun
from harness.records.outcome import Outcome
from harness.records.probe import Status
from harness.records.run import RunRecord, Verdict
from harness.store import rundir
from harness.store.history import database, extract
from harness.store.history.cell import cell_id
from harness.store.history.tables import BenchRow, CellRow, ResultRow, RunRow
from harness.workspace import digest

#: Kinds of campaigns whose runs are compared from night to night; a single run has none.
NIGHTLY = ("", "matrix")

# Benchmarks are compared that have the same of these.
_LIKE = ("host", "kernel", "accel")

# How many runs are looked at for how long a probe takes; most have a few probes only.
_LAST_RUNS = 300

# Columns, and no objects of the ORM, which take three times as long to make.
_RUN = tuple(
    getattr(RunRow, name).label(f"run_{name}")
    for name in sorted({*PastRun.__struct_fields__, "cell_id"} - {"cell"})
)
_RESULT = tuple(
    getattr(ResultRow, name)
    for name in sorted({*PastResult.__struct_fields__, "cell_id"} - {"cell", "run"})
)

# Made once: SQLAlchemy takes as long to make it as to ask it.
_RECORD = select(RunRow.record).where(RunRow.id == bindparam("run"))


@contextlib.contextmanager
def opened(chosen: str, runs: Path, *, make: bool = False) -> Iterator[HistoryStore]:
    """Open the history; every error of the database is then one of the tree.

    Args:
        chosen: ``--store`` or ``HGM_STORE``; empty for the one of the run directories.
        runs: where run directories are made.
        make: whether it is made if there is none; for those who record something.

    Raises:
        SpecError: if ``chosen`` has no known form, or is not a history.
        StoreUnavailable: if the database cannot be reached, or is locked.
        RecordError: if there is none, or it is damaged, or of a newer version.
    """
    url = database.locate(chosen, runs)
    engine = database.connect(url, make=make)
    try:
        with database.explained(url):
            yield HistoryStore(engine)
    finally:
        engine.dispose()


class HistoryStore:
    """The records of all runs.

    Args:
        engine: the database, up to date.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # By their ID, which is made from all of a cell, so that none is ever out of date.
        self._cells: dict[str | None, Cell | None] = {None: None}

    def add(self, record: RunRecord, run_dir: Path) -> PastRun:
        """Record a run, in the place of what was recorded of it before.

        Args:
            record: of a run that has ended.
            run_dir: its directory.

        Raises:
            RecordError: if the record does not say when the run began.
        """
        run = extract.run_of(record, str(run_dir.absolute()))
        results = tuple(extract.results_of(record, run))
        self._write(run, results, zlib.compress(to_json(record)))
        return run

    def _write(self, run: PastRun, results: Sequence[PastResult], record: bytes) -> None:
        cells = {cell_id(cell): cell for cell in (run.cell, *(r.cell for r in results)) if cell}
        with database.writing(self._engine) as connection:
            connection.execute(delete(RunRow).where(RunRow.id == run.id))
            known = connection.scalars(select(CellRow.id).where(CellRow.id.in_(cells)))
            for new in cells.keys() - set(known):
                connection.execute(insert(CellRow).values(id=new, **_fields(cells[new])))
            connection.execute(
                insert(RunRow).values(
                    **{
                        **_fields(run),
                        "cell_id": run.cell and cell_id(run.cell),
                        "outcome": str(run.outcome),
                        "host": platform.node(),
                        "record": record,
                    }
                )
            )
            if results:
                connection.execute(insert(ResultRow), [_result_values(each) for each in results])

    def add_bench(self, bench: Bench) -> None:
        """Record a benchmark."""
        values = {name: getattr(bench, name) for name in _LIKE}
        values["started"] = datetime.datetime.fromisoformat(bench.started)
        with database.writing(self._engine) as connection:
            connection.execute(insert(BenchRow).values(**values, record=to_json(bench).decode()))

    def last_benches(self, like: Bench, count: int = 5) -> Mapping[str, Sequence[Bench]]:
        """Return the last benchmarks that measured each part of one, newest first, by its name.

        They are of the same host, kernel and accelerator; at most ``count`` for each part.
        """
        same = (getattr(BenchRow, name) == getattr(like, name) for name in _LIKE)
        query = select(BenchRow.record).where(*same).order_by(BenchRow.started.desc())
        found: dict[str, list[Bench]] = {part.name: [] for part in like.parts if part.ratios}
        with self._engine.connect() as connection:
            for record in connection.scalars(query.execution_options(yield_per=10)):
                bench = from_json(record.encode(), Bench)
                for part in bench.parts:
                    benches = found.get(part.name)
                    if benches is not None and part.ratios and len(benches) < count:
                        benches.append(bench)
                if all(len(benches) == count for benches in found.values()):
                    break
        return {name: benches for name, benches in found.items() if benches}

    def add_directories(
        self, directories: Iterable[Path], problems: list[str]
    ) -> Iterator[PastRun]:
        """Record what lies in run directories; yield each run.

        Args:
            directories: of runs.
            problems: gets a line for each that cannot be read, or has not ended.
        """
        for directory in directories:
            try:
                record = rundir.load(directory)
                if record.outcome is Outcome.CUT:
                    problems.append(f"{directory} is under way, or was killed")
                else:
                    yield self.add(record, directory)
            except RecordError as error:
                problems.append(error.line())

    def remove(self, ids: Sequence[str]) -> None:
        """Remove runs and their results."""
        with database.writing(self._engine) as connection:
            connection.execute(delete(RunRow).where(RunRow.id.in_(ids)))

    def runs(self, limit: int | None = None, *, here: bool = False) -> tuple[PastRun, ...]:
        """Return the runs, newest first; with ``here`` without those on other hosts."""
        query = select(*_RUN).order_by(RunRow.started.desc(), RunRow.id).limit(limit)
        if here:
            query = query.where(RunRow.host.in_(("", platform.node())))
        with self._engine.connect() as connection:
            return tuple(self._run(row, connection) for row in connection.execute(query))

    def record(self, run: PastRun) -> RunRecord:
        """Return the whole record of a run.

        Raises:
            RecordError: if it has been removed.
        """
        with self._engine.connect() as connection:
            data = connection.scalar(_RECORD, {"run": run.id})
        if data is None:
            raise RecordError(f"the history no longer has run {run.id} ({run.run_dir})")
        return rundir.parse(zlib.decompress(data), run.run_dir)

    def results(self, glob: str, limit: int | None = None) -> tuple[PastResult, ...]:
        """Return the results of the tests whose name, or name without size, matches, newest first.

        Raises:
            RecordError: if there is no such test.
        """
        wanted = [name for name in self.tests() if matches(name, glob)]
        if not wanted:
            raise RecordError(
                f"no run in the history has a result of {glob!r}",
                hint="`hgm probes list` shows the names",
            )
        return tuple(self._results(_newest_first(ResultRow.name.in_(wanted)).limit(limit)))

    def cells(self, since: datetime.datetime | None = None) -> tuple[Cell, ...]:
        """Return the cells that were run from night to night, and since a time if one is given.

        They are sorted; those of builds come before those of machines.
        """
        query = select(ResultRow.cell_id).join(RunRow, RunRow.id == ResultRow.run_id)
        query = query.where(_nightly(), ResultRow.name.in_((BUILD, BOOT)))
        if since is not None:
            query = query.where(RunRow.started >= since)
        with self._engine.connect() as connection:
            found = [self._cell(key, connection) for key in connection.scalars(query.distinct())]
        return tuple(sorted(filter(None, found), key=msgspec.structs.astuple))

    def last_runs(self, cell: Cell, marker: str, count: int) -> tuple[PastRun, ...]:
        """Return the last runs of a cell that say something of a kind, newest first.

        Args:
            cell: which one.
            marker: `BUILD` for what they say of a build, `BOOT` of a boot, `CONSOLE` of probes.
            count: how many at most.
        """
        query = _newest_first(_of_cell(cell), ResultRow.name == marker, _nightly()).limit(count)
        return tuple(result.run for result in self._results(query))

    def results_of(self, run: PastRun, marker: str) -> tuple[PastResult, ...]:
        """Return the results of a run that are of a kind, see `last_runs`."""
        kind = (
            ResultRow.name.not_in((BUILD, BOOT)) if marker == CONSOLE else ResultRow.name == marker
        )
        query = select(*_RESULT).where(ResultRow.run_id == run.id, kind).order_by(ResultRow.name)
        return tuple(self._results(query, run))

    def ever_bad(self) -> tuple[tuple[Cell, str], ...]:
        """Return the tests that have ever been bad, each with its cell."""
        query = select(ResultRow.cell_id, ResultRow.name).where(ResultRow.bad > 0).distinct()
        with self._engine.connect() as connection:
            rows = connection.execute(query)
            found = ((self._cell(key, connection), name) for key, name in rows)
            return tuple((cell, name) for cell, name in found if cell)

    def trail(self, cell: Cell, name: str) -> Iterator[PastResult]:
        """Yield the results of a test in a cell that are good or bad, newest first."""
        says = (ResultRow.good > 0) | (ResultRow.bad > 0)
        return self._results(
            _newest_first(_of_cell(cell), ResultRow.name == name, says, _nightly())
        )

    def _results(self, query: Select[Any], run: PastRun | None = None) -> Iterator[PastResult]:
        with self._engine.connect() as connection:
            for row in connection.execute(query.execution_options(yield_per=100)):
                yield PastResult(
                    run=run or self._run(row, connection),
                    name=row.name,
                    cell=self._cell(row.cell_id, connection),
                    status=cast(Status, row.status),
                    good=row.good,
                    bad=row.bad,
                    seconds=row.seconds,
                    reason=row.reason,
                    known_issues=tuple(row.known_issues),
                )

    def _run(self, row: Row[Any], connection: Connection) -> PastRun:
        return PastRun(
            id=row.run_id,
            started=row.run_started,
            seconds=row.run_seconds,
            build_seconds=row.run_build_seconds,
            verdict=cast(Verdict, row.run_verdict),
            outcome=Outcome(row.run_outcome),
            exit_code=row.run_exit_code,
            reason=row.run_reason,
            release=row.run_release,
            origin=row.run_origin,
            kernel_key=row.run_kernel_key,
            cell=self._cell(row.run_cell_id, connection),
            campaign=row.run_campaign,
            run_dir=row.run_run_dir,
        )

    def _cell(self, key: str | None, connection: Connection) -> Cell | None:
        """Return the cell with an ID; all are read at the first that is not known."""
        if key not in self._cells:
            for row in connection.execute(select(CellRow.__table__)):
                names = Cell.__struct_fields__
                self._cells[row.id] = Cell(**{name: getattr(row, name) for name in names})
        return self._cells[key]

    def marks(self, runs: Sequence[PastRun]) -> Iterator[tuple[str, str, Mark]]:
        """Yield the results of some runs: ID of the run, name of the test, how it ended."""
        query = select(
            *(ResultRow.run_id, ResultRow.name, ResultRow.status, ResultRow.good, ResultRow.bad),
            *(ResultRow.seconds, ResultRow.reason),
        ).where(ResultRow.run_id.in_([run.id for run in runs]))
        with self._engine.connect() as connection:
            # There are thousands; SQLAlchemy takes longer to hand them out one by one.
            for run_id, name, status, good, bad, seconds, reason in connection.execute(query).all():
                yield run_id, name, Mark(cast(Status, status), good, bad, seconds, reason)

    def last_seconds(self, names: Collection[str]) -> Mapping[str, float]:
        """Return how long tests took when they last ran, by name, as far as the last runs tell."""
        last = select(RunRow.id).order_by(RunRow.started.desc()).limit(_LAST_RUNS).subquery()
        query = (
            select(ResultRow.name, ResultRow.seconds)
            .join(RunRow, RunRow.id == ResultRow.run_id)
            .where(ResultRow.run_id.in_(select(last.c.id)), ResultRow.name.in_(names))
            .where(ResultRow.seconds > 0)
            .order_by(RunRow.started)  # what is later takes the place of what is earlier
        )
        with self._engine.connect() as connection:
            return {row.name: row.seconds for row in connection.execute(query)}

    def tests(self) -> tuple[str, ...]:
        """Return the names of all tests that have a result, sorted."""
        with self._engine.connect() as connection:
            names = connection.scalars(select(ResultRow.name).distinct()).all()
        return tuple(sorted(names))

    def fingerprints(self) -> dict[str, str]:
        """Return a hash of the whole record of each run, by its ID."""
        query = select(RunRow.id, RunRow.record)
        with self._engine.connect() as connection:
            rows = connection.execute(query.execution_options(yield_per=100))
            return {run_id: digest(record) for run_id, record in rows}


def _newest_first(*conditions: ColumnElement[bool]) -> Select[Any]:
    query = select(*_RESULT, *_RUN).join(RunRow, RunRow.id == ResultRow.run_id).where(*conditions)
    return query.order_by(RunRow.started.desc(), RunRow.id, ResultRow.name)


def _of_cell(cell: Cell) -> ColumnElement[bool]:
    return ResultRow.cell_id == cell_id(cell)


def _nightly() -> ColumnElement[bool]:
    return RunRow.campaign.in_(NIGHTLY)


def _fields(record: Cell | PastRun) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__struct_fields__ if name != "cell"}


def _result_values(result: PastResult) -> dict[str, object]:
    return {
        "run_id": result.run.id,
        "cell_id": result.cell and cell_id(result.cell),
        "name": result.name,
        "status": result.status,
        "good": result.good,
        "bad": result.bad,
        "seconds": result.seconds,
        "reason": result.reason,
        "known_issues": list(result.known_issues),
    }
