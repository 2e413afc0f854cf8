# SPDX-License-Identifier: GPL-2.0-only
"""When a fault counts as caught, and what is a false alarm."""

from pathlib import Path
from typing import Literal

import msgspec
import pytest

from harness.campaign import strategy
from harness.campaign.state import CampaignState
from harness.errors import SpecError
from harness.kernel import faults
from harness.kernel.faults import Catch, Fault
from harness.kernel.obtain import KernelRequest
from harness.records.machine import MachineSpec
from harness.records.outcome import Outcome
from harness.records.probe import CheckpointResult, ProbeSpec, Splat, Status
from harness.records.run import HgmSupport, PromiseState, RunRecord
from harness.run.request import RunRequest
from harness.run.subject import Subject
from harness.selfcheck import detect
from harness.selfcheck import detect_report as report
from harness.selfcheck.detect import Detection
from tests.unit.campaign.records import NO_BOOT, NO_BUILD, NO_SERIES, ended, probed

MACHINE = MachineSpec(hugepages=(), memory=1 << 30)

FAULT = Fault(
    name="wrong-subpage",
    seeds="the page after the right one",
    kind="wrong subpage mapped",
    on="hgm-6.12",
    caught=(
        Catch(probe="hgm/continue-4k/*", status=("FAIL",)),
        Catch(probe="hgm/stress", status=("CRASH",), pattern="bad page map"),
    ),
)


@pytest.mark.parametrize(
    ("record", "result", "by"),
    [
        (probed({"hgm/continue-4k/1G": "FAIL"}), "caught", "hgm/continue-4k/1G: FAIL"),
        (probed({"hgm/continue-4k/1G": "KNOWN"}), "caught", "hgm/continue-4k/1G: KNOWN"),
        (probed({"hgm/continue-4k/1G": "CRASH"}), "missed", ""),  # not with this status
        (probed({"hgm/split/1G": "FAIL"}), "missed", ""),  # not by this probe
        (probed({"hgm/continue-4k/1G": "PASS"}), "missed", ""),
        (probed({"hgm/continue-4k/1G": "SKIP"}), "missed", ""),
        (probed({"hgm/continue-4k/1G": "LOST"}), "not known", ""),
        (
            probed({"hgm/continue-4k/1G": "FAIL", "hgm/stress/2M": "LOST"}),
            "caught",
            "hgm/continue-4k/1G: FAIL",
        ),
        (probed({"hgm/stress/2M": "CRASH"}), "missed", ""),  # without the pattern
        (probed({"hgm/continue-4k/2M#2": "FAIL"}), "caught", "hgm/continue-4k/2M#2: FAIL"),
        (NO_SERIES, "does not apply", ""),
        (NO_BUILD, "no build", ""),
        (NO_BOOT, "no boot", ""),
    ],
)
def test_a_fault_is_caught_only_as_faults_toml_says(
    record: RunRecord, result: str, by: str
) -> None:
    row = detect.row(FAULT, record)
    assert (row.result, row.by) == (result, by)


@pytest.mark.parametrize(
    ("status", "state", "result"),
    [
        ("PASS", "not offered", "not offered"),
        ("PASS", "kept", "missed"),
        ("PASS", "unknown", "missed"),
        ("FAIL", "not offered", "caught"),
    ],
)
def test_a_fault_that_rests_on_a_promise_cannot_show_where_that_is_not_offered(
    status: Status, state: Literal["kept", "not offered", "unknown"], result: str
) -> None:
    fault = msgspec.structs.replace(FAULT, rests_on=("continue-mode-wp",))
    promises = (
        PromiseState(name="split", size="1G", state="not offered", word="no"),
        PromiseState(name="continue-mode-wp", size="1G", state=state, word="EINVAL"),
    )
    record = msgspec.structs.replace(probed({"hgm/continue-4k/1G": status}), promises=promises)
    row = detect.row(fault, record)
    assert row.result == result
    assert ("rests on continue-mode-wp: EINVAL" in row.reason) == (result == "not offered")
    assert detect.row(FAULT, record).result != "not offered"


def _requested(subject: Subject) -> KernelRequest:
    fault = msgspec.structs.replace(FAULT, patch="/faults/x.patch", config=("debug",))
    return detect.faulted(subject, (fault,), ("baseline/pool/2M",)).subject.kernel


def test_a_fault_is_put_on_its_own_series_or_on_the_one_that_is_given() -> None:
    kernel = KernelRequest(
        source="tree:/src", features=("kasan",), extra=("/my.patch",), arch="x86_64"
    )
    subject = Subject(kernel=kernel, machine=MACHINE)
    own = _requested(subject)
    assert (own.series, own.extra) == ("fault:wrong-subpage", ("/my.patch",))
    assert own.features == ("kasan", "debug")
    on = msgspec.structs.replace(kernel, series="hgm-6.12-v2")
    given = _requested(msgspec.structs.replace(subject, kernel=on))
    assert (given.series, given.extra) == ("hgm-6.12-v2", ("/my.patch", "/faults/x.patch"))
    assert given.features == ("kasan", "debug")


def test_a_declared_fault_of_the_source_is_an_alarm_only_with_the_series() -> None:
    record = probed({"a/b/2M": "FAIL"})
    declared = msgspec.structs.replace(record.probes[0], without_series=("FAIL", "PASS"))
    record = msgspec.structs.replace(
        record, probes=(declared,), hgm=HgmSupport(present=True, evidence="MADV_SPLIT: ok")
    )
    assert detect.alarms("none", record, has_series=False) == []
    assert len(detect.alarms("hgm-6.12", record, has_series=True)) == 1


def test_a_pattern_is_matched_against_splats() -> None:
    record = probed({"hgm/stress/2M": "CRASH"})
    splat = Splat(
        kind="bad-page", title="BUG: bad page map", block=("BUG: bad page map in x",), offset=0
    )
    probe = msgspec.structs.replace(record.probes[0], splats=(splat,))
    row = detect.row(FAULT, msgspec.structs.replace(record, probes=(probe,)))
    assert row.by == "hgm/stress/2M: CRASH"


@pytest.mark.parametrize(
    ("record", "count"),
    [
        (probed({"a/b/2M": "PASS", "a/c/2M": "SKIP", "a/d/2M": "KNOWN"}), 0),
        (probed({"a/b/2M": "FAIL", "a/c/2M": "LOST"}), 2),
        (probed({"a/b/2M": "PASS"}, splats=("WARNING: x",)), 1),
        (ended(Outcome.INFRASTRUCTURE), 1),
    ],
)
def test_false_alarms(record: RunRecord, count: int) -> None:
    assert len(detect.alarms("none", record, has_series=False)) == count


def test_a_reference_kernel_without_hgm_is_an_alarm() -> None:
    record = probed({"a/b/2M": "PASS"})
    assert len(detect.alarms("hgm-6.12", record, has_series=True)) == 1
    has = msgspec.structs.replace(record, hgm=HgmSupport(present=True, evidence="MADV_SPLIT: ok"))
    assert detect.alarms("hgm-6.12", has, has_series=True) == []


def test_a_pattern_is_matched_against_problems_of_a_page_table_walk() -> None:
    fault = msgspec.structs.replace(
        FAULT, caught=(Catch(probe="a/b", status=("FAIL",), pattern="^wrong subpage"),)
    )
    record = probed({"a/b/2M": "FAIL"})
    assert detect.row(fault, record).result == "missed"
    walk = CheckpointResult(number=1, name="x", problems=("wrong subpage: 0x1",))
    probe = msgspec.structs.replace(record.probes[0], checkpoints=(walk,))
    assert detect.row(fault, msgspec.structs.replace(record, probes=(probe,))).by == "a/b/2M: FAIL"


@pytest.mark.parametrize(("one_in", "boots"), [(1, 1), (2, 7), (3, 12)])
def test_a_fault_that_shows_in_one_of_n_boots_gets_more_boots(one_in: int, boots: int) -> None:
    assert strategy.repeats(1 / one_in, 0.01) == boots


def test_kernels_are_built_in_the_order_of_configuration_and_series() -> None:
    ordered = [(f.kernel, f.config, f.on) for f in detect.in_order(faults.load())]
    assert ordered == sorted(ordered)
    assert ordered[0][:2] == ("", ())


def test_faults_are_chosen_by_name_or_class() -> None:
    other = msgspec.structs.replace(FAULT, name="leak", kind="reservation leaked")
    both = (FAULT, other)
    assert detect.select(both, ()) == both
    assert detect.select(both, ("leak",)) == (other,)
    assert detect.select(both, ("wrong*",)) == (FAULT,)
    with pytest.raises(SpecError, match="nonesuch"):
        detect.select(both, ("nonesuch",))


def _detection(*records: RunRecord) -> Detection:
    return Detection(
        source="debian:linux-source-6.12",
        release="6.12.117",
        rows=tuple(detect.row(FAULT, record) for record in records),
        unfaulted={"none": 2},
        alarms=(),
        directory="/runs/detect",
    )


def test_the_exit_code_is_0_only_if_every_fault_is_caught() -> None:
    caught, missed = probed({"hgm/continue-4k/1G": "FAIL"}), probed({"hgm/split/1G": "FAIL"})
    assert _detection(caught).exit_code == 0
    assert _detection(caught, missed).exit_code == 1
    alarm = detect.Alarm(kernel="none", what="a/b: FAIL: x", run_dir="/r")
    assert msgspec.structs.replace(_detection(caught), alarms=(alarm,)).exit_code == 1


class _Campaign(CampaignState):
    """A campaign whose runs are given."""

    def __init__(self, made: list[RunRecord], *following: RunRecord) -> None:
        self.made, self.following = made, list(following)

    def runs(self, step: str) -> tuple[RunRecord, ...]:
        return tuple(self.made)

    def run(self, step: str, request: RunRequest) -> RunRecord:
        self.made.append(self.following.pop(0))
        return self.made[-1]


def test_a_run_that_lost_a_probe_is_repeated_the_next_time_and_not_before() -> None:
    lost, missed = probed({"hgm/continue-4k/1G": "LOST"}), probed({"hgm/continue-4k/1G": "PASS"})
    kernel = KernelRequest(source="tree:/src", arch="x86_64")
    request = RunRequest(subject=Subject(kernel=kernel, machine=MACHINE))
    campaign = _Campaign([], lost, missed)
    assert detect.run_until_caught(FAULT, campaign, "x", request) == lost
    assert detect.run_until_caught(FAULT, campaign, "x", request) == missed
    assert detect.run_until_caught(FAULT, campaign, "x", request) == missed
    assert campaign.following == []


def test_a_lost_probe_is_no_miss_and_no_pass() -> None:
    caught, lost = probed({"hgm/continue-4k/1G": "FAIL"}), probed({"hgm/continue-4k/1G": "LOST"})
    assert _detection(caught, lost).exit_code == 3
    assert _detection(lost, probed({"hgm/split/1G": "FAIL"})).exit_code == 1


def test_what_cannot_show_is_right_only_on_another_series_than_the_faults_own() -> None:
    refused = _detection(NO_SERIES, probed({"hgm/continue-4k/1G": "FAIL"}))
    assert refused.exit_code == 1
    elsewhere = msgspec.structs.replace(refused, series="hgm-6.12-v2")
    assert elsewhere.exit_code == 0
    line = "PASS: 1 of 2 faults caught, does not apply: 1, 0 false alarms in 2 runs without a fault"
    assert report.verdict_line(elsewhere) == line
    assert "each fault on top of hgm-6.12-v2, 6.12.117" in report.page(elsewhere, ())
    missed = _detection(NO_SERIES, probed({"hgm/split/1G": "FAIL"}))
    assert msgspec.structs.replace(missed, series="hgm-6.12-v2").exit_code == 1


def _page(record: RunRecord) -> str:
    specs = (
        ProbeSpec(name="hgm/continue-4k/1G", shows="", source="", language="c"),
        ProbeSpec(name="a/b/2M", shows="", source="", language="c", guards="the invariant"),
    )
    return report.page(_detection(record), specs)


def test_the_page_has_a_row_a_fault_and_a_row_a_probe() -> None:
    page = _page(probed({"hgm/continue-4k/1G": "FAIL", "a/b/2M": "PASS"}))
    assert (
        "| wrong-subpage | wrong subpage mapped | hgm-6.12 on  | 1 | caught "
        "| hgm/continue-4k/1G: FAIL |" in page
    )
    assert "hgm/continue-4k/1G   F\n" in page
    assert "a/b/2M               .\n" in page
    assert "- none: 2 runs" in page
    assert "PASS: 1 of 1 faults caught, 0 false alarms in 2 runs without a fault." in page


def test_the_page_numbers_kernels_and_shows_what_no_fault_names() -> None:
    one = probed({"hgm/continue-4k/1G": "FAIL"})
    one = msgspec.structs.replace(one, run_dir="/runs/1", seconds=60.0)
    found = _detection(one, one, msgspec.structs.replace(one, run_dir="/runs/2"))
    strange = detect.Alarm(kernel="one + two", what="a/b: CRASH: x", run_dir="/r")
    found = msgspec.structs.replace(found, unexplained=(strange,))
    page = report.page(found, ())
    assert "These are 2 kernels, 2 minutes." in page
    assert [line.split(" | ")[3] for line in page.splitlines() if "| wrong-" in line] == [*"112"]
    assert "- one + two: a/b: CRASH: x" in page
    assert "unexplained     one + two: a/b: CRASH: x; /r" in list(report.lines(found))
    assert found.exit_code == 0


def test_the_page_names_what_each_probe_caught_or_guards() -> None:
    page = _page(probed({"hgm/continue-4k/1G": "FAIL", "a/b/2M": "FAIL"}))
    assert "| hgm/continue-4k | wrong-subpage |  |" in page
    assert "| a/b | - | the invariant |" in page


def test_all_probes_that_caught_a_fault_are_kept_in_order() -> None:
    record = probed({"hgm/split/2M": "FAIL", "hgm/continue-4k/2M": "FAIL", "hgm/stress/2M": "FAIL"})
    caught = (*FAULT.caught, Catch(probe="hgm/split/*", status=("FAIL",)))
    row = detect.row(msgspec.structs.replace(FAULT, caught=caught), record)
    assert row.noticed == ("hgm/continue-4k/2M", "hgm/split/2M")


GOOD = """
[x]
seeds = "s"
class = "c"
on = "none"
caught = [{ probe = "a/b", status = ["FAIL"] }]
"""


def test_a_list_of_faults(tmp_path: Path) -> None:
    (tmp_path / "faults.toml").write_text(GOOD)
    (tmp_path / "x.patch").write_text("")
    (fault,) = faults.load(tmp_path)
    assert (fault.name, fault.kind, fault.on, fault.config) == ("x", "c", "none", ())
    assert fault.caught == (Catch(probe="a/b", status=("FAIL",)),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace('"FAIL"', '"PASS"'), "PASS"),
        (GOOD.replace("caught = [{", "caught = []\nodd = [{"), "odd"),
        (GOOD.replace('[{ probe = "a/b", status = ["FAIL"] }]', "[]"), "`caught` is empty"),
        (GOOD.replace("class", "klass"), "klass"),
        (GOOD + '\n[y]\nseeds="s"\nclass="c"\non="none"\ncaught=[]\n', r"there is no y\.patch"),
        (GOOD.replace('["FAIL"] }', '["FAIL"], pattern = "(" }'), "not a regular expression"),
        ("[x", "faults.toml"),
    ],
)
def test_a_wrong_list_of_faults_is_an_error(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "faults.toml").write_text(text)
    (tmp_path / "x.patch").write_text("")
    with pytest.raises(SpecError, match=words):
        faults.load(tmp_path)
