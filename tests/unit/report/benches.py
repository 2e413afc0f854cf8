# SPDX-License-Identifier: GPL-2.0-only
"""A benchmark, for tests."""

from harness.records.bench import Bench, BenchPart, Ratio

RATIO = Ratio(
    what="hgm run, to the verdict",
    base="bare boot",
    seconds=(1.0, 1.2, 0.9),
    base_seconds=(2.0, 2.5, 2.0),
    at_most=0.8,
)
BENCH = Bench(
    started="2026-11-28T20:00:00+00:00",
    harness="0.2.0",
    host="here, 2 CPUs, Python 3.11.2",
    load=0.1,
    kernel="debian:linux-source-6.12, series hgm-6.12",
    accel="tcg",
    parts=(
        BenchPart(name="snapshot", ratios=(RATIO,)),
        BenchPart(name="virtme", absent="virtme-ng is not installed"),
    ),
)
