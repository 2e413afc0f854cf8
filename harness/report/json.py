# SPDX-License-Identifier: GPL-2.0-only
"""A record as a program wants it: JSON, and nothing else, on standard output."""

from __future__ import annotations

from typing import TextIO

from harness.records.base import Record, to_json


def write(record: Record, stream: TextIO) -> None:
    """Write a record; that of a run is what ``result.json`` holds."""
    stream.write(to_json(record).decode())
    stream.flush()
