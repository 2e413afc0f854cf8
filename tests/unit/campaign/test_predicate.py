# SPDX-License-Identifier: GPL-2.0-only
"""What each predicate makes of a run's record."""

import pytest

from harness.campaign.predicate import Predicate, evaluate
from harness.kernel.obtain import KernelRequest
from harness.records.campaign import Term
from harness.records.outcome import Outcome
from harness.records.run import RunRecord
from harness.run.subject import Subject
from harness.vm import spec
from tests.unit.campaign.records import NO_BOOT, NO_BUILD, NO_SERIES, probed

PROBE = Predicate(probes=("hgm/x",))
HANG = Predicate(probes=("hgm/x",), statuses=("HANG",))
LIKE = Predicate(probes=("hgm/x",), signature="its FA.L")
SPLAT = Predicate(about="splat")
LOCKDEP = Predicate(about="splat", signature="circular locking")
BUILD = Predicate(about="build")
BOOT = Predicate(about="boot")

SUBJECT = Subject(
    kernel=KernelRequest(source="tree:/src", arch="x86_64"),
    machine=spec.machine((), arch_name="x86_64"),
)


@pytest.mark.parametrize(
    ("predicate", "record", "term"),
    [
        (PROBE, probed(hgm_x_2M="PASS"), "good"),
        (PROBE, probed(hgm_x_2M="FAIL"), "bad"),
        (PROBE, probed(hgm_x_2M="CRASH"), "bad"),
        (PROBE, probed(hgm_x_2M="HANG"), "bad"),
        (PROBE, probed(hgm_x_2M="LOST"), "untestable"),
        (PROBE, probed(hgm_x_2M="SKIP"), "absent"),
        (PROBE, probed(hgm_x_1G="SKIP", hgm_x_2M="PASS"), "good"),
        (PROBE, probed({"hgm/x/2M": "PASS", "hgm/x/2M#2": "FAIL"}), "bad"),
        (PROBE, probed(hgm_other_2M="FAIL", hgm_x_2M="PASS"), "good"),
        (PROBE, NO_BUILD, "untestable"),
        (PROBE, NO_BOOT, "untestable"),
        (PROBE, probed(hgm_x_2M="KNOWN"), "bad"),
        (HANG, probed(hgm_x_2M="KNOWN"), "good"),
        (LIKE, probed(hgm_x_2M="KNOWN"), "good"),
        (HANG, probed(hgm_x_2M="HANG"), "bad"),
        (HANG, probed(hgm_x_2M="FAIL"), "untestable"),
        (HANG, probed(hgm_x_2M="PASS"), "good"),
        (LIKE, probed(hgm_x_2M="FAIL"), "bad"),
        (LIKE, probed(hgm_x_2M="CRASH"), "untestable"),
        (SPLAT, probed(hgm_x_2M="PASS"), "good"),
        (SPLAT, probed(hgm_x_2M="PASS", splats=("WARNING: a",)), "bad"),
        (SPLAT, NO_BUILD, "untestable"),
        (LOCKDEP, probed(hgm_x_2M="PASS", splats=("WARNING: a",)), "good"),
        (LOCKDEP, probed(hgm_x_2M="PASS", splats=("possible circular locking",)), "bad"),
        (PROBE, NO_SERIES, "untestable"),
        (BUILD, NO_SERIES, "untestable"),
        (BOOT, NO_SERIES, "untestable"),
        (BUILD, NO_BUILD, "bad"),
        (BUILD, RunRecord(verdict="PASS", exit_code=0, outcome=Outcome.BUILT_ONLY), "good"),
        (BUILD, NO_BOOT, "good"),
        (BUILD, probed(hgm_x_2M="FAIL"), "good"),
        (BOOT, NO_BUILD, "untestable"),
        (BOOT, NO_BOOT, "bad"),
        (BOOT, probed(hgm_x_2M="FAIL"), "good"),
    ],
)
def test_term(predicate: Predicate, record: RunRecord, term: Term) -> None:
    assert evaluate(predicate, record).term == term


def test_a_request_runs_only_what_decides_the_predicate() -> None:
    assert PROBE.request(SUBJECT).probes == ("hgm/x",)
    assert not PROBE.request(SUBJECT).build_only
    assert len(BOOT.request(SUBJECT).probes) == 1
    assert BUILD.request(SUBJECT).build_only


def test_the_reason_is_the_first_evidence() -> None:
    assert evaluate(PROBE, probed(hgm_x_2M="FAIL")).reason == "hgm/x/2M: FAIL: its FAIL"
    assert evaluate(SPLAT, probed(splats=("WARNING: a", "BUG: b"))).reason == "WARNING: a"
