# SPDX-License-Identifier: GPL-2.0-only
"""Histograms of the C probes: what is one, and the percentiles of it."""

from __future__ import annotations

import pytest

from harness.study import histogram


@pytest.mark.parametrize(
    ("text", "percent", "ns"),
    [
        ("3:1", 50, 4),
        ("15:1", 100, 16),
        ("16:1", 100, 17),
        ("31:1", 100, 32),
        ("32:1", 100, 34),
        ("111:1", 100, 1024),  # 992 to 1023
        ("111:99,250:1", 50, 1024),
        ("111:99,250:1", 99, 1024),
        ("111:99,250:1", 99.9, (16 + 251 % 16) << (251 // 16 - 1)),
        ("639:1", 100, 16 << 39),
    ],
)
def test_a_percentile_is_the_end_of_its_cell(text: str, percent: float, ns: int) -> None:
    assert histogram.percentile(histogram.parse(text), percent) == ns


@pytest.mark.parametrize(
    "text", ["", "1", "1:", "1:0", "2:1,1:1", "1:1,1:1", "640:1", "1:1,", "-1:1", "1:1\n", "²:1"]
)
def test_other_text_is_not_a_histogram(text: str) -> None:
    with pytest.raises(ValueError, match=r"CELL:COUNT|not in order"):
        histogram.parse(text)


def test_shares_begin_at_none_and_end_at_all() -> None:
    assert histogram.shares(((3, 1), (16, 3))) == [(3, 0.0), (4, 0.25), (17, 1.0)]
    assert histogram.shares(()) == []
