# SPDX-License-Identifier: GPL-2.0-only
"""The benchmark of the site says what is above its limit."""

from __future__ import annotations

import pytest

from harness.selfcheck.bench_report import ONE_MORE, UNCHANGED, WHOLE, Measured, ReportBench


@pytest.mark.parametrize(
    ("whole", "one_more", "size", "exceeded"),
    [
        (59.9, 4.9, 999_999, []),
        (60.1, 4.9, 999_999, ["whole: 60.1 s, above the limit of 60 s"]),
        (59.9, 5.1, 999_999, ["one more run: 5.1 s, above the limit of 5 s"]),
        (59.9, 4.9, 1_230_000, ["index.html: 1.23 MB, above the limit of 1 MB"]),
    ],
)
def test_what_is_above_a_limit_is_told(
    whole: float, one_more: float, size: int, exceeded: list[str]
) -> None:
    took = {WHOLE: whole, UNCHANGED: 1000.0, ONE_MORE: one_more}
    builds = tuple(Measured(what, wall, wall, 1) for what, wall in took.items())
    found = ReportBench(10_000, 100, builds, size, 13_000, 300_000_000)
    assert found.exceeded() == exceeded
    assert found.text().splitlines()[6:] == exceeded
