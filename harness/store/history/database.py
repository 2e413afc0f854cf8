# SPDX-License-Identifier: GPL-2.0-only
"""Opens the database of the history: SQLite in a file, or PostgreSQL by URL.

A SQLite file that is not there is made aside and linked into place, so that two processes that
make it do not meet half of one. Tables of an older version are brought up to date on opening.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
    ProgrammingError,
    SQLAlchemyError,
)

from harness.errors import RecordError, SpecError, StoreUnavailable, no_space

#: The newest revision of `harness/store/history/migrations`.
HEAD = "0003"

#: The name of the SQLite file in a directory of run directories.
FILE = "history.db"

#: How SQLite's files say whose they are, since hgm 0.2; an older one is known by its tables.
APPLICATION_ID = 0x68676D31

#: The tables that every version has had.
_TABLES = {"alembic_version", "cells", "runs", "results"}

#: Seconds to wait for another writer, or for a server.
_WAIT_SECONDS = 10

#: Of the lock by which PostgreSQL, as SQLite does by itself, has one writer at a time: two that
#: record the same run, or make the tables, would meet half of each other's rows.
_WRITERS_LOCK = 0x68676D

_LARGEST_PORT = 65_535

_FORMS = "a path, sqlite:///PATH, or postgresql://USER@HOST/DATABASE"
_OTHER_STORE = "choose another --store (HGM_STORE)"
_NOT_MADE = "the first run makes it; `hgm history --import DIR` records runs that are there"
_DAMAGED = (
    "if hgm wrote it, move it away, then `hgm history --rebuild`; runs without a directory and "
    "benchmarks are in it alone"
)
_PSYCOPG = f"{sys.executable} -m pip install 'psycopg[binary]'"


def locate(chosen: str, runs: Path) -> URL:
    """Return where the history is.

    Args:
        chosen: what ``--store`` or ``HGM_STORE`` says: a URL, or a path for SQLite; if it is empty
            the history is `FILE` among the run directories.
        runs: where run directories are made.

    Raises:
        SpecError: if it is neither, or of a database that is not supported.
    """
    if chosen and not chosen.strip():
        raise SpecError("--store (HGM_STORE) is blank", hint=f"write {_FORMS}")
    if "://" not in chosen:
        path = Path(chosen or runs / FILE).expanduser().absolute()
        return URL.create("sqlite", database=str(path))
    try:
        url = make_url(chosen)
    except (ArgumentError, ValueError):
        raise SpecError("--store is not a URL", hint=f"write {_FORMS}") from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "postgresql+psycopg") or not url.database:
        raise SpecError(f"--store {_shown(url)} is not supported", hint=f"write {_FORMS}")
    if url.port is not None and not 0 < url.port <= _LARGEST_PORT:
        raise SpecError(f"--store {_shown(url)}: there is no port {url.port}")
    return url


def connect(url: URL, *, make: bool) -> Engine:
    """Return the database, brought up to date.

    Args:
        url: where it is.
        make: whether a history is made if there is none.

    Raises:
        StoreUnavailable: if it cannot be reached, is locked, or its driver is not installed.
        RecordError: if there is none, or it is damaged, or of a newer version.
        SpecError: if it is not a history, or cannot be opened or made there.
    """
    with explained(url):
        engine = _sqlite_file(url, make=make) if url.drivername == "sqlite" else _postgresql(url)
        try:
            _bring_up_to_date(engine, url, make=make)
        except BaseException:
            engine.dispose()
            raise
        return engine


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in a transaction that writes; it is one of many writers at a time."""
    with (
        engine.connect().execution_options(hgm_writes=True) as connection,
        connection.begin(),
    ):
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})"))
        yield connection


@contextlib.contextmanager
def explained(url: URL) -> Iterator[None]:
    """Turn an error of the database into one of the tree."""
    where = _shown(url)
    try:
        yield
    except (ModuleNotFoundError, NoSuchModuleError):
        raise StoreUnavailable(
            f"{where}: psycopg, the driver of PostgreSQL, is not installed", hint=_PSYCOPG
        ) from None
    except (SQLAlchemyError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        line = " ".join(str(cause).split())
        if "file is not a database" in line:
            raise RecordError(
                f"{where} is not a file of SQLite", hint=f"{_OTHER_STORE}; {_DAMAGED}"
            ) from None
        if "malformed" in line:
            raise RecordError(f"{where} is damaged: {line}", hint=_DAMAGED) from None
        if url.drivername != "sqlite" and _is_refused(error, line):
            raise SpecError(f"--store {where}: {line}", hint=f"write {_FORMS}") from None
        raise StoreUnavailable(f"{where}: {line}") from None


def _is_refused(error: Exception, line: str) -> bool:
    """Return whether the driver refused a URL before it asked a server."""
    unsent = isinstance(error, ProgrammingError) and not getattr(error.orig, "sqlstate", None)
    return unsent or line.startswith("connection is bad: invalid ")


def _shown(url: URL) -> str:
    """Return a URL for a message: without its password, and SQLite's as a path."""
    if url.drivername == "sqlite":
        return str(url.database)
    return url.render_as_string(hide_password=True)


def _postgresql(url: URL) -> Engine:
    options = f"-c lock_timeout={_WAIT_SECONDS}s"
    return sqlalchemy.create_engine(
        url, connect_args={"connect_timeout": _WAIT_SECONDS, "options": options}
    )


def _sqlite_file(url: URL, *, make: bool) -> Engine:
    path = Path(str(url.database))
    try:
        if not path.exists():
            if not make:
                raise _absent(path)
            _make_sqlite(path)
        if not path.is_file():
            raise FileNotFoundError(errno.ENOENT, "it is not a file")
        if not os.access(path, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise no_space(error, path) or SpecError(
            f"cannot open the history {path}: {error.strerror}", hint=_OTHER_STORE
        ) from None
    return _sqlite(url)


def _absent(path: Path) -> RecordError:
    if path.parent.is_dir():
        return RecordError(
            f"there is no history {path}",
            hint=_NOT_MADE,
        )
    return RecordError(f"there is no history {path}: no directory {path.parent}")


def _foreign(where: str) -> SpecError:
    return SpecError(f"{where} is the database of another program", hint=_OTHER_STORE)


def _sqlite(url: URL) -> Engine:
    timeout = {} if "timeout" in url.query else {"timeout": _WAIT_SECONDS}
    engine = sqlalchemy.create_engine(url, connect_args=timeout)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        # SQLAlchemy says when a transaction begins, and not Python's module, which knows no kinds.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        # One that reads first and writes later would fail if another wrote meanwhile.
        writes = connection.get_execution_options().get("hgm_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _make_sqlite(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    url = URL.create("sqlite", database=str(part))
    try:
        with contextlib.closing(sqlite3.connect(part)) as made:
            made.execute("PRAGMA journal_mode=WAL")  # stays: no reader waits for a writer
            made.execute(f"PRAGMA application_id={APPLICATION_ID}")
        engine = _sqlite(url)
        _bring_up_to_date(engine, url, make=True)
        engine.dispose()
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(part)
    finally:
        part.unlink(missing_ok=True)


def _bring_up_to_date(engine: Engine, url: URL, *, make: bool) -> None:
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            _require_ours(connection, url)
        found = _revision(connection, url)
    if found == HEAD:
        return
    if found is None and not make:
        raise RecordError(
            f"there is no history in {_shown(url)}: it has no tables",
            hint=_NOT_MADE,
        )
    if found is not None and found > HEAD:
        raise RecordError(
            f"{_shown(url)} was written by a newer hgm: its tables have revision {found}, and this "
            f"program knows {HEAD}",
            hint="use that version, or another --store",
        )
    from harness.store.history import migrations  # 100 ms that an up-to-date store does without

    with writing(engine) as connection:
        migrations.upgrade(connection, HEAD)


def _require_ours(connection: Connection, url: URL) -> None:
    """Raise an error if a file of SQLite is of another program.

    SQLite is asked, for this process may have the history open elsewhere: to open the file and
    close it again would drop the locks of that connection, as POSIX has it, and the next process to
    close the history would take its log away.
    """
    found = connection.exec_driver_sql("PRAGMA application_id").scalar()
    if found not in (0, APPLICATION_ID):
        raise _foreign(_shown(url))


def _revision(connection: Connection, url: URL) -> str | None:
    """Return the revision of the tables; None if there are none.

    Raises:
        SpecError: if there are tables, and not ours.
    """
    tables = set(sqlalchemy.inspect(connection).get_table_names())
    if not tables:
        return None
    if not tables >= _TABLES:
        raise _foreign(_shown(url))
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
