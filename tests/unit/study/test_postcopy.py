# SPDX-License-Identifier: GPL-2.0-only
"""The post-copy study: figures from a probe's output, doubts about them, and the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import pytest

from harness.probes import catalog
from harness.records.machine import AccelChoice, MachineSpec
from harness.records.outcome import Outcome
from harness.records.probe import ProbeResult
from harness.records.run import RunRecord
from harness.records.study import LinkModel, PostcopyStudy
from harness.report import study as report
from harness.study import drawing, postcopy

LINK = LinkModel(round_trip_us=50.0, gbit=10.0)
PROBE = "hgm/postcopy/1G"
FIGURES = (
    "postcopy: backing=split pattern=uniform unit=4096 memory=1073741824 touched=8192 faults=3 "
    "again=0 moved=8192"
)

TRACKED = (
    "precopy: backing=split method=async pattern=zipf grain=4096 memory=1073741824 rounds=2 "
    "written=8192 reported=12288 messages=0 arm_ns=50000 write_ns=4000 scan_ns=6000"
)


def of(*tests: str, status: str = "PASS", name: str = PROBE, **fields: object) -> PostcopyStudy:
    """Return the study of a run with one probe, whose tests print these lines before they pass."""
    return of_all({name: tests}, status, **fields)


def of_all(
    outputs: Mapping[str, Sequence[str]], status: str = "PASS", **fields: object
) -> PostcopyStudy:
    """Return the study of a run of several probes, with what their tests print."""
    record = RunRecord(
        verdict="PASS",
        outcome=Outcome.PROBES_RAN,
        exit_code=0,
        reason="1 probe passed",
        run_dir="/runs/one",
        machine=MachineSpec(hugepages=(), memory=2**30),
        accel=AccelChoice(name="tcg", reason="no KVM", cpu="max"),
        probes=(
            *(
                msgspec.convert({"name": name, "status": status, "reason": "why"}, ProbeResult)
                for name in outputs
            ),
            ProbeResult(name="hgm/postcopy-py/1G", status="PASS"),
        ),
    )
    record = msgspec.structs.replace(record, **fields)
    printed = {name: _ktap(tests) for name, tests in outputs.items()}
    return postcopy.study(record, printed, LINK)


def _ktap(tests: Sequence[str]) -> str:
    results = "".join(
        "".join(f"# {line}\n" for line in text.splitlines()) + f"ok {number} test {number}\n"
        for number, text in enumerate(tests, 1)
    )
    return f"KTAP version 1\n1..{len(tests)}\n{results}"


def test_a_row_has_the_figures_and_what_follows_from_them() -> None:
    found = of("something else\n" + FIGURES)
    (row,) = found.rows
    assert (row.probe, row.figures.unit, row.figures.faults) == (PROBE, 4096, 3)
    assert row.amplification == 1.0
    assert row.fetch_seconds == pytest.approx(50e-6 + 4096 * 8 / 10e9)
    assert (found.verdict, found.exit_code, found.reason) == ("PASS", 0, "1 probe passed")
    assert found.absent == ()


def test_a_row_keeps_the_histograms_whole_and_leaves_out_what_is_none() -> None:
    lines = (
        "step=read cells=3:1",
        "step=wait cells=3:1",
        "step=fetch cells=3:0",
        "step=access cells=",
    )
    (row,) = of("\n".join([FIGURES, *(f"times: {line}" for line in lines)])).rows
    (times,) = row.times
    assert (times.step, times.cells, times.p50, times.longest) == ("read", ((3, 1),), 4, 4)


def test_a_row_has_what_came_when_and_what_reads_took_afterwards() -> None:
    lines = (
        "residence: points=4096:1000,8192:3000000",
        "collapse: bytes=1073741824 ns=7000",
        "afterwards: mapping=base reads=10 ns=100,300,200",
        "afterwards: mapping=huge reads=10 ns=50",
        "afterwards: mapping=other reads=10 ns=50",
        "residence: points=1:-1",
    )
    found = of("\n".join([FIGURES + " threads=8 readers=1 uffds=2", *lines]))
    (row,) = found.rows
    assert [(each.moved, each.ns) for each in row.residence] == [(4096, 1000), (8192, 3000000)]
    assert row.collapse_ns == 7000
    assert [(each.mapping, each.median) for each in row.afterwards] == [("base", 20), ("huge", 5)]
    text = "\n".join(report.lines(found))
    assert "8 threads touch the memory, 1 reader for each of 2 userfaultfds" in text
    assert "8 KiB  1 us  3 ms" in text
    assert "20.0 ns                5.0 ns       7 us" in text
    assert text.index("emulated") < text.index("Until all has arrived")
    assert "hugetlb 1G, split" in drawing.residence(found)
    assert drawing.residence(of(FIGURES)) == ""


def test_the_link_makes_a_whole_gigabyte_wait() -> None:
    assert LINK.seconds(2**30) == pytest.approx(0.859, abs=0.001)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "0 lines of figures"),
        (f"{FIGURES}\n{FIGURES}", "2 lines of figures"),
        (FIGURES.replace("faults=3", "faults=-3"), "0 lines of figures"),
        (FIGURES.replace("faults=3", "faults=<b>"), "0 lines of figures"),
        (FIGURES.replace("backing=split", "backing=\x1b[31m"), "0 lines of figures"),
        (FIGURES.replace(" unit=4096", ""), "0 lines of figures"),
        (FIGURES.replace("moved=8192", "moved=8191"), "are not whole pages"),
        (FIGURES.replace("moved=8192", "moved=4096"), "8192 were touched"),
        (FIGURES.replace("moved=8192", "moved=2147483648"), "2147483648 bytes moved of"),
    ],
)
def test_a_test_that_passed_without_credible_figures_fails_the_study(text: str, says: str) -> None:
    found = of(FIGURES, text)
    assert (found.verdict, found.exit_code) == ("FAIL", 1)
    assert found.reason.startswith(f"{PROBE} > test 2: ")
    assert says in found.reason
    assert len(found.rows) == 1
    assert found.absent[0].reason in found.reason


def test_dirty_tracking_has_a_row_for_each_line_of_figures() -> None:
    found = of(f"{TRACKED}\n{TRACKED.replace('zipf', 'zipf+live')}", name="hgm/precopy/1G")
    assert [row.figures.pattern for row in found.precopy] == ["zipf", "zipf+live"]
    assert [row.amplification for row in found.precopy] == [1.5, 1.5]
    assert (found.rows, found.verdict) == ((), "PASS")
    text = "\n".join(report.lines(found))
    counts, _, times = text.partition("Times; ")
    assert "8 KiB    12 KiB    1.5" in counts
    assert "emulated" in times
    assert "3 us" in times


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "without a line of figures"),
        (FIGURES, "without a line of figures"),
        (TRACKED.replace("written=8192", "written=0"), "without a line of figures"),
        (TRACKED.replace("reported=12288", "reported=4096"), "4096 bytes were reported"),
        (TRACKED.replace("reported=12288", "reported=12289"), "are not whole pages"),
        (TRACKED.replace("memory=1073741824", "memory=4096"), "in 2 rounds of 4096"),
    ],
)
def test_dirty_tracking_that_passed_without_credible_figures_fails_the_study(
    text: str, says: str
) -> None:
    found = of(TRACKED, text, name="hgm/precopy/1G")
    assert (found.verdict, found.exit_code) == ("FAIL", 1)
    assert says in found.reason
    assert len(found.precopy) == 1


def test_a_test_that_the_kernel_cannot_run_is_absent_with_its_reason() -> None:
    found = of(FIGURES)
    output = f"KTAP version 1\n1..2\n# {FIGURES}\nok 1 one\nok 2 two # SKIP no such bit\n"
    record = RunRecord(
        verdict="PASS",
        outcome=Outcome.PROBES_RAN,
        exit_code=0,
        reason="",
        run_dir=found.run_dir,
        probes=(ProbeResult(name=PROBE, status="PASS"),),
    )
    skipped = postcopy.study(record, {PROBE: output}, LINK)
    assert [(each.probe, each.reason) for each in skipped.absent] == [
        (f"{PROBE} > two", "SKIP: no such bit")
    ]
    assert (len(skipped.rows), skipped.exit_code) == (1, 0)


def test_a_probe_that_passed_without_results_fails_the_study() -> None:
    found = of()
    assert (found.verdict, found.exit_code) == ("FAIL", 1)
    assert PROBE in found.reason


def test_a_run_that_failed_keeps_its_verdict() -> None:
    found = of(status="FAIL", verdict="FAIL", exit_code=1, reason="page 4 shows page 5")
    assert (found.verdict, found.exit_code, found.reason) == ("FAIL", 1, "page 4 shows page 5")
    assert [each.reason for each in found.absent] == ["FAIL: why"]


def test_the_study_runs_what_the_probe_is_and_not_its_namesake() -> None:
    names = postcopy.probes()
    assert {"hgm/postcopy", "baseline/postcopy", "baseline/postcopy-whole"} <= set(names)
    assert "hgm/postcopy-py" not in names


def test_options_are_for_post_copy_alone() -> None:
    names = postcopy.probes(("--uffds", "2"))
    assert {"hgm/precopy", "hgm/postcopy --uffds 2"} <= set(names)
    chosen = {spec.name: spec.arguments for spec in catalog.select(catalog.load(), names)}
    assert chosen["hgm/postcopy/2M"] == ("--backing", "split", "--size", "2M", "--uffds", "2")
    assert "--uffds" not in chosen["hgm/precopy/2M"]


def test_the_table_keeps_counts_from_times() -> None:
    text = "\n".join(report.lines(of(f"{FIGURES}\ntimes: step=access cells=111:99,250:1")))
    counts, _, times = text.partition("Times; ")
    assert "hugetlb 1G, split" in counts
    assert "8 KiB" in counts
    assert "53.3 us" in counts
    assert "emulated" in times
    assert "1.02 us" in times
    assert text.splitlines()[-2:] == ["record /runs/one", "PASS: 1 probe passed"]


def test_times_of_a_kvm_guest_have_no_caveat() -> None:
    kvm = AccelChoice(name="kvm", reason="proven", cpu="host")
    assert "emulated" not in "\n".join(report.lines(of(FIGURES, accel=kvm)))


def test_pages_from_cma_are_named_as_such() -> None:
    machine = MachineSpec(hugepages=(), memory=2**30, hugetlb_cma=True)
    assert "hugetlb 1G, split, CMA" in "\n".join(report.lines(of(FIGURES, machine=machine)))


def test_a_run_without_figures_has_no_table() -> None:
    found = of(status="SKIP")
    assert next(iter(report.lines(found))) == f"no figures: {PROBE}: SKIP: why"


def test_the_picture_has_each_memory_and_each_pattern_and_a_mark_for_each_row() -> None:
    tracked = "\n".join(
        TRACKED.replace("=zipf", f"={name}") for name in ("zipf", "moving", "zipf+live")
    )
    drawn = drawing.amplification(of(tracked, name="hgm/precopy/1G"))
    assert "hugetlb 1G, split" in drawn
    assert "bytes reported dirty for each byte written" in drawn
    assert "bytes moved" not in drawn
    assert "prefers-color-scheme:dark" in drawn
    assert drawing.amplification(of(FIGURES)).count("bytes moved for each byte touched") == 1


def test_a_study_without_figures_has_no_picture() -> None:
    nothing = of(status="SKIP")
    assert (drawing.amplification(nothing), drawing.latencies(nothing)) == ("", "")


def test_latencies_have_a_panel_for_each_memory_and_leave_out_accesses_beside_a_push() -> None:
    times = "times: step=access cells=111:99,250:1\ntimes: step=read cells=90:100"
    drawn = drawing.latencies(of(f"{FIGURES}\n{times}"))
    assert drawn.count("hugetlb 1G, split") == 1
    assert "install" in drawn
    assert drawing.latencies(of(f"{FIGURES.replace('uniform', 'uniform+push')}\n{times}")) == ""
