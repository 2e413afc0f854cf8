# SPDX-License-Identifier: GPL-2.0-only
"""The base of every record, and its JSON."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TypeVar

import msgspec

#: The architecture of guests in records that do not name one: they are from before the second.
FIRST_ARCH = "x86_64"

# msgspec 0.22 crashes where two threads use a type for the first time at once.
_decoding = threading.Lock()


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every record: immutable, compared by value, keyword arguments only."""


AnyRecord = TypeVar("AnyRecord", bound=Record)
AnyType = TypeVar("AnyType")


def decode(data: bytes, kind: type[AnyType]) -> AnyType:
    """Return what JSON has, in any thread.

    Raises:
        msgspec.DecodeError: if the data is not JSON, or not of this type.
    """
    with _decoding:
        return msgspec.json.decode(data, type=kind)


def to_json(record: Record) -> bytes:
    """Return a record as indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def from_json(data: bytes, kind: type[AnyRecord]) -> AnyRecord:
    """Return the record that `to_json` wrote.

    Raises:
        msgspec.DecodeError: if the data is not JSON, or not such a record.
    """
    return decode(data, kind)


def read_json(path: Path, kind: type[AnyRecord]) -> AnyRecord | None:
    """Return the record in a file; None if there is none, or another version's."""
    try:
        return from_json(path.read_bytes(), kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
