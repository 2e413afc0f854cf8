# SPDX-License-Identifier: GPL-2.0-only
"""The base of every record, and its JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every record: immutable, compared by value, keyword arguments only."""


AnyRecord = TypeVar("AnyRecord", bound=Record)


def to_json(record: Record) -> bytes:
    """Return a record as indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def from_json(data: bytes, kind: type[AnyRecord]) -> AnyRecord:
    """Return the record that `to_json` wrote.

    Raises:
        msgspec.DecodeError: if the data is not JSON, or not such a record.
    """
    return msgspec.json.decode(data, type=kind)


def read_json(path: Path, kind: type[AnyRecord]) -> AnyRecord | None:
    """Return the record in a file; None if there is none, or another version's."""
    try:
        return from_json(path.read_bytes(), kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
