# SPDX-License-Identifier: GPL-2.0-only
"""A store of each kind: SQLite in a file, and a database of a real PostgreSQL server."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy

from harness.store.history import database
from tests.component.store import postgresql


@pytest.fixture(scope="session")
def new_database() -> Iterator[Callable[[], str]]:
    """Return a function that makes a database and returns its URL."""
    numbers = itertools.count()
    with postgresql.server() as url:

        def make() -> str:
            name = f"hgm{next(numbers)}"
            engine = sqlalchemy.create_engine(
                database.locate(url.format("postgres"), Path()), isolation_level="AUTOCOMMIT"
            )
            with engine.connect() as connection:
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
            engine.dispose()
            return url.format(name)

        yield make


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return what ``--store`` is given for a store that is not there, or has no tables."""
    return _new(request, tmp_path)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def shared_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the same store for many tests."""
    return _new(request, tmp_path_factory.mktemp("store"))


def _new(request: pytest.FixtureRequest, directory: Path) -> str:
    if request.param == "sqlite":
        return str(directory / "a place" / "history.db")
    url: str = request.getfixturevalue("new_database")()
    return url
