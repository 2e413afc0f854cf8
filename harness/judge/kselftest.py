# SPDX-License-Identifier: GPL-2.0-only
"""What one of the kernel's own tests says, by kselftest's rules.

There the exit code speaks (tools/testing/selftests/kselftest.h), and TAP, where there is any, says
more. Many of these tests print none, or a plan that they do not keep to, so neither is a failure.
But a success has to be believed:

==== ======================================================================== ======
 1   a result is ``not ok``, whatever the exit code                           FAIL
 2   the exit code is 4, with the program's own words for it                  SKIP
 3   the exit code is 0, yet it printed that something failed                 FAIL
 4   the exit code is 0, yet results are missing that its plan had announced  FAIL
 5   the exit code is 0, and every result is skipped                          SKIP
 6   the exit code is 0                                                       PASS
 7   the exit code is 2 (expected to fail), and an XFAIL result says so       SKIP
 8   the exit code is 3 (passed where a failure was expected), the same       PASS
 9   any other                                                                FAIL
==== ======================================================================== ======

Exit codes 2 and 3 need that witness since programs older than kselftest use them for errors. A PASS
has a reason where there is more to say: results that were skipped, or that there was no TAP.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from harness.judge import ktap
from harness.judge.ktap import KtapDocument
from harness.judge.lines import clean, short
from harness.judge.partial import PartialVerdict, aside, failed, last_line
from harness.records.probe import Subtest

PASS_CODE, FAIL_CODE, XFAIL_CODE, XPASS_CODE, SKIP_CODE = range(5)

#: A failure in the words of a program that has no TAP for it. Counters of zero are none.
_FAILURE = re.compile(
    r"\b(?:FAIL|FAILED|FAILURE|ERROR|Bail out!|Assertion .* failed)(?!\s*[=:]\s*0\b)(?![\w])"
    r"|\bfailed \[reason:|\[fail\]|^\s*not ok\b"
)

_SKIP = re.compile(r"\bskip", re.IGNORECASE)

# What a reason keeps of what was said before a skip.
_KEPT_LINES = 2

#: What the frameworks print around a test, which says nothing about it.
_PROGRESS = re.compile(r"\[RUN\]|\s*(?:RUN|OK) ")

#: A result of uffd-unit-tests. It begins the line before it has one, so children may print inside.
_TESTING = re.compile(
    r"Testing (?P<name>.+?)\.\.\. .*?(?P<said>done|skipped|failed)"
    r"(?: \[reason: (?P<reason>.*)\])?\s*$"
)
_WORDS: dict[str, Literal["PASS", "FAIL", "SKIP"]] = {
    "done": "PASS",
    "skipped": "SKIP",
    "failed": "FAIL",
}

#: Lines that every test of kselftest's framework prints.
_FRAMEWORK = re.compile(r"^\s*(?:(?:K?TAP) version \d+|\d+\.\.\d+|# Totals:.*|#?\s*-+\s*)$")


def results(text: str) -> tuple[Subtest, ...]:
    """Return the results in the words of uffd-unit-tests, which has many and prints no TAP.

    Args:
        text: standard output, such as ``Testing minor on shmem... skipped [reason: no /dev]``.
    """
    return tuple(
        Subtest(
            name=match["name"],
            status=_WORDS[match["said"]],
            reason=match["reason"] or "",
        )
        for match in map(_TESTING.match, map(clean, text.split("\n")))
        if match
    )


def judge(
    code: int, document: KtapDocument, subtests: Sequence[Subtest], text: str, stderr: str
) -> PartialVerdict:
    """Return what a test says that ended by itself, and by no signal.

    Args:
        code: its exit code.
        document: its standard output as TAP.
        subtests: the same, as the record has it.
        text: its standard output.
        stderr: its standard error.
    """
    bad = [subtest for subtest in subtests if subtest.status == "FAIL"]
    if bad:
        return PartialVerdict("FAIL", failed(bad, code))
    if code == SKIP_CODE:
        return PartialVerdict("SKIP", _skip_reason(document, subtests, text, stderr))
    if code == PASS_CODE:
        return _success(document, subtests, text, stderr)
    if code in (XFAIL_CODE, XPASS_CODE) and _expected(document):
        if code == XFAIL_CODE:
            return PartialVerdict("SKIP", f"expected to fail, and does: {_expected(document)}")
        return PartialVerdict("PASS", f"passed where a failure was expected: {_expected(document)}")
    said = _said_failed(text, stderr) or last_line(stderr) or _last_words(text)
    return PartialVerdict("FAIL", f"exit code {code}: {short(said, 200) or 'it printed nothing'}")


def _success(
    document: KtapDocument, subtests: Sequence[Subtest], text: str, stderr: str
) -> PartialVerdict:
    """Rules 3 to 6."""
    said = _said_failed(text, stderr)
    if said:
        return PartialVerdict("FAIL", f"printed a failure, yet exit code 0: {short(said, 200)}")
    missing = next((p.text for p in document.problems if p.kind == "too-few"), "")
    if missing:
        return PartialVerdict("FAIL", f"{missing}, yet exit code 0{aside(stderr)}")
    skipped = [subtest for subtest in subtests if subtest.status == "SKIP"]
    if document.skipped is not None or (skipped and len(skipped) == len(subtests)):
        return PartialVerdict("SKIP", _skip_reason(document, subtests, text, stderr))
    left_out = [subtest for subtest in skipped if not subtest.reason.startswith(ktap.EXPECTED)]
    if left_out:
        first = f"{left_out[0].name}: {left_out[0].reason}".strip(": ")
        return PartialVerdict(
            "PASS", f"{len(left_out)} of {len(subtests)} results skipped: {first}"
        )
    return PartialVerdict("PASS", "" if subtests else "by its exit code; it prints no results")


def _skip_reason(
    document: KtapDocument, subtests: Sequence[Subtest], text: str, stderr: str
) -> str:
    """Return the program's own words for a skip, the nearest to the point first."""
    if document.skipped:
        return document.skipped
    skipped = [s.reason or s.name for s in subtests if s.status == "SKIP"]
    if skipped:
        return "; ".join((skipped[-1], *_before_last_skip(document)))
    lines = [line.strip() for line in map(clean, f"{stderr}\n{text}".split("\n"))]
    spoken = next((line for line in lines if _SKIP.search(line)), "")
    last = [line for line in lines if line][-_KEPT_LINES:]
    said = spoken or last_line(stderr) or " ".join(line.lstrip("# ") for line in last)
    return said.lstrip("# ") or f"exit code {SKIP_CODE}, and it printed nothing"


def _before_last_skip(document: KtapDocument) -> tuple[str, ...]:
    """Return what a test said just before it skipped: often the cause, the skip but a guess."""
    last = next((r for r in reversed(document.results) if r.directive == "SKIP"), None)
    said = last.diagnostics[-_KEPT_LINES:] if last is not None else ()
    return tuple(line for line in said if line and not _PROGRESS.match(line))


def _said_failed(text: str, stderr: str) -> str:
    """Return the first line that says that something failed, if there is one."""
    lines = (line.strip() for line in map(clean, f"{text}\n{stderr}".split("\n")))
    return next((line for line in lines if _FAILURE.search(line)), "")


def _last_words(text: str) -> str:
    kept = [line for line in text.split("\n") if not _FRAMEWORK.match(clean(line))]
    return last_line("\n".join(kept)).lstrip("# ")


def _expected(document: KtapDocument) -> str:
    """Return the first result that says that its failure was expected."""
    return next(
        (
            r.reason or r.description or "no more"
            for r in document.results
            if r.directive == "XFAIL"
        ),
        "",
    )
