# SPDX-License-Identifier: GPL-2.0-only
"""The record as JUnit XML, which every CI server reads.

A probe is a test case, in the suite of its group. FAIL is a failure, SKIP is skipped; CRASH, HANG
and LOST are errors. KNOWN is skipped, as pytest writes expected failures, or a failure if the run
is strict. Subtests are lines of the case's ``system-out``: as cases of their own they would change
a suite's numbers with every kernel, and only a probe can be run alone. The suite ``run`` has one
case for the verdict, so that an unexpected kernel, a splat outside of any probe, or a run that was
cut fails here too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from harness.records.probe import ProbeResult, Splat
from harness.records.run import RunRecord
from harness.report import known_issues
from harness.report.text import groups, verdict_line

# The suite of the verdict.
_RUN = "run"

# Written by junitparser only where lxml is installed.
_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'

_Result = Error | Failure | Skipped

_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(record: RunRecord) -> bytes:
    """Return the whole JUnit document, UTF-8."""
    document: Any = JUnitXml("hgm")  # partly without type annotations
    for group, probes in groups(record.probes):
        suite = _suite(group, record)
        for probe in probes:
            suite.add_testcase(_case(group, probe, strict=record.strict))
        document.add_testsuite(suite)
    run = _suite(_RUN, record)
    run.add_testcase(_verdict(record))
    document.add_testsuite(run)
    document.update_statistics()
    data = bytes(document.tostring())
    return data if data.startswith(b"<?xml") else _DECLARATION + data


def _suite(name: str, record: RunRecord) -> TestSuite:
    suite = TestSuite(_xml(name))
    if record.started:
        suite.timestamp = record.started
    return suite


def _case(group: str, probe: ProbeResult, *, strict: bool) -> TestCase:
    name = probe.name.removeprefix(f"{group}/")
    case = TestCase(_xml(name), classname=_xml(group), time=_time(probe.seconds))
    if (result := _result(probe, strict=strict)) is not None:
        case.result = [result]
    case.system_out = _xml("\n".join(_details(probe)))
    return case


def _result(probe: ProbeResult, *, strict: bool) -> _Result | None:
    if probe.status == "PASS":
        return None
    kinds: dict[str, type[_Result]] = {
        "FAIL": Failure,
        "KNOWN": Failure if strict else Skipped,
        "SKIP": Skipped,
    }
    return _outcome(kinds.get(probe.status, Error), probe.reason, probe.status)


def _details(probe: ProbeResult) -> Iterator[str]:
    if probe.directory:
        yield f"evidence: {probe.directory}"
    for subtest in probe.subtests:
        yield f"{subtest.status} {subtest.name}" + (f": {subtest.reason}" if subtest.reason else "")
    yield from _blocks(probe.splats)


def _blocks(splats: tuple[Splat, ...]) -> Iterator[str]:
    for splat in splats:
        yield f"--- {splat.kind} in {splat.console}, byte {splat.offset}"
        yield from splat.block


def _verdict(record: RunRecord) -> TestCase:
    case = TestCase("verdict", classname=_RUN, time=_time(record.seconds))
    if record.verdict != "PASS":
        kind = Failure if record.verdict == "FAIL" else Error
        case.result = [_outcome(kind, verdict_line(record), record.verdict)]
    case.system_out = _xml(
        "\n".join(
            [
                verdict_line(record),
                *(line for _, line in known_issues.lines(record)),
                *record.notes,
                *_blocks(record.splats),
            ]
        )
    )
    return case


def _outcome(kind: type[_Result], reason: str, status: str) -> _Result:
    """Return a result with its reason as its text too: GitLab shows no message."""
    result = kind(_xml(reason), status)
    result.text = _xml(reason)
    return result


def _time(seconds: float) -> float:
    """Return a time that Python does not write with an exponent."""
    return round(seconds, 3)


def _xml(text: str) -> str:
    """Return a text without the characters that XML 1.0 forbids."""
    return _FORBIDDEN.sub("", text)
