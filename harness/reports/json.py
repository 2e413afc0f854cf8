# SPDX-License-Identifier: GPL-2.0-only
"""The record as a program wants it: ``result.json``, and nothing else, on standard output."""

from __future__ import annotations

from typing import TextIO

from harness.records import RunRecord, to_json


def write(record: RunRecord, stream: TextIO) -> None:
    """Write what ``result.json`` holds."""
    stream.write(to_json(record).decode())
    stream.flush()
