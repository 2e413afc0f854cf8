# SPDX-License-Identifier: GPL-2.0-only
"""Several runs of the study: the run is the observation, and counts must agree."""

from __future__ import annotations

from typing import Any

import pytest

from harness.records.machine import AccelChoice
from harness.records.study import PostcopyRounds, PostcopyStudy
from harness.report import study as report
from harness.study import postcopy, rounds
from tests.unit.study.test_postcopy import FIGURES, TRACKED, of_all

WHOLE = FIGURES.replace("split", "huge").replace("unit=4096", "unit=8192")
KVM = AccelChoice(name="kvm", reason="it works", cpu="host")


def run(split: int, whole: int, *, figures: str = FIGURES, **fields: Any) -> PostcopyStudy:
    """Return the study of a run whose accesses fell into these cells of the histogram."""
    outputs = {
        "baseline/postcopy/2M": (f"{WHOLE}\ntimes: step=access cells={whole}:5",),
        "hgm/postcopy/2M": (f"{figures}\ntimes: step=access cells={split}:5",),
        "hgm/precopy/2M": (TRACKED,),
    }
    fields = {"accel": KVM, **fields}
    return of_all(outputs, **fields)


def five(**fields: Any) -> PostcopyRounds:
    return rounds.combine([run(100 + i, 200 + i, **fields) for i in range(5)])


def test_rounds_after_the_first_measure_times_in_one_order_and_the_other() -> None:
    first, back, there = postcopy.rounds(3, ["--uffds", "2"])
    assert first == postcopy.probes(["--uffds", "2"])
    assert first[: len(there)] == there == back[::-1]
    assert {name.partition(" ")[0] for name in set(first) - set(there)} == {
        "baseline/reclaimed",
        "baseline/fragmented",
    }


def test_times_are_compared_run_by_run_with_those_of_split_memory() -> None:
    found = five()
    assert (found.verdict, found.exit_code) == ("PASS", 0)
    assert found.reference == "hugetlb 2M, split"
    whole, split = found.times
    assert (whole.memory, split.memory) == ("hugetlb 2M, whole", "hugetlb 2M, split")
    assert len(whole.medians) == len(split.medians) == 5
    assert (split.ratio, split.p) == (None, None)
    assert whole.p == pytest.approx(2 / 252)  # of the ways to draw 5 of 10
    assert whole.ratio is not None
    assert whole.ratio > 10
    assert found.level == pytest.approx(0.05)
    assert found.rounds_needed == 4


def test_the_table_compares_only_what_was_not_emulated() -> None:
    text = "\n".join(report.rounds(five()))
    assert "against hugetlb 2M, split" in text
    assert "0.0079" in text
    assert "Accesses that waited for a unit, medians of 5 runs" in text
    slow = five(accel=AccelChoice(name="tcg", reason="no KVM", cpu="max"))
    assert slow.reference == ""
    assert [(each.ratio, each.p) for each in slow.times] == [(None, None)] * 2
    emulated = "\n".join(report.rounds(slow))
    assert "against" not in emulated
    assert "emulated, they compare neither memories nor kernels" in emulated
    assert text.count("record /runs/one") == 5


def test_too_few_rounds_say_how_many_are_needed() -> None:
    found = rounds.combine([run(100, 200), run(101, 201)])
    assert "2 are too few to compare them, use --rounds 4" in "\n".join(report.rounds(found))


def test_counts_that_differ_fail_and_name_the_run() -> None:
    other = run(100, 200, figures=FIGURES.replace("touched=8192", "touched=4096"))
    found = rounds.combine([run(100, 200), other])
    assert (found.verdict, found.exit_code) == ("FAIL", 1)
    assert found.reason == (
        "/runs/one: hgm/postcopy/2M, uniform: 8192 bytes moved of 4096 touched, and 8192 bytes "
        "moved of 8192 touched in the first run"
    )


def test_what_a_push_moves_may_differ() -> None:
    pushed = FIGURES.replace("uniform", "uniform+push")
    more = pushed.replace("touched=8192", "touched=4096")
    found = rounds.combine([run(100, 200, figures=pushed), run(100, 200, figures=more)])
    assert found.verdict == "PASS"


def test_a_run_that_failed_is_the_verdict() -> None:
    failed = run(100, 200, verdict="FAIL", exit_code=1, reason="hgm/postcopy/2M FAIL: page 3")
    found = rounds.combine([run(100, 200), failed])
    assert (found.verdict, found.exit_code) == ("FAIL", 1)
    assert found.reason == "/runs/one: hgm/postcopy/2M FAIL: page 3"
