# SPDX-License-Identifier: GPL-2.0-only
"""A status and its reason on the way to a result, and the words that every judge uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.judge.lines import clean, short
from harness.records.probe import Status, Subtest


class PartialVerdict(NamedTuple):
    """A status and its reason, on the way to a `ProbeResult`."""

    status: Status
    reason: str


def failed(bad: Sequence[Subtest], code: int) -> str:
    """Return the reason that results which are ``not ok`` make; there is at least one."""
    first = bad[0]
    # A parent fails with its child; counting it would count one fault twice.
    leaves = [s for s in bad[1:] if not first.name.startswith(f"{s.name} > ")]
    more = f" (and {len(leaves)} more)" if leaves else ""
    why = f": {first.reason}" if first.reason else ""
    odd = "; yet exit code 0" if code == 0 else ""
    return f"{first.name}{more}{why}{odd}"


def aside(stderr: str) -> str:
    """Return the last line of standard error, ready to stand behind a reason."""
    last = last_line(stderr)
    return f"; stderr: {short(last, 120)}" if last else ""


def last_line(text: str) -> str:
    """Return the last line that says anything, or nothing."""
    lines = [line.strip() for line in map(clean, text.split("\n")) if line.strip()]
    return lines[-1] if lines else ""
