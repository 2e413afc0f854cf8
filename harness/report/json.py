# SPDX-License-Identifier: GPL-2.0-only
"""A record as JSON, for programs."""

from __future__ import annotations

from typing import TextIO

from harness.records.base import Record, to_json


def write(record: Record, stream: TextIO) -> None:
    """Write a record, such as ``result.json`` of a run."""
    stream.write(to_json(record).decode())
    stream.flush()
