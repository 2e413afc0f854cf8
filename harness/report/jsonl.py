# SPDX-License-Identifier: GPL-2.0-only
"""A run as JSON Lines: its record without the probes, then each probe, an object a line.

Each line has a ``type`` (``run`` or ``probe``) and the ``run`` it belongs to; the other fields are
those of ``result.json``. All characters are ASCII, so that no reader takes one for a line break.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from harness.records.base import Record
from harness.records.run import RunRecord
from harness.report.text import run_name


def lines(record: RunRecord) -> Iterator[str]:
    """Yield the lines, without their ends."""
    run = run_name(record)
    yield _line("run", run, msgspec.structs.replace(record, probes=()), without="probes")
    yield from (_line("probe", run, probe) for probe in record.probes)


def _line(kind: str, run: str, record: Record, without: str = "") -> str:
    fields: dict[str, Any] = msgspec.to_builtins(record)
    fields.pop(without, None)
    return json.dumps({"type": kind, "run": run, **fields}, separators=(",", ":"))
