# SPDX-License-Identifier: GPL-2.0-only
"""Which faults share a kernel, and what its run says of them."""

from pathlib import Path

import msgspec
import pytest

from harness.campaign.state import CampaignState
from harness.kernel import faults
from harness.kernel.faults import Catch, Fault
from harness.kernel.obtain import KernelRequest
from harness.probes import catalog
from harness.records.machine import HugePages, MachineSpec
from harness.records.probe import Status, Subtest
from harness.records.run import RunRecord
from harness.run.request import RunRequest
from harness.run.subject import Subject
from harness.selfcheck import detect, grouping
from tests.unit.campaign.records import NO_SERIES, probed

SPECS = catalog.load()
MACHINE = MachineSpec(hugepages=(HugePages(size=1 << 30, count=2),), memory=4 << 30, cpus=2)
SUBJECT = Subject(kernel=KernelRequest(source="tree:/src", arch="x86_64"), machine=MACHINE)

PATCH = """--- a/{file}
+++ b/{file}
@@ -{line},3 +{line},2 @@
 before
-fault
 after
"""


def fault(
    directory: Path, name: str, probe: str, line: int = 10, file: str = "mm/hugetlb.c"
) -> Fault:
    patch = directory / f"{name}.patch"
    patch.write_text(PATCH.format(file=file, line=line))
    return Fault(
        name=name,
        patch=str(patch),
        seeds="s",
        kind="c",
        on="none",
        caught=(Catch(probe=probe, status=("FAIL",), pattern="its FAIL"),),
    )


def names(groups: tuple[tuple[Fault, ...], ...]) -> list[list[str]]:
    return [[each.name for each in group] for group in groups]


def test_faults_that_do_not_touch_each_other_share_a_kernel(tmp_path: Path) -> None:
    one = fault(tmp_path, "one", "baseline/pool/*", 10)
    two = fault(tmp_path, "two", "baseline/scan/*", 13)
    assert names(grouping.plan((one, two), SPECS)) == [["one", "two"]]


@pytest.mark.parametrize(
    ("probe", "line", "file", "together"),
    [
        ("baseline/scan/*", 12, "mm/hugetlb.c", False),  # the last line of the other's hunk
        ("baseline/scan/*", 8, "mm/hugetlb.c", False),  # its first
        ("baseline/scan/*", 7, "mm/hugetlb.c", True),
        ("baseline/scan/*", 10, "mm/gup.c", True),
        ("baseline/pool/2M", 50, "mm/hugetlb.c", False),  # the other names it as well, by a glob
    ],
)
def test_faults_whose_hunks_or_probes_meet_do_not(
    tmp_path: Path, probe: str, line: int, file: str, *, together: bool
) -> None:
    one = fault(tmp_path, "one", "baseline/pool/*")
    two = fault(tmp_path, "two", probe, line, file)
    assert len(grouping.plan((one, two), SPECS)) == (1 if together else 2)


@pytest.mark.parametrize(
    "change",
    [
        {"on": "hgm-6.12"},
        {"kernel": "debian:linux-source-7.3"},
        {"config": ("debug",)},
        {"one_in": 3},
        {"breaks_others": True},
        {"caught": (Catch(probe="baseline/scan/*", status=("FAIL",)),)},  # no pattern
        {"caught": (Catch(probe="baseline/scan/*", status=("FAIL", "HANG"), pattern="x"),)},
    ],
    ids=str,
)
def test_other_kernels_and_what_may_harm_other_probes_stay_apart(
    tmp_path: Path, change: dict[str, object]
) -> None:
    one = fault(tmp_path, "one", "baseline/pool/*")
    two = msgspec.structs.replace(fault(tmp_path, "two", "baseline/scan/*", 50), **change)
    assert names(grouping.plan((one, two), SPECS)) == [["one"], ["two"]]
    assert names(grouping.plan((two, one), SPECS)) == [["two"], ["one"]]


def test_faults_of_this_repository_are_planned_once_each_and_always_alike() -> None:
    plan = detect.kernels(faults.load(), alone=False)
    assert plan == detect.kernels(faults.load(), alone=False)
    assert sorted(f.name for group in plan for f in group) == sorted(f.name for f in faults.load())
    assert len(plan) < len(faults.load())
    assert all(len(group) == 1 for group in detect.kernels(faults.load(), alone=True))


def test_a_shared_kernel_has_every_patch_and_the_probes_their_nodes(tmp_path: Path) -> None:
    one = fault(tmp_path, "one", "baseline/pool/*")
    two = fault(tmp_path, "two", "baseline/pool-nodes/*", 50)
    request = detect.faulted(SUBJECT, (one, two), ("baseline/pool/*", "baseline/pool-nodes/*"))
    assert (request.subject.kernel.series, request.subject.kernel.extra) == (
        "none",
        (one.patch, two.patch),
    )
    assert request.subject.machine.nodes == 2
    assert detect.faulted(SUBJECT, (one,), one.probes).subject.machine == MACHINE


def test_a_failure_counts_for_the_fault_that_names_its_probe(tmp_path: Path) -> None:
    group = (
        fault(tmp_path, "one", "baseline/pool/*"),
        fault(tmp_path, "two", "baseline/scan/*"),
    )
    record = probed({"baseline/pool/2M": "FAIL", "baseline/scan/2M": "PASS"})
    caught, strange = detect.shared_rows(group, record)
    assert (list(caught), strange) == (["one"], [])
    row = caught["one"]
    assert row.result == "caught"
    assert row.statuses == {"baseline/pool/2M": "FAIL"}


@pytest.mark.parametrize(
    ("record", "what"),
    [
        (probed({"baseline/pool/2M": "FAIL", "baseline/scan/2M": "CRASH"}), "scan/2M: CRASH"),
        (probed({"baseline/pool/2M": "FAIL", "baseline/scan/2M": "LOST"}), "scan/2M: LOST"),
        (probed({"baseline/pool/2M": "FAIL"}, splats=("WARNING: x",)), "WARNING: x"),
        (NO_SERIES, "why"),
    ],
)
def test_a_failure_that_no_fault_names_is_shown(
    tmp_path: Path, record: RunRecord, what: str
) -> None:
    group = (
        fault(tmp_path, "one", "baseline/pool/*"),
        fault(tmp_path, "two", "baseline/scan/*"),
    )
    (strange,) = detect.shared_rows(group, record)[1]
    assert what in strange.what
    assert strange.kernel == "one + two"


def test_in_a_shared_kernel_a_failure_counts_only_with_its_pattern(tmp_path: Path) -> None:
    one = fault(tmp_path, "one", "baseline/pool/*")
    vague = Catch(probe="baseline/scan/*", status=("FAIL",))
    one = msgspec.structs.replace(one, caught=(vague, *one.caught))
    record = probed({"baseline/pool/2M": "FAIL", "baseline/scan/2M": "FAIL"})
    other = msgspec.structs.replace(
        record.probes[0],
        reason="another",
        subtests=(Subtest(name="x", status="FAIL", reason="another"),),
    )
    record = msgspec.structs.replace(record, probes=(other, record.probes[1]))
    caught, strange = detect.shared_rows((one, fault(tmp_path, "two", "baseline/smaps/*")), record)
    assert caught == {}
    assert len(strange) == 2


class _Campaign(CampaignState):
    """A campaign in which a kernel's run is given by the number of its patches and its probes."""

    def __init__(self, kernels: dict[tuple[str, ...], RunRecord]) -> None:
        self.kernels = kernels
        self.ran: list[tuple[str, ...]] = []

    def runs(self, step: str) -> tuple[RunRecord, ...]:
        return ()

    def run(self, step: str, request: RunRequest) -> RunRecord:
        self.ran.append(request.probes)
        return self.kernels[request.probes]


def test_what_a_shared_kernel_does_not_show_is_run_alone(tmp_path: Path) -> None:
    one = fault(tmp_path, "one", "baseline/pool/2M")
    two = fault(tmp_path, "two", "baseline/scan/2M")
    campaign = _Campaign(
        {
            ("baseline/pool/2M", "baseline/scan/2M"): probed(
                {"baseline/pool/2M": "FAIL", "baseline/scan/2M": "PASS"}
            ),
            ("baseline/scan/2M",): probed({"baseline/scan/2M": "PASS"}),
        }
    )
    rows, strange = detect.rows_of((one, two), campaign, SUBJECT, ())
    assert [(row.fault, row.result) for row in rows] == [("one", "caught"), ("two", "missed")]
    assert strange == []


def test_after_a_failure_that_no_fault_names_none_is_credited_and_each_half_is_run(
    tmp_path: Path,
) -> None:
    probes = ("baseline/pool/2M", "baseline/scan/2M", "baseline/smaps/2M")
    group = tuple(fault(tmp_path, probe.split("/")[1], probe) for probe in probes)
    campaign = _Campaign(
        {
            probes: probed({probes[0]: "FAIL", probes[1]: "CRASH", probes[2]: "FAIL"}),
            probes[:1]: probed({probes[0]: "PASS"}),
            probes[1:]: probed({probes[1]: "FAIL", probes[2]: "FAIL"}),
        }
    )
    rows, strange = detect.rows_of(group, campaign, SUBJECT, ())
    assert campaign.ran == [probes, probes[:1], probes[1:]]
    assert [row.result for row in rows] == ["missed", "caught", "caught"]
    assert [alarm.what for alarm in strange] == ["baseline/scan/2M: CRASH: its CRASH"]


@pytest.mark.parametrize(
    ("first", "ran", "by"),
    [("HANG", 1, "baseline/pool/2M: HANG"), ("PASS", 2, "baseline/scan/2M: HANG")],
)
def test_of_a_fault_that_hangs_the_other_probes_are_run_only_if_the_first_does_not_catch_it(
    first: Status, ran: int, by: str, tmp_path: Path
) -> None:
    few, whole = ("baseline/pool/*",), ("baseline/pool/*", "baseline/scan/*")
    hanging = msgspec.structs.replace(
        fault(tmp_path, "one", few[0]),
        caught=tuple(Catch(probe=probe, status=("HANG",)) for probe in whole),
    )
    results: dict[str, Status] = {"baseline/pool/2M": first, "baseline/scan/2M": "HANG"}
    campaign = _Campaign({few: probed({"baseline/pool/2M": first}), whole: probed(results)})
    (row,), alarms = detect.rows_of((hanging,), campaign, SUBJECT, ())
    assert (campaign.ran, row.by, alarms) == ([few, whole][:ran], by, [])
