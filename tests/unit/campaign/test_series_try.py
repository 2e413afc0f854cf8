# SPDX-License-Identifier: GPL-2.0-only
"""What a series try reports, from the records of its steps."""

from pathlib import Path

import pytest

from harness.campaign import series_try
from harness.kernel.obtain import KernelRequest
from harness.records.campaign import Step
from harness.records.run import RunRecord
from harness.report import series_try as report
from harness.run.subject import Subject
from harness.vm import spec
from tests.unit.campaign.records import NO_BOOT, NO_BUILD, probed

SUBJECT = Subject(
    kernel=KernelRequest(source="debian:linux-source-6.12", series="dir:/p", arch="x86_64"),
    machine=spec.machine(spec.parse_hugepages("2M:1", "x86_64"), arch_name="x86_64"),
)


def _steps(*records: RunRecord) -> list[Step]:
    return [
        series_try.step(number, f"{number:04}.patch" if number else "", record)
        for number, record in enumerate(records)
    ]


def test_a_patch_that_adds_the_feature() -> None:
    steps = _steps(
        probed(base_x="PASS", hgm_y="SKIP"),
        probed(base_x="PASS", hgm_y="SKIP"),
        probed(base_x="PASS", hgm_y="PASS"),
    )
    assert list(series_try.findings(steps)) == ["patch 2 (0002.patch) first passes hgm/y"]
    assert series_try.conclude(SUBJECT, steps, Path("/d")).exit_code == 0


@pytest.mark.parametrize(
    ("record", "finding"),
    [
        (NO_BUILD, "patch 1 (0001.patch) does not build: why"),
        (NO_BOOT, "patch 1 (0001.patch) does not boot: why"),
        (probed(base_x="FAIL"), "patch 1 (0001.patch) fails base/x"),
        (probed(base_x="CRASH"), "patch 1 (0001.patch) crashes in base/x"),
        (probed(base_x="HANG"), "patch 1 (0001.patch) hangs in base/x"),
        (probed(base_x="LOST"), "patch 1 (0001.patch) loses base/x"),
        (
            probed(base_x="PASS", splats=("WARNING: at f",)),
            "patch 1 (0001.patch): splat: WARNING: at f",
        ),
    ],
)
def test_a_patch_that_breaks_something_is_named(record: RunRecord, finding: str) -> None:
    steps = _steps(probed(base_x="PASS"), record)
    assert list(series_try.findings(steps)) == [finding]
    lost = finding.endswith("loses base/x")
    assert series_try.conclude(SUBJECT, steps, Path("/d")).exit_code == (3 if lost else 1)


def test_a_kernel_that_does_not_build_hides_no_change() -> None:
    steps = _steps(probed(base_x="PASS"), NO_BUILD, probed(base_x="FAIL"))
    assert list(series_try.findings(steps))[1:] == ["patch 2 (0002.patch) fails base/x"]


def test_a_source_that_fails_a_probe_is_named() -> None:
    steps = _steps(probed(base_x="FAIL"), probed(base_x="FAIL"), probed(base_x="PASS"))
    assert list(series_try.findings(steps)) == [
        "the source alone fails base/x",
        "patch 2 (0002.patch) first passes base/x",
    ]


def test_the_report_has_a_line_a_patch_and_a_row_a_probe() -> None:
    steps = _steps(
        probed(base_x="PASS", hgm_y="SKIP"), NO_BUILD, NO_BOOT, probed(base_x="CRASH", hgm_y="HANG")
    )
    text = "\n".join(report.lines(series_try.conclude(SUBJECT, steps, Path("/d"))))
    assert (
        text
        == """\
dir:/p on debian:linux-source-6.12, patch by patch

   0  (the source alone)  build    0 s  1 PASS, 1 SKIP
   1  0001.patch          build      -  no build
   2  0002.patch          build    0 s  no boot
   3  0003.patch          build    0 s  1 CRASH, 1 HANG

         0  1  2  3
base/x   .        C
hgm/y    s        H
. pass, s skip, F fail, k known issue, C crash, H hang, L lost, blank if not probed

patch 1 (0001.patch) does not build: why
patch 2 (0002.patch) does not boot: why
patch 3 (0003.patch) crashes in base/x
patch 3 (0003.patch) hangs in hgm/y
record   /d
FAIL: of 4 kernels, 1 did not build, 1 did not boot, and 1 failed a probe"""
    )
