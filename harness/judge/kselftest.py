# SPDX-License-Identifier: GPL-2.0-only
"""The verdict on one of the kernel's own selftests, by kselftest's rules. Pure.

The exit code decides (tools/testing/selftests/kselftest.h), and TAP, where there is any, adds to
it. Many of these tests print none, or a plan that they do not keep to, so neither is a failure.
The first rule that applies:

==== ======================================================================== ======
 1   a result is ``not ok``, whatever the exit code                           FAIL
 2   the exit code is 4; the reason is the program's own                      SKIP
 3   the exit code is 0, but it printed that something failed                 FAIL
 4   the exit code is 0, but fewer results came than planned                  FAIL
 5   the exit code is 0, and every result is skipped                          SKIP
 6   the exit code is 0                                                       PASS
 7   the exit code is 2 (expected to fail), and a result is XFAIL             SKIP
 8   the exit code is 3 (passed where a failure was expected), the same       PASS
 9   any other                                                                FAIL
==== ======================================================================== ======

Exit codes 2 and 3 count only with an XFAIL result, because programs older than kselftest use them
for errors. A PASS has a reason where results were skipped, or where there was no TAP.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from harness.judge.ktap_document import EXPECTED, KtapDocument
from harness.judge.lines import clean, short
from harness.judge.partial import PartialVerdict, failed, last_line, stderr_note
from harness.records.probe import Subtest

PASS_CODE, FAIL_CODE, XFAIL_CODE, XPASS_CODE, SKIP_CODE = range(5)

#: How programs print a failure without TAP; a count of zero failures is not one.
_FAILURE = re.compile(
    r"\b(?:FAIL|FAILED|FAILURE|ERROR|Bail out!|Assertion .* failed)(?!\s*[=:]\s*0\b)(?![\w])"
    r"|\bfailed \[reason:|\[fail\]|^\s*not ok\b"
)

_SKIP = re.compile(r"\bskip", re.IGNORECASE)

# How many lines before a skip its reason keeps.
_KEPT_LINES = 2

#: What the frameworks print around every test.
_PROGRESS = re.compile(r"\[RUN\]|\s*(?:RUN|OK) ")

#: A result of uffd-unit-tests. The line begins before the test runs, so children may print in it.
_TESTING = re.compile(
    r"Testing (?P<name>.+?)\.\.\. .*?(?P<word>done|skipped|failed)"
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
    """Return the results that uffd-unit-tests prints, which uses no TAP.

    Args:
        text: standard output, such as ``Testing minor on shmem... skipped [reason: no /dev]``.
    """
    return tuple(
        Subtest(
            name=match["name"],
            status=_WORDS[match["word"]],
            reason=match["reason"] or "",
        )
        for match in map(_TESTING.match, map(clean, text.split("\n")))
        if match
    )


def judge(
    code: int, document: KtapDocument, subtests: Sequence[Subtest], text: str, stderr: str
) -> PartialVerdict:
    """Return the verdict on a test that exited, not killed by a signal.

    Args:
        code: its exit code.
        document: its standard output as TAP.
        subtests: the same, as the record has them.
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
            return PartialVerdict("SKIP", f"expected to fail, and failed: {_expected(document)}")
        return PartialVerdict("PASS", f"passed although expected to fail: {_expected(document)}")
    line = _failure_line(text, stderr) or last_line(stderr) or _last_of_test(text)
    return PartialVerdict("FAIL", f"exit code {code}: {short(line, 200) or 'no output'}")


def _success(
    document: KtapDocument, subtests: Sequence[Subtest], text: str, stderr: str
) -> PartialVerdict:
    """Rules 3 to 6."""
    failure = _failure_line(text, stderr)
    if failure:
        return PartialVerdict("FAIL", f"printed a failure, but exit code 0: {short(failure, 200)}")
    missing = next((p.text for p in document.problems if p.kind == "too-few"), "")
    if missing:
        return PartialVerdict("FAIL", f"{missing}, but exit code 0{stderr_note(stderr)}")
    skipped = [subtest for subtest in subtests if subtest.status == "SKIP"]
    if document.skipped is not None or (skipped and len(skipped) == len(subtests)):
        return PartialVerdict("SKIP", _skip_reason(document, subtests, text, stderr))
    left_out = [subtest for subtest in skipped if not subtest.reason.startswith(EXPECTED)]
    if left_out:
        first = f"{left_out[0].name}: {left_out[0].reason}".strip(": ")
        return PartialVerdict(
            "PASS", f"{len(left_out)} of {len(subtests)} results skipped: {first}"
        )
    return PartialVerdict("PASS", "" if subtests else "by its exit code; it prints no results")


def _skip_reason(
    document: KtapDocument, subtests: Sequence[Subtest], text: str, stderr: str
) -> str:
    """Return the reason of a skip as the program printed it."""
    if document.skipped:
        return document.skipped
    skipped = [s.reason or s.name for s in subtests if s.status == "SKIP"]
    if skipped:
        return "; ".join((skipped[-1], *_before_last_skip(document)))
    lines = [line.strip() for line in map(clean, f"{stderr}\n{text}".split("\n"))]
    skip_line = next((line for line in lines if _SKIP.search(line)), "")
    last = [line for line in lines if line][-_KEPT_LINES:]
    reason = skip_line or last_line(stderr) or " ".join(line.lstrip("# ") for line in last)
    return reason.lstrip("# ") or f"exit code {SKIP_CODE}, no output"


def _before_last_skip(document: KtapDocument) -> tuple[str, ...]:
    """Return the lines before the last skip: they often have the cause that the skip omits."""
    last = next((r for r in reversed(document.results) if r.directive == "SKIP"), None)
    before = last.diagnostics[-_KEPT_LINES:] if last is not None else ()
    return tuple(line for line in before if line and not _PROGRESS.match(line))


def _failure_line(text: str, stderr: str) -> str:
    """Return the first line that reports a failure; empty without one."""
    lines = (line.strip() for line in map(clean, f"{text}\n{stderr}".split("\n")))
    return next((line for line in lines if _FAILURE.search(line)), "")


def _last_of_test(text: str) -> str:
    """Return the last line that the framework did not print."""
    kept = [line for line in text.split("\n") if not _FRAMEWORK.match(clean(line))]
    return last_line("\n".join(kept)).lstrip("# ")


def _expected(document: KtapDocument) -> str:
    """Return the reason of the first XFAIL result; empty without one."""
    return next(
        (
            r.reason or r.description or "no reason given"
            for r in document.results
            if r.directive == "XFAIL"
        ),
        "",
    )
