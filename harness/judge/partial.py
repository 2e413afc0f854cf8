# SPDX-License-Identifier: GPL-2.0-only
"""A status with its reason, before it becomes a result, and the wording that reasons share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.judge.lines import clean, short
from harness.records.probe import Status, Subtest


class PartialVerdict(NamedTuple):
    """A status and its reason; the rest of a `ProbeResult` is added to it."""

    status: Status
    reason: str


def failed(bad: Sequence[Subtest], code: int) -> str:
    """Return the reason for results that are ``not ok``; there is at least one."""
    first = bad[0]
    # A parent fails with its child; counting it would count one fault twice.
    leaves = [s for s in bad if not first.name.startswith(f"{s.name} > ")]
    why = f": {first.reason}" if first.reason else ""
    odd = ", but exit code 0" if code == 0 else ""
    return f"{first.name}{and_more(leaves, 1)}{why}{odd}"


def and_more(items: Sequence[object], shown: int) -> str:
    """Return `` (and 2 more)`` where there are more items than are shown, else nothing."""
    return f" (and {len(items) - shown} more)" if len(items) > shown else ""


def stderr_note(stderr: str) -> str:
    """Return the last line of standard error, to be appended to a reason; empty without any."""
    last = last_line(stderr)
    return f"; stderr: {short(last, 120)}" if last else ""


def last_line(text: str) -> str:
    """Return the last line that is not blank, or nothing."""
    lines = [line.strip() for line in map(clean, text.split("\n")) if line.strip()]
    return lines[-1] if lines else ""
