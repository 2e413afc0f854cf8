# SPDX-License-Identifier: GPL-2.0-only
"""JUnit XML, read again and checked against its schema."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import msgspec
import pytest
import xmlschema

from harness.records.run import Verdict
from harness.report import junit
from tests.unit.report.junit_schema import parse, read
from tests.unit.report.records import CUT, KNOWN, PASSED, PROBES, RUN


def case(root: ElementTree.Element, suite: str, name: str) -> ElementTree.Element:
    found = root.find(f"testsuite[@name='{suite}']/testcase[@name='{name}']")
    assert found is not None
    return found


def test_each_group_and_the_run_have_a_suite() -> None:
    suites = read(RUN).findall("testsuite")
    assert [suite.get("name") for suite in suites] == ["base", "hgm", "run"]
    assert [suite.get("tests") for suite in suites] == ["2", "4", "1"]


def test_totals() -> None:
    root = read(RUN)
    names = ("tests", "failures", "errors", "skipped")
    assert [root.get(name) for name in names] == ["7", "2", "3", "1"]


@pytest.mark.parametrize(
    ("suite", "name", "tag", "message"),
    [
        ("base", "alias/1G", "failure", "two: got 0x41; <want> & 0x42"),
        ("hgm", "split/1G", "skipped", "MADV_SPLIT: EINVAL"),
        ("hgm", "continue-4k/1G", "error", "kernel BUG at a.c:1!"),
        ("hgm", "hole/1G", "error", "took longer than 30 s"),
        ("hgm", "fork/1G", "error", "never ran"),
    ],
)
def test_case_of_a_probe(suite: str, name: str, tag: str, message: str) -> None:
    outcome = case(read(RUN), suite, name).find(tag)
    assert outcome is not None
    assert outcome.get("message") == message
    assert outcome.text == message  # what GitLab shows


def test_a_pass_has_no_result_element() -> None:
    root = read(PASSED)
    assert {child.tag for child in case(root, "base", "map/1G")} == {"system-out"}
    assert {child.tag for child in case(root, "run", "verdict")} == {"system-out"}
    assert case(root, "base", "map/1G").get("time") == "0.5"


def test_evidence_is_in_system_out() -> None:
    said = case(read(RUN), "base", "alias/1G").findtext("system-out")
    assert said == (
        "evidence: probes/base+alias+1G\nPASS one\nFAIL two: got 0x41\n"
        "--- warning in serial.log, byte 4711\n"
        "------------[ cut here ]------------\nWARNING: CPU: 1 PID: 41 at mm/hugetlb.c:812"
    )


@pytest.mark.parametrize(
    ("verdict", "tag"),
    [("FAIL", "failure"), ("ERROR", "error"), ("INTERRUPTED", "error"), ("CUT", "error")],
)
def test_a_run_that_did_not_pass_fails_its_case(verdict: Verdict, tag: str) -> None:
    record = msgspec.structs.replace(PASSED, verdict=verdict)
    assert case(read(record), "run", "verdict").find(tag) is not None


def test_a_run_without_probes() -> None:
    assert read(CUT).get("tests") == "1"


def test_characters_that_xml_forbids_are_removed() -> None:
    odd = msgspec.structs.replace(PROBES[1], reason="a\x00b\x1bc\ufffed\ud800e\U0001f600")
    root = read(msgspec.structs.replace(RUN, probes=(odd,)))
    outcome = case(root, "base", "alias/1G").find("failure")
    assert outcome is not None
    assert outcome.get("message") == "abcde\U0001f600"


@pytest.mark.parametrize(("strict", "tag"), [(False, "skipped"), (True, "failure")])
def test_a_known_issue_is_skipped_and_fails_only_a_strict_run(strict: bool, tag: str) -> None:
    root = read(msgspec.structs.replace(KNOWN, strict=strict))
    assert [root.get(name) for name in ("tests", "failures", "skipped")] == [
        "2",
        "1" if strict else "0",
        "0" if strict else "1",
    ]
    result = case(root, "base", "alias/1G").find(tag)
    assert result is not None
    assert (result.get("type"), result.get("message")) == ("KNOWN", "alias (fixed by 0123): two")
    assert "alias: one page shows" in (case(root, "run", "verdict").findtext("system-out") or "")


def test_a_time_has_no_exponent() -> None:
    short = msgspec.structs.replace(PROBES[0], seconds=0.00001)
    root = read(msgspec.structs.replace(RUN, probes=(short,)))
    assert case(root, "base", "map/1G").get("time") == "0.0"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<system-out>", b"<system-out><b/>"),
        (b"<failure ", b'<skipped message="x" type="SKIP"/><failure '),
        (b' classname="base"', b""),
        (b'tests="7"', b'tests="-1"'),
        (b'name="map/1G"', b'name="alias/1G"'),
        (b'time="0.5"', b'time="5e-1"'),
        (b'timestamp="2026', b'timestamp="x'),
    ],
)
def test_the_schema_refuses_what_a_server_would(old: bytes, new: bytes) -> None:
    document = junit.render(RUN)
    assert old in document
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        parse(document.replace(old, new, 1))
