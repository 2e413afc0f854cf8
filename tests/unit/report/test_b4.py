# SPDX-License-Identifier: GPL-2.0-only
"""A run as the result of a check command of b4."""

from __future__ import annotations

import json

import msgspec
import pytest

from harness.records.outcome import Outcome
from harness.records.run import RunRecord
from harness.report import b4
from tests.unit.report import hostile
from tests.unit.report.records import CUT, KNOWN, PASSED, PROBES, RUN


def table(record: RunRecord) -> dict[str, str]:
    return {each.tool: each.status for each in b4.results(record)}


@pytest.mark.parametrize(
    ("record", "status"),
    [
        (PASSED, "pass"),
        (RUN, "fail"),
        (KNOWN, "warn"),
        (msgspec.structs.replace(KNOWN, verdict="FAIL", strict=True), "fail"),
        (msgspec.structs.replace(PASSED, verdict="ERROR", probes=PROBES[5:]), "warn"),
        (msgspec.structs.replace(PASSED, verdict="ERROR", outcome=Outcome.NOT_BOOTED), "fail"),
        (msgspec.structs.replace(PASSED, verdict="ERROR", outcome=Outcome.INFRASTRUCTURE), "warn"),
        (msgspec.structs.replace(PASSED, verdict="INTERRUPTED", outcome=Outcome.CUT), "warn"),
    ],
)
def test_a_kernel_that_was_built(record: RunRecord, status: str) -> None:
    assert table(record) == {"hgm-build": "pass", "hgm-probes": status}


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.PATCH_REFUSED, "fail"),
        (Outcome.NOT_COMPILED, "fail"),
        (Outcome.CONFIG_REFUSED, "warn"),
        (Outcome.INFRASTRUCTURE, "warn"),
        (Outcome.USER_MISTAKE, "warn"),
    ],
)
def test_a_kernel_that_was_not(outcome: Outcome, status: str) -> None:
    record = msgspec.structs.replace(CUT, outcome=outcome, reason="mm/x.c:1: error")
    assert table(record) == {"hgm-build": status}
    (said,) = b4.results(record)
    assert said.summary == ("" if status == "fail" else "not tested: ") + "mm/x.c:1: error"
    (line,) = b4.lines(record)
    assert line.startswith("ERROR: hgm-build: " if status == "fail" else "WARNING: hgm-build: ")


def test_a_build_alone() -> None:
    record = msgspec.structs.replace(PASSED, outcome=Outcome.BUILT_ONLY, probes=())
    assert table(record) == {"hgm-build": "pass"}


def test_the_failures_come_first() -> None:
    probes = b4.results(RUN)[1]
    details = json.loads(probes.details)
    assert [each["status"] for each in details] == [
        *("fail", "fail", "fail", "fail", "warn", "pass", "pass")
    ]
    assert details[1]["description"] == "base/alias/1G: FAIL: two: got 0x41; <want> & 0x42"
    assert probes.url == "file:///runs/one"


def test_a_pass_has_no_lines() -> None:
    """b4 takes any line of ``prep --check`` for a finding."""
    assert list(b4.lines(PASSED)) == []
    assert [line.partition(":")[0] for line in b4.lines(RUN)] == ["ERROR"] * 5


def test_a_warning_is_not_an_error() -> None:
    """b4 looks for ``ERROR:`` anywhere in a line."""
    assert [line.partition(":")[0] for line in b4.lines(KNOWN)] == ["WARNING"]
    record = msgspec.structs.replace(CUT, outcome=Outcome.INFRASTRUCTURE, reason="ERROR: x")
    (line,) = b4.lines(record)
    assert "ERROR:" not in line


def test_hostile_lines() -> None:
    for number, text in enumerate(hostile.LINES):
        record = hostile.record([text], first=number % 7)
        found = json.loads(b4.to_json(record))
        assert [set(each) for each in found] == [
            {"tool", "status", "summary", "url", "details"}
        ] * 2
        assert found[1]["summary"].isprintable()
        assert all(d["description"].isprintable() for d in json.loads(found[1]["details"]))
        for line in b4.lines(record):
            assert line.isprintable()
