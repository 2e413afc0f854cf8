# SPDX-License-Identifier: GPL-2.0-only
"""Benchmarks as text and as a picture."""

import xml.etree.ElementTree as ET

import pytest
from msgspec.structs import replace

from harness.errors import UserError
from harness.records.bench import BenchPart
from harness.report import bench as report
from tests.unit.report.benches import BENCH, RATIO


def test_a_ratio_stands_beside_its_aim_and_that_of_the_last_time() -> None:
    before = replace(
        BENCH,
        started="2026-11-01T20:00:00+00:00",
        parts=(BenchPart(name="snapshot", ratios=(replace(RATIO, seconds=(1.4, 1.4, 1.4)),)),),
    )
    assert list(report.lines(BENCH, before)) == [
        "2026-11-28T20:00:00+00:00, here, 2 CPUs, Python 3.11.2, load 0.1",
        "debian:linux-source-6.12, series hgm-6.12, tcg",
        "",
        "snapshot",
        "  hgm run, to the verdict  median 1.00 s  (1.00, 1.20, 0.90)",
        "  bare boot                median 2.00 s  (2.00, 2.50, 2.00)",
        "  ratio 0.50 (medians of 3 rounds, in turn); the aim is at most 0.8; 0.70 on 2026-11-01",
        "",
        "virtme: virtme-ng is not installed",
    ]


def test_a_busy_host_is_named() -> None:
    busy = replace(BENCH, load=3.2)
    line = "something else ran on this host: a load of 3.2 when it began"
    assert line in report.lines(busy, None)
    assert line not in report.lines(BENCH, None)


@pytest.mark.parametrize(("seconds", "missed"), [((1.6, 2.0), False), ((1.7, 2.0), True)])
def test_an_aim_is_missed_above_it(seconds: tuple[float, float], missed: bool) -> None:
    ratio = replace(RATIO, seconds=seconds[:1], base_seconds=seconds[1:])
    assert replace(BENCH, parts=(BenchPart(name="boot", ratios=(ratio,)),)).missed is missed
    unaimed = replace(ratio, at_most=None)
    assert not replace(BENCH, parts=(BenchPart(name="boot", ratios=(unaimed,)),)).missed


def test_the_picture_has_each_ratio() -> None:
    drawn = report.svg(BENCH)
    ET.fromstring(drawn)  # noqa: S314 - made here
    assert "hgm run, to the verdict / bare boot" in drawn
    with pytest.raises(UserError, match="nothing was measured"):
        report.svg(replace(BENCH, parts=()))


def test_the_aim_of_an_edit_is_in_seconds() -> None:
    one = replace(RATIO, seconds=(4.0,), base_seconds=(1.5,), at_most=None)
    *_, last = report.edit_lines(one, one)
    assert last == "added 2.5 s (median; 2.5); the aim is at most 3"
