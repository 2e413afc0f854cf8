# SPDX-License-Identifier: GPL-2.0-only
"""Benchmarks as text and as a picture."""

import xml.etree.ElementTree as ET

import pytest
from msgspec.structs import replace

from harness.errors import UserError
from harness.records.bench import Bench, BenchPart
from harness.report import bench as report
from tests.unit.report.benches import BENCH, RATIO


def earlier(*benches: tuple[float, ...]) -> dict[str, list[Bench]]:
    """Earlier benchmarks with these times to compare with, newest first."""
    found = []
    for number, seconds in enumerate(benches):
        ratio = replace(RATIO, seconds=seconds, base_seconds=RATIO.base_seconds[: len(seconds)])
        parts = (BenchPart(name="snapshot", ratios=(ratio,)),)
        found.append(replace(BENCH, started=f"2026-11-{20 - number}T20:00:00+00:00", parts=parts))
    return {"snapshot": found}


def test_a_ratio_stands_beside_its_aim_and_that_of_the_last_time() -> None:
    assert list(report.lines(BENCH, earlier((1.4, 1.4, 1.4)))) == [
        "2026-11-28T20:00:00+00:00, here, 2 CPUs, Python 3.11.2, load 0.1",
        "debian:linux-source-6.12, series hgm-6.12, tcg",
        "",
        "snapshot",
        "  hgm run, to the verdict  median 1.00 s  (1.00, 1.20, 0.90)",
        "  bare boot                median 2.00 s  (2.00, 2.50, 2.00)",
        "  ratio 0.50 (medians of 3 rounds, in turn); the aim is at most 0.8; 0.70 on 2026-11-20",
        "",
        "virtme: virtme-ng is not installed",
    ]


@pytest.mark.parametrize(
    ("benches", "said"),
    [
        ([(0.8, 1.1, 0.9), (4.0, 4.0, 4.0)], "slower than 0.45 (0.40 to 0.45) on 2026-11-20"),
        ([(0.8, 1.1, 1.0)], "0.50 on 2026-11-20"),
        ([(0.8,), (0.7,)], "0.40 on 2026-11-20"),  # too few to have a spread
        ([(0.8,), (0.7,), (0.9,)], "slower than 0.40 (0.35 to 0.45) on 2026-11-20"),
        ([(0.8,), (0.7,), (1.1,)], "0.40 on 2026-11-20"),
    ],
)
def test_a_ratio_above_all_earlier_rounds_is_slower(
    benches: list[tuple[float, ...]], said: str
) -> None:
    (line,) = (each for each in report.lines(BENCH, earlier(*benches)) if "ratio" in each)
    assert line.endswith(f"; {said}")


def test_a_part_that_failed_says_why_and_outweighs_a_missed_aim() -> None:
    missed = BenchPart(name="boot", ratios=(replace(RATIO, at_most=0.1),))
    failed = replace(BENCH, parts=(missed, BenchPart(name="set", error="QEMU died; log: x")))
    assert "set: failed: QEMU died; log: x" in report.lines(failed, {})
    assert failed.exit_code == 3


def test_memory_is_shown_in_its_unit() -> None:
    first, *_ = report.ratio_lines(replace(RATIO, unit="MB"))
    assert first == "hgm run, to the verdict  median 1.00 MB  (1.00, 1.20, 0.90)"


def test_a_busy_host_is_named() -> None:
    busy = replace(BENCH, load=3.2)
    line = "something else ran on this host: a load of 3.2 when it began"
    assert line in report.lines(busy, {})
    assert line not in report.lines(BENCH, {})


@pytest.mark.parametrize(("seconds", "code"), [((1.6, 2.0), 0), ((1.7, 2.0), 1)])
def test_an_aim_is_missed_above_it(seconds: tuple[float, float], code: int) -> None:
    ratio = replace(RATIO, seconds=seconds[:1], base_seconds=seconds[1:])
    assert replace(BENCH, parts=(BenchPart(name="boot", ratios=(ratio,)),)).exit_code == code
    unaimed = replace(ratio, at_most=None)
    assert replace(BENCH, parts=(BenchPart(name="boot", ratios=(unaimed,)),)).exit_code == 0


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
