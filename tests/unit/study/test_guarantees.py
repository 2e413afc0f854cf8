# SPDX-License-Identifier: GPL-2.0-only
"""What each memory guarantees: each cell from a result, and none without one."""

from __future__ import annotations

import pytest

from harness.records.machine import MachineSpec
from harness.records.study import FragmentedFigures, Guarantee
from harness.sizes import parse_size
from harness.study import guarantees
from tests.unit.study.test_postcopy import FIGURES, TRACKED, of, of_all

HAD = "fragmented: memory={} size=2097152 mapped={} got={} wanted=4"
LEFT = (
    "reclaimed: backing={} size=2097152 by={} error=success "
    "memory=8388608 resident={} huge=0 read=0"
)


def only(*tests: str, name: str, status: str = "PASS") -> Guarantee:
    (found,) = of(*tests, name=name, status=status).guarantees
    return found


def test_post_copy_says_whether_a_fault_moves_a_base_page_and_what_makes_it_huge_again() -> None:
    collapsed = f"{FIGURES}\ncollapse: bytes=8192 ns=5"
    split = only(FIGURES, collapsed, name="hgm/postcopy/1G")
    assert (split.memory, split.faults) == ("hugetlb 1G, split", "yes")
    assert split.collapse == "MADV_COLLAPSE"
    assert {split.reserved, split.fragmented, split.reclaim, split.tracking} == {"not tested"}
    figures = FIGURES.replace("split", "huge").replace("unit=4096", "unit=2097152")
    whole = only(figures.replace("moved=8192", "moved=2097152"), name="baseline/postcopy/2M")
    assert (whole.faults, whole.collapse) == ("no, 2 MiB", "stays huge")
    assert only(FIGURES.replace("touched=8192", "touched=4096"), name="hgm/postcopy/1G").faults == (
        "no"
    )


@pytest.mark.parametrize(
    ("replaced", "says"),
    [
        (("reported=12288", "reported=8192"), "yes: async"),
        (("reported=12288", "reported=12288"), "no, more than was written"),
        (("grain=4096", "grain=1073741824"), "no, 1 GiB"),
    ],
)
def test_dirty_tracking_is_by_base_pages_where_it_is_exact(
    replaced: tuple[str, str], says: str
) -> None:
    assert only(TRACKED.replace(*replaced), name="hgm/precopy/1G").tracking == says


def test_a_method_that_is_coarse_is_named_beside_one_that_is_exact() -> None:
    exact = TRACKED.replace("reported=12288", "reported=8192")
    coarse = TRACKED.replace("async", "sync")
    assert only(exact, coarse, name="hgm/precopy/1G").tracking == "yes: async; no: sync"


def test_writes_that_go_on_and_a_push_say_nothing_of_exactness() -> None:
    live = TRACKED.replace("zipf", "zipf+live")
    assert only(live, name="hgm/precopy/1G").tracking == "not tested"
    pushed = FIGURES.replace("uniform", "uniform+push").replace("touched=8192", "touched=4096")
    assert only(pushed, name="hgm/postcopy/1G").faults == "yes"


def test_a_probe_that_failed_is_no_guarantee() -> None:
    failed = only(FIGURES, name="hgm/postcopy/1G", status="HANG")
    assert (failed.faults, failed.tracking, failed.collapse) == ("HANG", "not tested", "HANG")
    failed = only(TRACKED, name="hgm/precopy/1G", status="FAIL")
    assert (failed.faults, failed.tracking) == ("not tested", "FAIL")


def test_beside_a_known_issue_the_tests_that_passed_count() -> None:
    exact = TRACKED.replace("reported=12288", "reported=8192")
    assert only(exact, name="hgm/precopy/1G", status="KNOWN").tracking == "yes: async"


def test_what_could_be_had_in_fragmented_memory_has_lines_of_its_own() -> None:
    lines = [
        HAD.format("pool", "before", 4),
        HAD.format("run-time", "after", 0),
        HAD.format("run-time", "movable", 3),
        HAD.format("run-time", "unmovable", 2),
    ]
    found = of("\n".join(lines), name="baseline/fragmented/2M")
    assert [(each.memory, each.reserved, each.fragmented) for each in found.guarantees] == [
        (
            "hugetlb 2M, added at run time",
            "no",
            "0 of 4; 2 beside kernel pages; 3 beside movable pages",
        ),
    ]
    assert len(found.fragmented) == 4


@pytest.mark.parametrize("size", ["64K", "32M", "512M", "1G"])
def test_added_pages_are_named_by_their_size(size: str) -> None:
    line = HAD.format("run-time", "after", 0)
    line = line.replace("2097152", str(parse_size(size, "a size")))
    (found,) = of(line, name=f"baseline/fragmented/{size}").guarantees
    assert found.memory == f"hugetlb {size}, added at run time"


def test_anonymous_memory_has_what_its_probes_and_that_of_fragmentation_say() -> None:
    figures = FIGURES.replace("backing=split", "backing=thp")
    outputs = {
        "baseline/postcopy-anonymous-thp/2M": (f"{figures}\ncollapse: bytes=8192 ns=5",),
        "baseline/fragmented/2M": (
            HAD.format("thp", "before", 0) + "\n" + HAD.format("thp", "after", 1),
        ),
        "baseline/reclaimed/2M": (LEFT.format("thp", "MADV_PAGEOUT", 0),),
    }
    (found,) = of_all(outputs).guarantees
    assert (found.memory, found.reserved, found.fragmented) == ("anonymous THP", "0 of 4", "1 of 4")
    assert (found.faults, found.collapse) == ("yes", "MADV_COLLAPSE")
    assert (found.reclaim, found.tracking) == ("taken by MADV_PAGEOUT", "not tested")


def test_pages_of_1_gib_that_are_added_come_out_of_cma() -> None:
    line = HAD.format("run-time", "after", 0).replace("2097152", "1073741824")
    machine = MachineSpec(hugepages=(), memory=2**30, hugetlb_cma=True)
    (found,) = of(line, name="baseline/fragmented/1G", machine=machine).guarantees
    assert (found.memory, found.fragmented) == ("hugetlb 1G, added at run time, CMA", "0 of 4")


@pytest.mark.parametrize(
    ("resident", "says"),
    [
        ((8388608, 8388608), "stays"),
        ((8388608, 4096), "taken by memory.high"),
        ((0, 4096), "taken by MADV_PAGEOUT, memory.high"),
    ],
)
def test_reclaim_is_named_by_which_memory_does_not_stay(
    resident: tuple[int, int], says: str
) -> None:
    tests = [
        LEFT.format("shmem", by, left)
        for by, left in zip(("MADV_PAGEOUT", "memory.high"), resident, strict=True)
    ]
    other = LEFT.format("huge", "MADV_PAGEOUT", 0)
    outputs = {"baseline/reclaimed/2M": (*tests, other), "baseline/postcopy-shmem/2M": (FIGURES,)}
    (shmem,) = of_all(outputs).guarantees
    assert (shmem.memory, shmem.reclaim) == ("shmem", says)


def test_a_probe_of_reclaim_that_failed_says_nothing_for_any_memory() -> None:
    outputs = {"baseline/reclaimed/2M": (LEFT.format("huge", "memory.high", 8388608),)}
    found = of_all(outputs | {"baseline/postcopy/2M": ()}, "FAIL").guarantees
    assert [each.reclaim for each in found] == ["FAIL"]


@pytest.mark.parametrize(
    "line",
    [
        "",
        LEFT.format("shmem", "nothing", 0),
        LEFT.format("shmem", "memory.high", 8388609),
        "\n".join([LEFT.format("shmem", "memory.high", 0)] * 2),
    ],
)
def test_reclaim_without_credible_figures_fails_the_study(line: str) -> None:
    found = of(line, name="baseline/reclaimed/2M")
    assert (found.verdict, found.exit_code, found.reclaimed) == ("FAIL", 1, ())


def test_a_memory_that_the_kernel_does_not_have_has_no_share_in_the_pool() -> None:
    figures = (FragmentedFigures(memory="pool", size=2**21, mapped="after", got=4, wanted=4),)
    memories = {
        "split": guarantees.Tested(backing="split", size=2**21),
        "whole": guarantees.Tested(
            backing="huge",
            size=2**21,
            precopy=(of(TRACKED, name="hgm/precopy/1G").precopy[0].figures,),
        ),
    }
    found = guarantees.table(memories, figures, cma=False)
    assert [each.fragmented for each in found] == ["not tested", "4 of 4"]


@pytest.mark.parametrize("line", ["", HAD.format("pool", "before", 5), HAD.format("pool", "x", 4)])
def test_fragmented_memory_without_credible_figures_fails_the_study(line: str) -> None:
    found = of(line, name="baseline/fragmented/2M")
    assert (found.verdict, found.exit_code, found.fragmented) == ("FAIL", 1, ())
