# SPDX-License-Identifier: GPL-2.0-only
"""The history on SQLite and on PostgreSQL: one suite for both."""

from __future__ import annotations

import concurrent.futures
import datetime
import errno
import functools
import os
import platform
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec
import pytest
import sqlalchemy
from alembic.script import ScriptDirectory
from click.testing import CliRunner, Result
from msgspec.structs import replace

from harness.cli import main
from harness.errors import HarnessError, RecordError, SpecError, StoreUnavailable
from harness.progress import Silent
from harness.records.base import to_json
from harness.records.bench import BenchPart
from harness.records.campaign import MatrixResult
from harness.records.history import (
    Category,
    CellState,
    HistoryState,
    ResultHistory,
    ResultState,
    Retention,
)
from harness.records.machine import GuestOrigin
from harness.records.outcome import Outcome
from harness.records.probe import ProbeResult, Status
from harness.records.run import RunRecord
from harness.report import history as report
from harness.store import rundir
from harness.store.history import background, changes, database, migrations
from harness.store.history.history import HistoryStore
from harness.store.history.history import opened as opened_if_there
from harness.store.history.retention import prune
from tests.unit.report.benches import BENCH, RATIO
from tests.unit.store.pasts import asking, night

PASS_ALL: dict[str, Status] = {"a/x/1G": "PASS", "a/x/2M": "PASS", "b/y/2M": "PASS"}
_SECONDS = 300
EVER = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

opened = functools.partial(opened_if_there, make=True)


@pytest.fixture
def history(shared_store: str) -> Iterator[HistoryStore]:
    """Return an empty history, in tables that the tests share."""
    with opened(shared_store, Path()) as found:
        found.remove([run.id for run in found.runs()])
        yield found


def add(history: HistoryStore, *records: RunRecord) -> None:
    for record in records:
        history.add(record, Path(record.run_dir))


def test_each_part_of_a_benchmark_is_compared_with_the_last_ones_like_it(
    history: HistoryStore,
) -> None:
    boot = BenchPart(name="boot", ratios=(RATIO,))
    later = replace(BENCH, started="2026-11-29T01:00:00+02:00", load=0.4)
    latest = replace(later, started="2026-11-29T02:00:00+02:00")
    latest = replace(latest, parts=(boot, BenchPart(name="snapshot", error="QEMU died")))
    others = (replace(later, host="elsewhere"), replace(later, accel="kvm"))
    for each in (latest, later, BENCH, *others):
        history.add_bench(each)
    assert history.last_benches(BENCH) == {"snapshot": [later, BENCH]}
    assert history.last_benches(BENCH, 1) == {"snapshot": [later]}
    both = replace(BENCH, parts=(*BENCH.parts, boot))
    assert history.last_benches(both) == {"snapshot": [later, BENCH], "boot": [latest]}
    assert history.last_benches(replace(BENCH, kernel="another")) == {}


def test_a_test_takes_as_long_as_when_it_last_ran(history: HistoryStore) -> None:
    for number, seconds in ((3, 30.0), (1, 10.0), (2, 20.0)):
        record = night(number, {"a/x/2M": "PASS", "b/y/2M": "LOST", "c/z/2M": "FAIL"})
        times = {"a/x/2M": seconds, "c/z/2M": seconds if number < 3 else 0.0}  # it was not run
        probes = tuple(replace(p, seconds=times.get(p.name, 0.0)) for p in record.probes)
        add(history, replace(record, probes=probes))
    found = history.last_seconds({"a/x/2M", "b/y/2M", "c/z/2M", "d"})
    assert found == {"a/x/2M": 30.0, "c/z/2M": 20.0}


# ---- what goes in comes out --------------------------------------------------------------------


def test_a_run_is_read_back_whole(history: HistoryStore) -> None:
    record = night(3, {"a/x/1G": "PASS", "a/x/2M": "FAIL"}, splat="BUG: sleeping")
    run = history.add(record, Path(record.run_dir))
    assert history.runs() == (run,)
    assert (run.release, run.origin, run.outcome) == ("6.12.3", "3-1", Outcome.PROBES_RAN)
    assert run.started == datetime.datetime(2026, 11, 4, 2, 0, tzinfo=datetime.UTC)
    assert history.record(run) == record
    found = {each.name: (each.status, each.good, each.bad) for each in history.results("*")}
    assert found == {
        "a/x/1G": ("PASS", 1, 0),
        "a/x/2M": ("FAIL", 0, 1),
        "boot": ("PASS", 1, 0),
        "build": ("PASS", 1, 0),
        "console": ("FAIL", 0, 1),
    }
    (bad,) = history.results("a/x/2M")
    assert (bad.reason, bad.seconds, bad.run) == ("a/x/2M: no", 1.5, run)


def test_a_boot_has_its_time(history: HistoryStore) -> None:
    guests = tuple(GuestOrigin(how="booted", seconds=each) for each in (7.0, 9.0, 8.0))
    add(history, replace(night(2, PASS_ALL), guests=guests), night(1, PASS_ALL))
    found = history.results("boot")
    assert [each.seconds for each in found] == [8.0, 0.0]
    _, newest, oldest, *_ = report.results(ResultHistory(results=found))
    assert (newest.split()[3:5], oldest.split()[3]) == (["8.00", "s"], "-")


def test_repetitions_are_one_result(history: HistoryStore) -> None:
    add(history, night(1, {"a/x/2M": "PASS", "a/x/2M#2": "FAIL", "a/x/2M#3": "LOST"}))
    (found,) = history.results("a/x")
    assert (found.name, found.status, found.good, found.bad) == ("a/x/2M", "FAIL", 1, 1)


@pytest.mark.parametrize(
    ("outcome", "names"),
    [
        (Outcome.PATCH_REFUSED, {"build": "FAIL"}),
        (Outcome.CONFIG_REFUSED, {"build": "FAIL"}),
        (Outcome.NOT_COMPILED, {"build": "FAIL"}),
        (Outcome.NOT_BOOTED, {"build": "PASS", "boot": "FAIL"}),
        (Outcome.BUILT_ONLY, {"build": "PASS"}),
        (Outcome.INFRASTRUCTURE, {}),
        (Outcome.INTERRUPTED, {}),
        (Outcome.USER_MISTAKE, {}),
    ],
)
def test_a_run_that_did_not_reach_its_probes(
    history: HistoryStore, outcome: Outcome, names: dict[str, Status]
) -> None:
    add(history, night(1, PASS_ALL, outcome=outcome))
    assert len(history.runs()) == 1
    if names:
        assert {each.name: each.status for each in history.results("*")} == names
    else:
        with pytest.raises(RecordError, match="no run in the history has a result"):
            history.results("*")


def test_a_run_that_is_recorded_again_is_replaced(history: HistoryStore) -> None:
    add(history, night(1, PASS_ALL), night(1, {"a/x/1G": "FAIL"}))
    assert len(history.runs()) == 1
    assert [each.status for each in history.results("a/*")] == ["FAIL"]


def test_what_is_removed_is_gone(history: HistoryStore) -> None:
    add(history, night(1, PASS_ALL), night(2, PASS_ALL))
    newest, oldest = history.runs()
    history.remove([newest.id])
    assert history.runs() == (oldest,)
    assert {each.run for each in history.results("*")} == {oldest}
    with pytest.raises(RecordError, match="no longer has run"):
        history.record(newest)


def test_the_newest_come_first_and_are_limited(history: HistoryStore) -> None:
    add(history, *(night(number, PASS_ALL) for number in (2, 1, 3)))
    assert [run.release for run in history.runs(2)] == ["6.12.3", "6.12.2"]
    assert [each.run.release for each in history.results("b/y", 2)] == ["6.12.3", "6.12.2"]


# ---- hostile text ------------------------------------------------------------------------------

HOSTILE = [
    *(f"before{chr(code)}after" for code in (*range(32), *range(127, 160))),
    *("'; DROP TABLE runs; --", '"; DELETE FROM results', "' OR '1'='1", "%s %(x)s {0} $1 ?1 :x"),
    *("<script>alert(1)</script>", "<img src=x onerror=1>", "&lt;&#0;&amp;", "]]>", "<!--"),
    *("\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\u202egnp.exe", "\u2028\u2029", "\ufeffBOM"),
    *("\U0001f4a5", "\ud7ff\ue000", "\uffff\ufffe", "e\u0301" * 50, "\\x00 \\u0000 \\N{NULL}"),
    *("../../../etc/passwd", "C:\\nul", "-rf", "--store=x", "$(reboot)", "`reboot`", "a\r\nb: c"),
    *("x" * length for length in (1000, 65_535, 300_000)),
    *(f"{chr(33 + number)}{number}\t\0'\"\\%_\x7f" for number in range(200)),
][:200]


def test_200_hostile_strings_change_nothing_but_themselves(history: HistoryStore) -> None:
    assert len(set(HOSTILE)) == 200
    plain = night(1)
    probes = tuple(
        # A name has to be a file name too; PostgreSQL would not index one of a megabyte.
        ProbeResult(name=f"h/{text[:60]}{number}", status="FAIL", reason=text, known_issues=(text,))
        for number, text in enumerate(HOSTILE)
    )
    record = msgspec.structs.replace(
        plain,
        probes=probes,
        reason="".join(HOSTILE[:60]),
        request=asking(series=HOSTILE[1], probes=tuple(HOSTILE[100:110])),
    )
    run = history.add(record, Path("/runs/'; DROP TABLE runs; --"))
    assert history.record(run) == record
    stored = {each.name: each for each in history.results("h/*")}
    assert len(stored) == 200
    for probe in probes:
        kept = stored[probe.name.replace("\0", "\ufffd").partition("#")[0]]
        assert kept.reason == probe.reason.replace("\0", "\ufffd")
        assert kept.known_issues == probe.known_issues
    assert len(history.cells()) == 2
    add(history, night(2, PASS_ALL))
    assert len(history.runs()) == 2


# ---- several writers ---------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from harness.store.history.history import opened
from tests.unit.store.pasts import night
with opened(sys.argv[1], Path(), make=True) as history:
    for number in map(int, sys.argv[2:]):
        record = night(number, {f"a/{each}/2M": "PASS" for each in range(50)})
        history.add(record, Path(record.run_dir))
"""

#: Stops in the middle of a transaction, with everything but the results written.
STUCK = """
import sys, time
from pathlib import Path
from harness.store.history import history, database
from tests.unit.store.pasts import night
def stop(result):
    print("ready", flush=True)
    time.sleep(600)
with history.opened(sys.argv[1], Path(), make=True) as found:
    history._result_values = stop
    record = night(2, {"a/x/2M": "PASS"})
    found.add(record, Path(record.run_dir))
"""


def started(program: str, store: str, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", program, store, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )


def test_two_writers_make_the_store_and_lose_nothing(store: str) -> None:
    both = [started(WRITER, store, *numbers) for numbers in (range(25), range(30))]
    said = [each.communicate(timeout=_SECONDS)[1] for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    with opened(store, Path()) as history:
        assert len(history.runs()) == 30
        assert len(history.results("a/*")) == 30 * 50
        assert len(history.cells()) == 2


def test_threads_of_one_process_make_stores_at_the_same_time(tmp_path: Path) -> None:
    begin = threading.Barrier(6)

    def make(number: int) -> None:
        begin.wait(_SECONDS)
        with opened(f"sqlite:///{tmp_path}/{number}.db", Path(), make=True) as history:
            add(history, night(1, {"a/x/2M": "PASS"}))

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(make, number) for number in range(6)]:
            done.result()


def test_a_reader_sees_cells_that_another_adds_meanwhile(store: str) -> None:
    with opened(store, Path()) as reader, opened(store, Path()) as writer:
        add(writer, night(1, {"a/x/2M": "PASS"}))
        (first,) = reader.runs()
        other = asking(kernel="debian:linux-source-7.3")
        add(writer, night(2, {"a/x/2M": "PASS"}, request=other))
        second, again = reader.runs()
        assert again == first
        assert second.cell is not None
        assert second.cell.kernel == "debian:linux-source-7.3"
        assert len(reader.results("a/x/2M")) == 2
        assert len(reader.cells()) == 4


def test_a_writer_that_is_killed_leaves_nothing_half(store: str) -> None:
    with opened(store, Path()) as history:
        add(history, night(1, PASS_ALL))
    writer = started(STUCK, store)
    assert writer.stdout is not None
    limit = threading.Timer(_SECONDS, writer.send_signal, [signal.SIGABRT])  # shows where it is
    limit.start()
    assert writer.stdout.readline() == "ready\n", writer.communicate()[1]
    limit.cancel()
    writer.send_signal(signal.SIGKILL)
    writer.communicate(timeout=_SECONDS)
    with opened(store, Path()) as history:
        assert [run.release for run in history.runs()] == ["6.12.1"]
        add(history, night(2, PASS_ALL))
        assert len(history.runs()) == 2
        assert history.last_benches(BENCH) == {}


def test_a_locked_store_is_a_warning_and_the_run_keeps_its_result(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_WAIT_SECONDS", 1)
    with opened(store, Path()) as history:
        add(history, night(1, PASS_ALL))
    url = database.locate(store, Path())
    other = database.connect(url, make=False)
    monkeypatch.setenv("HGM_STORE", store)
    with database.writing(other):
        (line,) = warnings_of(night(2, PASS_ALL))
    assert line.startswith("warning: the run is not in the history: ")
    assert "lock" in line
    other.dispose()
    assert warnings_of(night(2, PASS_ALL)) == []
    with opened(store, Path()) as history:
        assert len(history.runs()) == 2


class Noting(Silent):
    """A progress that keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def warnings_of(record: RunRecord) -> list[str]:
    """Record a run as its end does, and return what is said of it."""
    noting = Noting()
    background.record(record, noting)
    background.wait()
    return noting.notes


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("/proc/nowhere/history.db", "/proc/nowhere"),
        ("postgresql://me:secret@127.0.0.1:1/x", "postgresql+psycopg://me:***@127.0.0.1:1/x"),
        ("mysql://me@x/y", "is not supported"),
        ("postgresql://", "is not supported"),
        ("://", "not a URL"),
    ],
)
def test_a_store_that_cannot_be_is_one_line(
    store: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HGM_STORE", store)
    (line,) = warnings_of(night(1, PASS_ALL))
    assert said in line
    assert "\n" not in line
    assert "secret" not in line
    assert line.endswith("hgm history --import /runs/20261102-020000-debian-0001")
    with pytest.raises((SpecError, StoreUnavailable)), opened(store, Path()):
        pass


# ---- revisions of the tables -------------------------------------------------------------------


def test_the_tables_are_as_they_are_declared(store: str) -> None:
    url = database.locate(store, Path())
    engine = database.connect(url, make=True)
    with database.writing(engine) as connection:
        migrations.check(connection)
        assert database._revision(connection, url) == database.HEAD
    engine.dispose()


@pytest.mark.parametrize(("revision", "more"), [("0001", ""), ("0002", ", ''")])
def test_a_store_of_an_older_version_is_brought_up_to_date(
    store: str, revision: str, more: str
) -> None:
    url = database.locate(store, Path())
    if url.drivername == "sqlite":
        Path(str(url.database)).parent.mkdir()
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        migrations.upgrade(connection, revision)
        record = night(1, PASS_ALL)
        connection.execute(
            sqlalchemy.text(
                "INSERT INTO runs VALUES ('0123', NULL, '2026-11-02 02:00:00', 60, 0, 'PASS', "  # noqa: S608
                "'probes ran', 0, 'well', '6.12.1', '1-1', 'k', '', '/runs/x', :record"
                f"{more})"
            ),
            {"record": zlib.compress(to_json(record))},
        )
    engine.dispose()
    with opened(store, Path()) as history:
        (old,) = history.runs(here=True)
        assert (old.id, old.release, old.started.hour) == ("0123", "6.12.1", 2)
        assert history.record(old) == record
        add(history, night(2, PASS_ALL))
        assert len(history.runs()) == 2


def test_there_is_a_store_of_each_older_version_to_test() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_current_head() == database.HEAD
    assert [each.revision for each in scripts.walk_revisions()] == ["0003", "0002", "0001"]


def test_a_store_of_a_newer_version_is_refused(store: str) -> None:
    _execute(store, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(RecordError, match="written by a newer hgm"), opened(store, Path()):
        pass


def _execute(store: str, *statements: str) -> None:
    engine = database.connect(database.locate(store, Path()), make=True)
    with database.writing(engine) as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))
    engine.dispose()


def files_below(directory: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


def sqlite_file(path: Path, *statements: str) -> None:
    made = sqlite3.connect(path)
    for statement in statements:
        made.execute(statement)
    made.commit()
    made.close()


READERS = (
    ("status",),
    ("history",),
    ("history", "a/x"),
    ("prune", "--keep-days", "1"),
    ("report", "--output", "site"),
)
NOT_OURS = [
    ("text", "text is not a file of SQLite"),
    ("db", "db is the database of another program"),
    ("runs.db", "runs.db is the database of another program"),
    ("alembic.db", "alembic.db is the database of another program"),
    ("marked.db", "marked.db is the database of another program"),
    ("directory", "cannot open the history"),
    ("text/history.db", "cannot open the history"),
    (" ", "is blank"),
    ("postgresql:///x?foo=bar", 'invalid connection option "foo"'),
    ("postgresql:///x?sslmode=foo", "invalid sslmode value"),
    ("postgresql://127.0.0.1:99999/x", "there is no port 99999"),
]


@pytest.mark.parametrize(("store", "said"), NOT_OURS)
def test_a_store_that_is_not_ours_is_a_mistake_and_is_left_alone(
    store: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "directory").mkdir()
    (tmp_path / "text").write_bytes(b"root:x:0:0\n" * 1000)
    sqlite_file(tmp_path / "db", "CREATE TABLE bookmarks (x)")
    sqlite_file(tmp_path / "runs.db", "CREATE TABLE runs (x)")
    sqlite_file(
        tmp_path / "alembic.db",
        "CREATE TABLE alembic_version (version_num)",
        "INSERT INTO alembic_version VALUES ('f00')",
    )
    sqlite_file(tmp_path / "marked.db", "PRAGMA application_id=1196444487")
    leave(tmp_path / "runs", night(1, PASS_ALL))
    before = files_below(tmp_path)
    for words in (*READERS, ("history", "--import", "runs")):
        error = hgm(*words, "--store", store).exception
        assert isinstance(error, HarnessError), words
        reads_no_file = store == "text/history.db" and "--import" not in words
        assert ("there is no history" if reads_no_file else said) in error.line()
        assert error.exit_code == 2
        assert "remove" not in error.line()
        assert files_below(tmp_path) == before


@pytest.mark.parametrize("runs", ["nowhere", "empty", "/proc/x"])
def test_who_only_reads_makes_no_history(
    runs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for words in READERS:
        error = hgm(*words, "--runs-dir", runs).exception
        assert isinstance(error, RecordError), words
        assert "there is no history" in error.line()
        assert list(tmp_path.rglob("*")) == [tmp_path / "empty"]


def test_who_only_reads_makes_no_tables(store: str) -> None:
    with pytest.raises(RecordError, match="there is no history"), opened_if_there(store, Path()):
        pass
    with opened(store, Path()):
        pass
    with opened_if_there(store, Path()) as history:
        assert history.runs() == ()


def test_a_server_with_tables_of_another_program_gets_none_of_ours(store: str) -> None:
    url = database.locate(store, Path())
    if url.drivername == "sqlite":
        Path(str(url.database)).parent.mkdir()
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE alembic_version (version_num TEXT)"))
        connection.execute(sqlalchemy.text("INSERT INTO alembic_version VALUES ('f00')"))
    with pytest.raises(SpecError, match="of another program"), opened(store, Path()):
        pass
    assert sqlalchemy.inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_a_new_store_says_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with opened(str(path), Path()):
        pass
    (found,) = sqlite3.connect(path).execute("PRAGMA application_id").fetchone()
    assert found == database.APPLICATION_ID


def test_a_damaged_store_is_moved_away_and_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with opened(str(path), Path()):
        pass
    data = bytearray(path.read_bytes())
    data[100:] = b"\xff" * (len(data) - 100)
    path.write_bytes(data)
    with pytest.raises(RecordError, match="is damaged") as caught, opened(str(path), Path()):
        pass
    assert "move it away, then `hgm history --rebuild`" in caught.value.hint
    assert "benchmarks are in it alone" in caught.value.hint


def test_one_process_opens_it_twice_and_another_once(tmp_path: Path) -> None:
    # Whoever closes a history that no one else has locked takes its log away.
    code = (
        "import sys; from pathlib import Path; from harness.store.history.history import opened\n"
        "with opened(sys.argv[1], Path()) as history: print(len(history.runs()))"
    )
    path = tmp_path / "history.db"
    with opened(str(path), Path(), make=True) as history:
        add(history, night(1, PASS_ALL))
        with opened(str(path), Path()) as again:
            assert len(again.runs()) == 1
        other = [sys.executable, "-c", code, str(path)]
        assert subprocess.run(other, check=True, capture_output=True).stdout == b"1\n"
        assert path.with_name("history.db-wal").exists()
        add(history, night(2, PASS_ALL))
    with opened(str(path), Path()) as history:
        assert len(history.runs()) == 2


# ---- made again from run directories -----------------------------------------------------------


def test_it_is_made_again_from_run_directories(history: HistoryStore, tmp_path: Path) -> None:
    records = [night(number, PASS_ALL) for number in range(5)]
    for record in records:
        directory = tmp_path / Path(record.run_dir).name
        directory.mkdir()
        (directory / "result.json").write_bytes(to_json(record))
    for name, content in (("cut", to_json(RunRecord())), ("damaged", b"{")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_bytes(content)
    add(history, records[0])
    for _ in range(2):
        problems: list[str] = []
        found = list(history.add_directories(rundir.find_runs(tmp_path), problems))
        assert len(found) == 5
        assert len(problems) == 2
    assert len(history.runs()) == 5
    assert {run.run_dir for run in history.runs()} == {
        str(tmp_path / Path(record.run_dir).name) for record in records
    }
    assert {history.record(run).started for run in found} == {each.started for each in records}


# ---- what fails, since when --------------------------------------------------------------------


def state(history: HistoryStore) -> HistoryState:
    return changes.state(history, EVER)


def probed_cell(history: HistoryStore) -> CellState:
    (found,) = [each for each in state(history).cells if each.cell.machine]
    return found


def changed(history: HistoryStore) -> dict[str, ResultState]:
    return {test.name: test for test in probed_cell(history).tests}


def nights(
    history: HistoryStore, name: str, statuses: Sequence[Status | None], key: str = ""
) -> None:
    for number, status in enumerate(statuses, 1):
        others: dict[str, Status] = {"other/2M": "PASS"}
        add(history, night(number, others | ({name: status} if status else {}), key=key))


CATEGORIES: list[tuple[Status | None, Status | None, Category]] = [
    ("PASS", "FAIL", "regression"),
    ("PASS", "CRASH", "regression"),
    ("PASS", "KNOWN", "regression"),
    ("FAIL", "PASS", "fixed"),
    ("KNOWN", "PASS", "fixed"),
    ("FAIL", "HANG", "still failing"),
    (None, "FAIL", "new failure"),
    ("SKIP", "FAIL", "new failure"),
    ("LOST", "FAIL", "new failure"),
    (None, "PASS", "new pass"),
    ("SKIP", "PASS", "new pass"),
    (None, "SKIP", "appeared"),
    ("PASS", None, "disappeared"),
    ("PASS", "SKIP", "disappeared"),
    ("PASS", "LOST", "disappeared"),
    ("FAIL", None, "disappeared"),
    ("SKIP", None, "disappeared"),
]


def test_each_change_has_its_category(history: HistoryStore) -> None:
    names = [f"a/x{number}/2M" for number in range(len(CATEGORIES))]
    for number in (0, 1):
        pairs = [(before, after)[number] for before, after, _ in CATEGORIES]
        ends = {name: end for name, end in zip(names, pairs, strict=True) if end}
        add(history, night(number, ends))
    found = {name: test.category for name, test in changed(history).items()}
    assert found == {name: each[2] for name, each in zip(names, CATEGORIES, strict=True)}


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [("PASS", "FAIL", 1), (None, "HANG", 1), ("PASS", "KNOWN", 0), ("FAIL", "FAIL", 0)],
)
def test_only_what_is_new_and_not_known_is_alarming(
    history: HistoryStore, before: Status | None, after: Status, code: int
) -> None:
    nights(history, "a/x/2M", [before, after])
    assert state(history).exit_code == code


UNCHANGED: list[tuple[Status, Status]] = [("PASS", "PASS"), ("SKIP", "SKIP"), ("SKIP", "LOST")]


def test_what_ends_as_before_is_counted_only(history: HistoryStore) -> None:
    for number in (0, 1):
        add(history, night(number, {f"a/{i}/2M": each[number] for i, each in enumerate(UNCHANGED)}))
    found = probed_cell(history)
    assert found.tests == ()
    assert (found.passing, found.skipped) == (3, 2)  # boot and console passed too


def test_since_when_it_fails(history: HistoryStore) -> None:
    nights(history, "a/x/2M", ["FAIL", "PASS", "PASS", "FAIL", "SKIP", "CRASH"])
    test = changed(history)["a/x/2M"]
    assert test.first_bad is not None
    assert test.last_good is not None
    assert (test.last_good.release, test.first_bad.release) == ("6.12.3", "6.12.4")
    assert (test.bad, test.known, test.flaky) == (3, 5, False)
    assert test.category == "new failure"  # the run before has no result


def test_what_never_passed_has_no_last_good_run(history: HistoryStore) -> None:
    nights(history, "a/x/2M", ["FAIL", "FAIL"])
    test = changed(history)["a/x/2M"]
    assert test.first_bad is not None
    assert test.first_bad.release == "6.12.1"
    assert test.last_good is None


def test_it_is_flaky_only_if_one_kernel_both_passes_and_fails(history: HistoryStore) -> None:
    nights(history, "a/x/2M", ["PASS", "FAIL", "PASS", "FAIL"])
    assert not changed(history)["a/x/2M"].flaky
    assert state(history).exit_code == 1
    nights(history, "a/x/2M", ["PASS", "FAIL", "PASS", "FAIL"], key="one kernel")
    assert changed(history)["a/x/2M"].flaky
    assert state(history).exit_code == 0


def test_repetitions_in_one_run_show_that_it_is_flaky(history: HistoryStore) -> None:
    add(history, night(1, {"a/x/2M": "PASS"}), night(2, {"a/x/2M": "PASS", "a/x/2M#2": "FAIL"}))
    assert changed(history)["a/x/2M"].flaky


def test_the_first_run_of_a_cell_has_new_failures_and_no_new_passes(history: HistoryStore) -> None:
    add(history, night(1, {**PASS_ALL, "b/y/2M": "FAIL", "c/z/2M": "SKIP", "d/k/2M": "KNOWN"}))
    found = probed_cell(history)
    assert (found.skipped, found.known) == (1, 1)
    assert [(test.name, test.category) for test in found.tests] == [("b/y/2M", "new failure")]
    assert found.before is None
    assert found.passing == 4


def test_a_kernel_that_does_not_boot_hides_no_probe(history: HistoryStore) -> None:
    add(history, night(1, PASS_ALL), night(2, {**PASS_ALL, "b/y/2M": "FAIL"}))
    add(history, night(3, outcome=Outcome.NOT_BOOTED))
    found = {name: test.category for name, test in changed(history).items()}
    assert found == {"boot": "regression", "b/y/2M": "regression"}
    assert probed_cell(history).latest.release == "6.12.3"


def test_a_kernel_that_does_not_build_is_a_cell_of_its_own(history: HistoryStore) -> None:
    add(history, night(1, PASS_ALL), night(2, outcome=Outcome.NOT_COMPILED))
    first, second = state(history).cells
    assert first.cell.machine == ""
    assert [(test.name, test.category) for test in first.tests] == [("build", "regression")]
    assert second.tests == ()
    assert second.latest.release == "6.12.1"


def test_a_splat_outside_of_any_probe_is_a_regression(history: HistoryStore) -> None:
    add(history, night(1, PASS_ALL), night(2, PASS_ALL, splat="BUG: bad page"))
    test = changed(history)["console"]
    assert (test.category, test.reason) == ("regression", "BUG: bad page")


def test_runs_that_say_nothing_are_not_compared_with(history: HistoryStore) -> None:
    add(history, night(1, PASS_ALL), night(2, PASS_ALL, outcome=Outcome.INFRASTRUCTURE))
    add(history, night(3, {**PASS_ALL, "b/y/2M": "FAIL"}))
    assert changed(history)["b/y/2M"].category == "regression"


def test_cells_are_not_mixed(history: HistoryStore) -> None:
    add(history, night(1, PASS_ALL), night(2, {"a/x/1G": "FAIL"}, request=asking(series="none")))
    by_series = {each.cell.series: each for each in state(history).cells if each.cell.machine}
    assert by_series["hgm-6.12"].tests == ()
    assert [test.category for test in by_series["none"].tests] == ["new failure"]


def test_the_runs_of_a_bisection_are_on_record_and_not_compared(history: HistoryStore) -> None:
    add(history, night(1, PASS_ALL))
    history.add(
        night(2, {"a/x/1G": "FAIL"}), Path("/runs/bisect-hgm-6.12-0123abcd/0001/20261103-x")
    )
    assert len(history.results("a/x/1G")) == 2
    assert probed_cell(history).tests == ()


def test_what_was_not_run_lately_is_left_out_and_counted(history: HistoryStore) -> None:
    add(history, night(1, PASS_ALL), night(9, PASS_ALL, request=asking(series="none")))
    since = datetime.datetime(2026, 11, 8, tzinfo=datetime.UTC)
    found = changes.state(history, since)
    assert {each.cell.series for each in found.cells} == {"none"}
    assert found.stale == 2


# ---- retention --------------------------------------------------------------------------------


def test_prune_removes_directories_and_rows_and_keeps_where_a_test_began_to_fail(
    history: HistoryStore, tmp_path: Path
) -> None:
    for number in range(8):
        ends: Status = "FAIL" if number in (2, 3) else "PASS"
        leave(tmp_path / "runs", night(number, {**PASS_ALL, "b/y/2M": ends}))
    list(history.add_directories(rundir.find_runs(tmp_path), []))
    wanted = Retention(runs=2)
    everything = sorted(path.name for path in (tmp_path / "runs").iterdir())
    would = prune(history, wanted, EVER, dry_run=True)
    assert [run.release for run in would.removed] == [f"6.12.{number}" for number in (5, 4, 3, 0)]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == everything
    done = prune(history, wanted, EVER, dry_run=False)
    assert done == msgspec.structs.replace(would, dry_run=False)
    assert (done.kept, done.landmarks) == (4, 2)
    assert done.bytes > 0
    left = {run.release: Path(run.run_dir) for run in history.runs()}
    assert list(left) == ["6.12.7", "6.12.6", "6.12.2", "6.12.1"]
    assert sorted((tmp_path / "runs").iterdir()) == sorted(left.values())


def leave(runs: Path, record: RunRecord) -> Path:
    """Leave a run directory with some evidence."""
    directory = runs / Path(record.run_dir).name
    (directory / "probes").mkdir(parents=True)
    (directory / "result.json").write_bytes(to_json(record))
    (directory / "serial.log").write_bytes(b"x" * 5000)
    return directory


def test_prune_removes_no_directory_that_is_not_the_runs(
    history: HistoryStore, tmp_path: Path
) -> None:
    mine = tmp_path / "precious"
    mine.mkdir()
    (mine / "thesis.txt").write_text("x")
    history.add(night(1, PASS_ALL), mine)
    other = leave(tmp_path, night(2, PASS_ALL))
    history.add(night(3, PASS_ALL), other)
    now = datetime.datetime.now(datetime.UTC)
    assert len(prune(history, Retention(days=1), now, dry_run=False).removed) == 2
    assert history.runs() == ()
    assert (mine / "thesis.txt").exists()
    assert other.exists()


def test_a_directory_that_cannot_be_removed_is_named_and_keeps_no_other(
    history: HistoryStore, shared_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [leave(tmp_path, night(number, PASS_ALL)) for number in (1, 2, 3)]
    list(history.add_directories(runs, []))
    remove = shutil.rmtree

    def refuse(path: Path) -> None:
        if path == runs[1]:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        remove(path)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    done = hgm("prune", "--store", shared_store, "--keep-runs", "0")
    assert done.return_value == 3
    *removed, failed, summary = done.stdout.splitlines()
    assert removed == [str(runs[2]), str(runs[0])]
    assert failed == f"cannot remove {runs[1]}: Permission denied"
    assert summary.startswith("removed 2 runs")
    assert "; kept 1, 0 of them" in summary
    assert [path.exists() for path in runs] == [False, True, False]
    assert [Path(run.run_dir) for run in history.runs()] == [runs[1]]


def test_a_matrix_prunes_the_runs_of_its_directory_alone(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HGM_STORE", store)
    runs = [leave(tmp_path / "runs", night(number, PASS_ALL)) for number in (2, 3, 4)]
    elsewhere = leave(tmp_path / "elsewhere", night(1, PASS_ALL))
    with opened(store, Path()) as history:
        list(history.add_directories((*runs, elsewhere), []))
    result = MatrixResult(round=1, finished=True, cells=(), directory="")
    monkeypatch.setattr("harness.campaign.matrix.run_matrix", lambda *_, **__: result)
    file = tmp_path / "nightly.toml"
    text = 'kernels = ["tree:/a"]\n{}\n[machines.m]\n[probes.p]\n'
    file.write_text(text.format(""))
    assert hgm("matrix", str(file)).return_value == 0
    assert all(path.exists() for path in runs)
    file.write_text(text.format("keep = { runs = 1 }"))
    done = hgm("matrix", str(file))
    assert "removed 2 runs" in done.stderr
    assert [path.exists() for path in (*runs, elsewhere)] == [False, False, True, True]
    with opened(store, Path()) as history:
        assert [Path(run.run_dir) for run in history.runs()] == [runs[2], elsewhere]

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    file.write_text(text.format("keep = { runs = 0 }"))
    done = hgm("matrix", str(file))
    assert done.return_value == 0
    assert f"warning: cannot remove {runs[2]}: Permission denied\nremoved 0 runs" in done.stderr


def test_prune_leaves_the_runs_of_another_host(
    history: HistoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = leave(tmp_path, night(1, PASS_ALL))
    monkeypatch.setattr(platform, "node", lambda: "another")
    history.add(night(1, PASS_ALL), directory)
    monkeypatch.undo()
    assert prune(history, Retention(runs=0), EVER, dry_run=False).removed == ()
    assert directory.exists()
    assert len(history.runs()) == 1


def test_prune_removes_the_step_of_a_campaign_that_has_no_other_run(
    history: HistoryStore, tmp_path: Path
) -> None:
    step = tmp_path / "bisect-x-0123abcd" / "0001"
    directory = leave(step, night(1, PASS_ALL))
    (step / "latest").symlink_to(directory.name)
    history.add(night(1, PASS_ALL), directory)
    prune(history, Retention(days=0), datetime.datetime.now(datetime.UTC), dry_run=False)
    assert list(tmp_path.iterdir()) == [step.parent]
    assert list(step.parent.iterdir()) == []


# ---- the commands ------------------------------------------------------------------------------


def test_the_commands(
    history: HistoryStore, shared_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HGM_STORE", shared_store)
    for record in (night(1, PASS_ALL), night(2, {**PASS_ALL, "b/y/2M": "FAIL"})):
        leave(tmp_path / "runs", record)
    done = hgm("history", "--rebuild")
    assert done.return_value == 0
    assert "recorded 2 runs of runs" in done.stderr
    assert done.stdout.splitlines()[-1] == "2 runs, newest first"
    done = hgm("history", "b/y")
    night_2 = "20261103-020000-debian-0002"
    cell, newest, reason, oldest, *_ = done.stdout.splitlines()
    assert cell.startswith("debian:linux-source-6.12 | hgm-6.12 | base | 1G:2, 2 CPUs")
    assert newest.split()[2:] == ["FAIL", "1.50", "s", "b/y/2M", "6.12.2", night_2]
    assert reason == "      b/y/2M: no"
    assert oldest.split()[2] == "PASS"
    done = hgm("status", "--days", "100000")
    assert done.return_value == 1
    assert (
        f"since 2026-11-03 02:00 (6.12.2, {night_2}); "
        "last good 2026-11-02 02:00 (6.12.1); steady: 1 of 2 bad; new" in done.stdout
    )
    assert done.stdout.splitlines()[-1].startswith("FAIL: 1 regression, ")
    done = hgm("status", "--days", "100000", "--json")
    found = msgspec.json.decode(done.stdout, type=HistoryState)
    assert found.counts["regression"] == 1
    done = hgm("prune", "--keep-runs", "1", "--dry-run")
    assert done.stdout.splitlines()[-1].startswith("would remove 0 runs, 0.00 GiB; kept 2, 1 of")
    assert isinstance(hgm("prune").exception, click.UsageError)
    assert isinstance(hgm("history", "no/such").exception, RecordError)
    assert isinstance(hgm("history", "--import", "/nowhere").exception, RecordError)


def hgm(*words: str) -> Result:
    return CliRunner().invoke(main.hgm, words, standalone_mode=False)
