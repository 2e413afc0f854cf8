# SPDX-License-Identifier: GPL-2.0-only
"""Runs and their results as the history has them, for the tests of the pages' models."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from harness.records.history import Mark, PastRun
from harness.records.probe import Status
from harness.site.past import Nights
from harness.site.words import run_link
from harness.store.history import extract
from tests.unit.store.pasts import night


def run(number: int, key: str = "") -> PastRun:
    """Return the run of a night."""
    record = night(number, {"a/x/1G": "PASS"}, key=key)
    return extract.run_of(record, record.run_dir)


def mark(status: Status | None, seconds: float = 1.0) -> Mark | None:
    """Return a result; None for none."""
    if status is None:
        return None
    good, bad = int(status == "PASS"), int(status in ("FAIL", "CRASH", "HANG", "KNOWN"))
    return Mark(status, good, bad, seconds, "" if status == "PASS" else f"{status} for a reason")


def nights(tests: dict[str, Sequence[Status | None]], key: str = "") -> Nights:
    """Return the nights of one cell.

    Args:
        tests: how each test ended, one a night.
        key: of the kernel of all nights; by default each has another one.
    """
    count = max(map(len, tests.values()))
    runs = tuple(run(number, key) for number in range(count))
    cell = runs[0].cell
    assert cell is not None
    marks = {name: tuple(map(mark, statuses)) for name, statuses in tests.items()}
    return Nights(cell, runs, tuple(map(run_link, runs)), marks)


def other_cell(found: Nights) -> Nights:
    """Return the same nights of another configuration."""
    return found._replace(cell=msgspec.structs.replace(found.cell, config="base+debug"))
