# SPDX-License-Identifier: GPL-2.0-only
"""Whatever a guest prints reaches each format, as text and not as markup."""

from __future__ import annotations

import contextlib
import html
import io
import json
import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from msgspec.structs import replace

from harness.cli.options import show
from harness.judge import ktap as judge
from harness.judge.ktap_document import KtapResult, flatten
from harness.judge.lines import short
from harness.kernel.series.patch import printable
from harness.records.base import Record
from harness.records.history import (
    Cell,
    CellState,
    HistoryState,
    PastResult,
    ResultHistory,
    ResultState,
    RunHistory,
)
from harness.records.outcome import Outcome
from harness.records.run import RunRecord
from harness.report import columns, history, jsonl, kcidb, ktap, summary
from harness.store.history import extract
from tests.unit.report import hostile, junit_schema

_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPE = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_DIRECTIVES = {"": "FAIL", "XFAIL": "KNOWN", "TIMEOUT": "HANG", "ERROR": ""}


def in_junit(record: RunRecord) -> None:
    root = junit_schema.read(record)
    cases = {f"{c.get('classname')}/{c.get('name')}": c for c in root.iter("testcase")}
    assert len(cases) == len(record.probes) + 1
    for case, probe in zip(list(cases.values())[:-1], record.probes, strict=True):
        said = case.findtext("system-out") or ""
        assert _xml(f"FAIL {probe.subtests[1].name}: {probe.subtests[1].reason}") in _xml(said)
        assert _xml(f"p{probe.name.split('/')[0][1:]}/") in _xml(case.get("classname", "") + "/")


def _xml(text: str) -> str:
    """Return a text as XML 1.0 can hold it, with its line ends and white space as one."""
    return " ".join(_FORBIDDEN.sub("", text).split())


def in_ktap(record: RunRecord) -> None:
    text = ktap.render(record)
    document = judge.parse(text)
    assert document.problems == ()
    assert document.unknown == ()
    *probes, run = document.results
    for found, probe in zip(probes, record.probes, strict=True):
        status, reason = _read(found)
        assert (_plain(found.description), status) == (probe.name, probe.status)
        assert reason == probe.reason
        below = flatten(found.subtests) if found.subtests else ()
        read = [(_plain(s.name), s.status, _plain(s.reason), s.rests_on) for s in below]
        assert read == [(s.name, s.status, s.reason, s.rests_on) for s in probe.subtests]
    assert (run.description, run.ok) == (ktap.RUN, record.verdict == "PASS")
    assert _plain(run.diagnostics[0]) == record.reason


def _read(found: KtapResult) -> tuple[str, str]:
    """Return the status and the reason of a probe's result."""
    if found.ok:
        return found.directive or "PASS", _plain(found.reason)
    if not found.directive:
        return "FAIL", _plain(found.diagnostics[0])
    status, _, reason = _plain(found.reason).partition(": ")
    return status, reason


def _plain(text: str) -> str:
    """Return a text without its escapes, as a reader of C would."""
    return _ESCAPE.sub(lambda m: chr(int("".join(filter(None, m.groups())) or "5c", 16)), text)


def in_jsonl(record: RunRecord) -> None:
    lines = list(jsonl.lines(record))
    assert [len(line.splitlines()) for line in lines] == [1] * (len(record.probes) + 1)
    run, *probes = map(json.loads, lines)
    assert (run["type"], run["reason"]) == ("run", record.reason)
    for found, probe in zip(probes, record.probes, strict=True):
        assert (found["type"], found["name"], found["reason"]) == (
            "probe",
            probe.name,
            probe.reason,
        )
        assert found["splats"][0]["block"] == list(probe.splats[0].block)


def in_kcidb(record: RunRecord) -> None:
    found = json.loads(kcidb.encode(kcidb.document([record])))
    tests = {test["comment"] for test in found["tests"] if "comment" in test}
    for probe in record.probes:
        words = (probe.name, probe.status, probe.reason)
        assert printable(": ".join(filter(None, words))) in tests
    assert len(found["tests"]) == 2 + 5 * len(record.probes)
    excerpt = printable(found["tests"][0]["log_excerpt"])
    assert printable(record.reason) in excerpt


def in_markdown(record: RunRecord) -> None:
    page = MarkdownIt("commonmark").enable("table").render("\n".join(summary.lines(record)))
    assert set(re.findall(r"</?([a-z0-9]+)", page)) == {"h3", "p", "ul", "li", "strong", "code"}
    shown = {html.unescape(each).strip() for each in re.findall(r"<code>(.*?)</code>", page)}
    wrong = [probe for probe in record.probes if probe.status not in ("PASS", "SKIP")]
    for probe in wrong[:200]:
        assert _shown(probe.reason) in shown
        assert _shown(probe.name) in shown


def _shown(text: str) -> str:
    return short(printable(text), 2000) or "-"


def in_history(record: RunRecord) -> None:
    past = ResultHistory(results=_results(record))
    shown = _printed(past, history.results(past))
    bad = sum(each.status != "PASS" for each in past.results)
    assert len(shown) == 1 + len(past.results) + bad + 2
    for each in past.results:
        assert any(columns.visible(each.name) in line for line in shown)
    runs = RunHistory(runs=(past.results[0].run,))
    assert len(_printed(runs, history.runs(runs))) == 2


def in_status(record: RunRecord) -> None:
    results = _results(record)
    tests = tuple(
        ResultState(
            name=each.name,
            category="regression",
            status=each.status,
            reason=f"x{each.reason}",
            known_issues=(record.reason,),
            first_bad=each.run,
        )
        for each in results
    )
    run, cell = results[0].run, results[0].cell
    assert cell is not None
    state = CellState(cell=cell, latest=run, before=None, tests=tests, passing=0, skipped=0)
    found = HistoryState(cells=(state,), counts={}, stale=0, exit_code=1)
    assert len(_printed(found, history.state(found))) == 2 + 3 * len(results) + 3


def _results(record: RunRecord) -> tuple[PastResult, ...]:
    started = "2026-11-29T00:00:00+00:00"
    hurt = replace(record, started=started, outcome=Outcome.PROBES_RAN)
    run = replace(extract.run_of(hurt, f"/runs/{record.reason}"), release=record.reason)
    words = dict.fromkeys(Cell.__struct_fields__, record.reason)
    return tuple(
        replace(each, run=run, cell=Cell(**words)) for each in extract.results_of(hurt, run)
    )


def _printed(found: Record, lines: Iterator[str]) -> list[str]:
    """Return the lines that a command prints, none of which does anything to a terminal."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        show(found, lines, as_json=False)
    shown = out.getvalue().removesuffix("\n").split("\n")
    assert [line for line in shown if not line.isprintable()] == []
    return shown


FORMATS: dict[str, Callable[[RunRecord], None]] = {
    "junit": in_junit,
    "ktap": in_ktap,
    "jsonl": in_jsonl,
    "kcidb": in_kcidb,
    "markdown": in_markdown,
    "history": in_history,
    "status": in_status,
}

every_format = pytest.mark.parametrize("check", FORMATS.values(), ids=FORMATS)


def test_there_are_200_lines() -> None:
    assert len(set(hostile.LINES)) >= 200


@every_format
def test_200_hostile_lines(check: Callable[[RunRecord], None]) -> None:
    check(hostile.record(hostile.LINES))


@every_format
@given(
    text=st.text(st.characters(codec="utf-8"), min_size=1, max_size=300), number=st.integers(0, 6)
)
def test_any_text(check: Callable[[RunRecord], None], text: str, number: int) -> None:
    check(hostile.record([text], first=number))
