# SPDX-License-Identifier: GPL-2.0-only
"""The page about the kernel's own tests, and what it finds to differ between runs."""

import io
from typing import Literal

import msgspec
import pytest

from harness.campaign import result_diff
from harness.errors import RecordError
from harness.records.probe import ProbeResult, Status, Subtest
from harness.records.run import RunRecord
from harness.report import kselftest
from tests.unit.report.records import RUN

Result = Literal["PASS", "FAIL", "SKIP"]


def result(name: str, status: Status = "PASS", reason: str = "", **results: Result) -> ProbeResult:
    return ProbeResult(
        name=f"kselftest/mm/{name}",
        status=status,
        reason=reason,
        seconds=1.25,
        subtests=tuple(Subtest(name=n, status=s) for n, s in results.items()),
    )


def run(*probes: ProbeResult, command: tuple[str, ...] = ()) -> RunRecord:
    return msgspec.structs.replace(
        RUN, probes=(*RUN.probes[:1], *probes), splats=(), notes=(), command=command
    )


STOCK = run(
    result("cow", anon="PASS", hugetlb="PASS"),
    result("soft-dirty", "SKIP", "no <soft> dirty | at 0x7f1234567000"),
    command=("env", "-C", "/home/me", "/opt/hgm", "run", "--runs-dir", "/x", "--kselftest", "mm"),
)


def page(*runs: RunRecord) -> str:
    stream = io.StringIO()
    kselftest.write(runs, result_diff.differences(runs, kselftest.PREFIX), stream)
    return stream.getvalue()


def test_one_run_is_a_row_for_each_test() -> None:
    text = page(STOCK)
    assert "| mm/cow | PASS | 2/2 | 1.2 s |  |" in text
    row = "| mm/soft-dirty | SKIP |  | 1.2 s | no &lt;soft> dirty \\| at 0x… |"
    assert row in text
    assert "2 tests: 1 PASS, 1 SKIP" in text
    assert "`./hgm run --kselftest mm`" in text
    assert "base/map" not in text
    assert "Differences" not in text


def test_equal_runs() -> None:
    text = page(STOCK, STOCK)
    assert "| mm/cow | PASS | PASS | 2/2 |" in text
    assert "None: every test, and every result inside a test, ended the same" in text
    assert result_diff.differences([STOCK, STOCK]) == ()


def test_a_test_that_ended_differently_or_is_absent() -> None:
    other = run(result("cow", "FAIL", "hugetlb: lost a page", anon="PASS", hugetlb="FAIL"))
    found = result_diff.differences([STOCK, other], "kselftest/")
    assert [(d.name, d.statuses) for d in found] == [
        ("kselftest/mm/cow", ("PASS", "FAIL")),
        ("kselftest/mm/soft-dirty", ("SKIP", "")),
    ]
    text = page(STOCK, other)
    assert "- mm/cow\n  - 1: PASS\n  - 2: FAIL hugetlb: lost a page\n" in text
    assert "  - 2: absent\n" in text


def test_a_result_inside_a_test_that_ended_the_same() -> None:
    other = run(
        result("cow", anon="PASS", hugetlb="SKIP"),
        result("soft-dirty", "SKIP", "another reason is not a difference"),
    )
    (only,) = result_diff.differences([STOCK, other])
    assert only.name == "kselftest/mm/cow > result 2: hugetlb"
    assert only.statuses == ("PASS", "SKIP")


def test_measured_numbers_and_lost_names_do_not_count_as_differences() -> None:
    five: dict[str, Result] = {"5 extra pages": "PASS", "no leak": "PASS"}
    six: dict[str, Result] = {"6 extra pages": "PASS", "test 2": "SKIP"}
    one, two = run(result("cow", **five)), run(result("cow", **six))
    assert result_diff.differences([one, one]) == ()
    (only,) = result_diff.differences([one, two])
    assert only.name == "kselftest/mm/cow > result 2: no leak"


def test_results_of_the_same_name_are_matched_in_order() -> None:
    def several(*statuses: Result) -> RunRecord:
        results = tuple(Subtest(name="fork", status=status) for status in statuses)
        return run(ProbeResult(name="kselftest/mm/cow", status="PASS", subtests=results))

    found = result_diff.differences([several("PASS", "PASS"), several("PASS", "SKIP", "PASS")])
    assert [(d.name, d.statuses) for d in found] == [
        ("kselftest/mm/cow > fork (2)", ("PASS", "SKIP")),
        ("kselftest/mm/cow > fork (3)", ("", "PASS")),
    ]


def test_runs_of_one_kernel_are_joined_test_by_test() -> None:
    cut = run(result("cow"), result("uffd", "HANG", "too slow"), result("late", "LOST"))
    again = run(result("uffd", "PASS"), result("cow", "LOST", "it was not run"), result("late"))
    whole = result_diff.joined([cut, again])
    assert {p.name.rpartition("/")[2]: p.status for p in whole.probes[1:]} == {
        "cow": "PASS",
        "uffd": "PASS",
        "late": "PASS",
    }
    assert whole.notes == (f"joined with the run of {RUN.started}",)


def test_runs_of_two_kernels_are_not_joined() -> None:
    assert RUN.kernel is not None
    other = msgspec.structs.replace(RUN, kernel=msgspec.structs.replace(RUN.kernel, key="another"))
    with pytest.raises(RecordError, match="not a run of the kernel"):
        result_diff.joined([STOCK, other])
