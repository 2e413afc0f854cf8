# SPDX-License-Identifier: GPL-2.0-only
"""A run as KTAP; tests/unit/report/test_hostile.py reads it back."""

from __future__ import annotations

import msgspec
import pytest

from harness.judge.ktap import parse
from harness.records.run import Verdict
from harness.report import ktap
from tests.unit.report.records import CUT, KNOWN, PASSED, RUN


def test_a_result_for_each_probe_and_one_for_the_run() -> None:
    assert ktap.render(RUN).splitlines()[:16] == [
        "KTAP version 1",
        "1..7",
        "  KTAP version 1",
        "  1..1",
        "  ok 1 map",
        "ok 1 base/map/1G",
        "  KTAP version 1",
        "  1..2",
        "  ok 1 one",
        "  # got 0x41",
        "  not ok 2 two",
        "# two: got 0x41; <want> & 0x42",
        "# ------------[ cut here ]------------",
        "# WARNING: CPU: 1 PID: 41 at mm/hugetlb.c:812",
        "not ok 2 base/alias/1G",
        "ok 3 hgm/split/1G # SKIP MADV_SPLIT: EINVAL",
    ]
    assert "not ok 4 hgm/continue-4k/1G # ERROR CRASH: kernel BUG at a.c:1!\n" in ktap.render(RUN)


@pytest.mark.parametrize(("strict", "directive"), [(False, "XFAIL"), (True, "")])
def test_a_known_issue_fails_only_a_strict_run(strict: bool, directive: str) -> None:
    record = msgspec.structs.replace(KNOWN, strict=strict)
    first = parse(ktap.render(record)).results[0]
    assert (first.ok, first.directive) == (False, directive)


@pytest.mark.parametrize("verdict", ["FAIL", "ERROR", "INTERRUPTED", "CUT"])
def test_a_run_that_did_not_pass_is_not_ok(verdict: Verdict) -> None:
    record = msgspec.structs.replace(PASSED, verdict=verdict)
    assert not parse(ktap.render(record)).results[-1].ok
    assert parse(ktap.render(PASSED)).results[-1].ok


def test_a_run_without_probes() -> None:
    document = parse(ktap.render(CUT))
    assert (document.problems, len(document.results)) == ((), 1)


def test_a_repetition_keeps_its_number() -> None:
    probe = msgspec.structs.replace(RUN.probes[0], name="base/map/1G#2")
    text = ktap.render(msgspec.structs.replace(RUN, probes=(probe,)))
    assert "\nok 1 base/map/1G\\x232\n" in text
