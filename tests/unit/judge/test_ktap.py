# SPDX-License-Identifier: GPL-2.0-only
"""KTAP: ugly logs with what they say, and properties that hold for every text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.judge import ktap, ktap_document
from harness.judge.ktap_document import Directive, KtapDocument, KtapResult
from harness.judge.lines import decode

DATA = Path(__file__).parents[2] / "data" / "ktap"
LOGS = sorted(DATA.glob("*.ktap"))


def summary(document: KtapDocument) -> dict[str, object]:
    """Return a document in the form that the expected-results files have."""
    said: dict[str, object] = {
        "problems": [f"{problem.kind}@{problem.line}" for problem in document.problems],
        "unknown": len(document.unknown),
        "subtests": [[s.status, s.name, s.reason] for s in ktap_document.flatten(document)],
    }
    if document.plan is not None:
        said["plan"] = document.plan
    if document.skipped is not None:
        said["skipped"] = document.skipped
    return said


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.stem)
def test_ugly_log(log: Path) -> None:
    document = ktap.parse(decode(log.read_bytes()))
    assert summary(document) == json.loads(log.with_suffix(".json").read_text())


def test_every_ugly_log_has_its_expected_result() -> None:
    assert len(LOGS) >= 18
    assert {path.stem for path in DATA.iterdir()} == {path.stem for path in LOGS}


@pytest.mark.parametrize(
    ("line", "ok", "description", "directive", "reason"),
    [
        ("ok 1", True, "", "", ""),
        ("ok 1 name", True, "name", "", ""),
        ("ok 1 - name", True, "name", "", ""),
        ("ok 1 -", True, "-", "", ""),
        ("ok   1   - two words  ", True, "two words", "", ""),
        ("not ok 1 name # rcode=3", False, "name", "", "rcode=3"),
        ("ok 1 name # SKIP MADV_SPLIT: EINVAL", True, "name", "SKIP", "MADV_SPLIT: EINVAL"),
        ("not ok 1 name # SKIP", False, "name", "SKIP", ""),
        ("ok 1 name # skip: lower case", True, "name", "SKIP", "lower case"),
        ("ok 1 name #SKIP no space", True, "name", "SKIP", "no space"),
        ("ok 1 # SKIP kselftest's way", True, "", "SKIP", "kselftest's way"),
        ("ok 1 name # skipping is no directive", True, "name", "", "skipping is no directive"),
        ("not ok 1 name # ERROR # twice", False, "name", "ERROR", "# twice"),
        ("not ok 1 name # TIMEOUT 30 s", False, "name", "TIMEOUT", "30 s"),
    ],
)
def test_result_line(line: str, ok: bool, description: str, directive: str, reason: str) -> None:
    (result,) = ktap.parse(f"KTAP version 1\n1..1\n{line}\n").results
    assert (result.ok, result.description) == (ok, description)
    assert (result.directive, result.reason) == (directive, reason)


@pytest.mark.parametrize("line", ["okay 1", "ok, 1 thing", "OK 1 x", "nok 1", "ok x 1", "1...3"])
def test_what_only_looks_like_a_result(line: str) -> None:
    document = ktap.parse(f"KTAP version 1\n1..1\n{line}\nok 1 real\n")
    assert len(document.results) == 1
    assert document.unknown == (line,)
    assert document.problems == ()


@pytest.mark.parametrize(
    ("ok", "directive", "expected"),
    [
        (True, "", "PASS"),
        (False, "", "FAIL"),
        (True, "SKIP", "SKIP"),
        (False, "SKIP", "SKIP"),
        (True, "XFAIL", "SKIP"),
        (False, "XFAIL", "SKIP"),
        (True, "TODO", "PASS"),
        (False, "TODO", "SKIP"),
        (True, "TIMEOUT", "FAIL"),
        (False, "TIMEOUT", "FAIL"),
        (True, "ERROR", "FAIL"),
        (False, "ERROR", "FAIL"),
    ],
)
def test_status(ok: bool, directive: Directive, expected: str) -> None:
    assert ktap_document.status(KtapResult(number=1, ok=ok, directive=directive)) == expected


def test_indentation_by_two_and_by_four_is_the_same() -> None:
    two = "KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  ok 1 inner\nok 1 outer\n"
    assert ktap.parse(two.replace("  ", "    ")) == ktap.parse(two)


def test_very_long_lines() -> None:
    name = "x" * 1_000_000
    document = ktap.parse(f"KTAP version 1\n1..1\n# {name}\nnot ok 1 {name}\n")
    assert document.results[0].description == name
    assert document.problems == ()
    assert len(ktap_document.flatten(document)[0].reason) <= 1000


def test_nesting_has_a_limit() -> None:
    lines = "".join(f"{'  ' * depth}KTAP version 1\n" for depth in range(5000))
    assert "too-deep" in {problem.kind for problem in ktap.parse(lines).problems}


def test_every_cut_of_a_whole_output_is_noticed() -> None:
    whole = (DATA / "kunit-nested.ktap").read_text()
    assert ktap.parse(whole).problems == ()
    trusted = [cut for cut in range(len(whole)) if not ktap.parse(whole[:cut]).problems]
    assert [whole[:cut] for cut in trusted] == [""]


FRAGMENT = st.sampled_from(
    ["KTAP version 1", "TAP version 13", "1..2", "1..0 # SKIP no", "ok 1 a", "not ok 2", "ok", "#",
     "# Subtest: s", "ok 1 # TODO", "not ok", "[    1.234567] ok 1 b", "\x00", "\x1b[31m", "\ud800"]
)  # fmt: skip
LINE = st.builds(lambda indent, text: " " * indent + text, st.integers(0, 9), FRAGMENT | st.text())


@given(st.text() | st.lists(LINE).map("\n".join))
def test_never_raises(text: str) -> None:
    document = ktap.parse(text)
    assert all(problem.text for problem in document.problems)
    for subtest in ktap_document.flatten(document):
        assert subtest.name


@given(st.binary())
def test_bytes_never_raise(data: bytes) -> None:
    ktap.parse(decode(data))


WORD = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8).filter(
    lambda word: word.upper() not in ("SKIP", "TODO", "XFAIL", "TIMEOUT", "ERROR")
)
DIAGNOSTICS = st.lists(WORD, max_size=3).map(tuple)


@st.composite
def documents(draw: st.DrawFn, depth: int = 2) -> KtapDocument:
    """Draw a document without problems."""
    count = draw(st.integers(0, 3))
    results = []
    for number in range(1, count + 1):
        nested = draw(st.none() | documents(depth=depth - 1)) if depth else None
        if nested is not None:
            named = nested.results or nested.version
            nested = KtapDocument(
                version=nested.version,
                name=draw(st.just("") | WORD) if named else "",
                plan=nested.plan,
                results=nested.results,
                diagnostics=nested.diagnostics,
            )
        results.append(
            KtapResult(
                number=number,
                ok=draw(st.booleans()),
                description=draw(st.just("") | WORD),
                directive=draw(st.sampled_from(["", "SKIP", "TODO", "XFAIL", "TIMEOUT", "ERROR"])),
                reason=draw(st.just("") | WORD),
                diagnostics=draw(DIAGNOSTICS),
                subtests=nested,
            )
        )
    return KtapDocument(
        version=draw(st.sampled_from(["KTAP version 1", "TAP version 13"])),
        plan=count,
        results=tuple(results),
        diagnostics=draw(DIAGNOSTICS),
    )


def printed(document: KtapDocument, indent: str = "") -> Iterator[str]:
    """Yield the lines of a document, as a test would print them."""
    yield f"{indent}{document.version}"
    if document.name:
        yield f"{indent}# Subtest: {document.name}"
    yield f"{indent}1..{document.plan}"
    for result in document.results:
        if result.subtests is not None:
            yield from printed(result.subtests, indent + "  ")
        yield from (f"{indent}# {line}" for line in result.diagnostics)
        after = " ".join(part for part in (result.directive, result.reason) if part)
        said = f"{'ok' if result.ok else 'not ok'} {result.number} {result.description}".rstrip()
        yield f"{indent}{said} # {after}" if after else f"{indent}{said}"
    yield from (f"{indent}# {line}" for line in document.diagnostics)


@given(documents())
def test_printed_and_parsed_is_the_same(document: KtapDocument) -> None:
    assert ktap.parse("".join(f"{line}\n" for line in printed(document))) == document
