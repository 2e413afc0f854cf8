# SPDX-License-Identifier: GPL-2.0-only
"""The tables of the history; `harness/store/history/migrations` makes them."""

from __future__ import annotations

import datetime

from sqlalchemy import JSON, DateTime, Dialect, ForeignKey, Index, LargeBinary, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class AnyText(TypeDecorator[str]):
    """Text that may come from a guest; PostgreSQL takes no NUL in it."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the text with U+FFFD in place of NUL."""
        return None if value is None else value.replace("\0", "\N{REPLACEMENT CHARACTER}")


class UtcTime(TypeDecorator[datetime.datetime]):
    """A time in UTC, which SQLite would return without its zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(
        self, value: datetime.datetime | None, dialect: Dialect
    ) -> datetime.datetime | None:
        """Return the time in UTC, without a zone."""
        return None if value is None else value.astimezone(datetime.UTC).replace(tzinfo=None)

    def process_result_value(
        self, value: datetime.datetime | None, dialect: Dialect
    ) -> datetime.datetime | None:
        """Return the time with its zone."""
        return None if value is None else value.replace(tzinfo=datetime.UTC)


class Base(DeclarativeBase):
    """The base of all tables."""

    type_annotation_map = {str: AnyText, datetime.datetime: UtcTime}  # noqa: RUF012 - as documented


class CellRow(Base):
    """A `harness.records.history.Cell`."""

    __tablename__ = "cells"

    id: Mapped[str] = mapped_column(primary_key=True)
    kernel: Mapped[str]
    series: Mapped[str]
    config: Mapped[str]
    machine: Mapped[str]
    accel: Mapped[str]
    probes: Mapped[str]


class RunRow(Base):
    """A `harness.records.history.PastRun`, and all of its record."""

    __tablename__ = "runs"
    __table_args__ = (Index("runs_by_cell", "cell_id", "started"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    cell_id: Mapped[str | None] = mapped_column(ForeignKey("cells.id"))
    started: Mapped[datetime.datetime] = mapped_column(index=True)
    seconds: Mapped[float]
    build_seconds: Mapped[float]
    verdict: Mapped[str]
    outcome: Mapped[str]
    exit_code: Mapped[int]
    reason: Mapped[str]
    release: Mapped[str]
    origin: Mapped[str]
    kernel_key: Mapped[str]
    campaign: Mapped[str]
    run_dir: Mapped[str]
    #: That the directory is on; empty where it is not known.
    host: Mapped[str] = mapped_column(server_default="")
    #: ``result.json``, compressed by zlib.
    record: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)


class BenchRow(Base):
    """A `harness.records.bench.Bench`."""

    __tablename__ = "benchmarks"

    id: Mapped[int] = mapped_column(primary_key=True)
    started: Mapped[datetime.datetime] = mapped_column(index=True)
    host: Mapped[str]
    kernel: Mapped[str]
    accel: Mapped[str]
    #: As JSON.
    record: Mapped[str] = mapped_column(deferred=True)


class ResultRow(Base):
    """A `harness.records.history.PastResult`."""

    __tablename__ = "results"
    __table_args__ = (Index("results_by_cell", "cell_id", "name"),)

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True, index=True)
    cell_id: Mapped[str | None] = mapped_column(ForeignKey("cells.id"))
    status: Mapped[str]
    good: Mapped[int]
    bad: Mapped[int]
    seconds: Mapped[float]
    reason: Mapped[str]
    known_issues: Mapped[list[str]] = mapped_column(JSON)
