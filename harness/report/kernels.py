# SPDX-License-Identifier: GPL-2.0-only
"""The result of `hgm kernel list` as text."""

from __future__ import annotations

from collections.abc import Iterator

from harness.kernel.available import Available, SourceVersion
from harness.report import columns

_TAKEN = {"now": "taken", "by fetch": "taken after `hgm kernel fetch`"}


def lines(found: Available) -> Iterator[str]:
    """Yield package, version, suites and remarks, a line for each version."""
    rows = [(one.package, one.version, _suites(one), _remarks(one)) for one in found.versions]
    yield from columns.lines(rows)


def _suites(one: SourceVersion) -> str:
    return ", ".join(one.suites) or "no suite any more"


def _remarks(one: SourceVersion) -> str:
    remarks = [_TAKEN[one.taken]] if one.taken else []
    return ", ".join([*remarks, "in the cache"] if one.cached else remarks)
