# SPDX-License-Identifier: GPL-2.0-only
"""A KTAP document as records, what its result lines mean, and its results as `Subtest`. Pure.

The format is Documentation/dev-tools/ktap.rst of Linux, version 1; `harness.judge.ktap` reads it.
"""

from __future__ import annotations

from typing import Literal

from harness.records.base import Record
from harness.records.probe import Subtest

Directive = Literal["", "SKIP", "TODO", "XFAIL", "TIMEOUT", "ERROR"]

#: What can be wrong with a document.
ProblemKind = Literal[
    "no-version",  # results, but no version line opens them
    "second-version",  # a version line inside a document that has one
    "no-plan",
    "second-plan",
    "too-few",  # fewer results than planned
    "too-many",
    "no-number",  # a result line without a number, which is not counted
    "out-of-order",
    "no-parent",  # subtests whose own result never came
    "too-deep",
    "cut",  # the last line has no end
    "garbage-before",  # lines of no known form before the first version line
    "garbage-after",  # the same after the last planned result
]

#: Begins the reason of a result that was expected to fail and did, and so counts as skipped.
EXPECTED = "expected to fail"

# What a record keeps of the diagnostics of one subtest; the KTAP file has all of them.
_KEPT_LINES = 5
_KEPT_CHARACTERS = 1000


class KtapProblem(Record, frozen=True, kw_only=True):
    """One reason not to trust a document.

    Attributes:
        kind: what is wrong.
        line: number of the line, from 1; 0 where it is about the whole text.
        text: one line for people.
    """

    kind: ProblemKind
    line: int
    text: str


class KtapDocument(Record, frozen=True, kw_only=True):
    """A run of results at one level of nesting.

    Attributes:
        version: the version line; empty where there is none.
        name: what a ``# Subtest:`` line calls it; empty where there is none.
        plan: number of results announced; None without a plan.
        skipped: reason of a plan such as ``1..0 # SKIP no hugetlb``; None without one.
        results: in the order they came.
        diagnostics: diagnostic lines after the last result, without their ``#``.
        problems: of this document and all below it; kept in the outermost one only.
        unknown: lines of no known form; kept in the outermost document only.
    """

    version: str = ""
    name: str = ""
    plan: int | None = None
    skipped: str | None = None
    results: tuple[KtapResult, ...] = ()
    diagnostics: tuple[str, ...] = ()
    problems: tuple[KtapProblem, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Return whether the text has no KTAP at all."""
        return not (self.version or self.results or self.plan is not None)


class KtapResult(Record, frozen=True, kw_only=True):
    """One result line, what came before it, and the results nested in it.

    Attributes:
        number: as printed; None where the line never came (see ``no-parent``).
        ok: ``ok`` or ``not ok``, before any directive is applied.
        description: the test's name; may be empty.
        directive: empty, or one that the format knows.
        reason: what follows the directive, or the ``#`` where there is none.
        diagnostics: diagnostic lines since the result before it, without their ``#``.
        subtests: the document nested in it.
        rests_on: promises, from our probes' ``# rests on`` line; see `harness.judge.promises`.
    """

    number: int | None
    ok: bool
    description: str = ""
    directive: Directive = ""
    reason: str = ""
    diagnostics: tuple[str, ...] = ()
    subtests: KtapDocument | None = None
    rests_on: tuple[str, ...] = ()


def status(result: KtapResult) -> Literal["PASS", "FAIL", "SKIP"]:
    """Return what a result line means with its directive applied.

    A test that is expected to fail and does (XFAIL, or TODO with ``not ok``) shows nothing about
    the kernel, so it counts as skipped. TIMEOUT and ERROR are failures, also after ``ok``.
    """
    if result.directive in ("SKIP", "XFAIL"):
        return "SKIP"
    if result.directive in ("TIMEOUT", "ERROR"):
        return "FAIL"
    if result.directive == "TODO" and not result.ok:
        return "SKIP"
    return "PASS" if result.ok else "FAIL"


def flatten(document: KtapDocument) -> tuple[Subtest, ...]:
    """Return every result line as a `Subtest`, nested ones before their parent."""
    found: list[Subtest] = []
    _flatten(document, "", found)
    return tuple(found)


def _flatten(document: KtapDocument, prefix: str, found: list[Subtest]) -> None:
    for index, result in enumerate(document.results, 1):
        name = prefix + (result.description or f"test {result.number or index}")
        if result.subtests is not None:
            _flatten(result.subtests, f"{name} > ", found)
        found.append(
            Subtest(
                name=name,
                status=status(result),
                reason=_reason(result),
                rests_on=result.rests_on,
            )
        )


def _reason(result: KtapResult) -> str:
    """Return why a result is what it is; diagnostics of a PASS stay in the KTAP file."""
    parts = [result.reason] if result.reason else []
    if result.directive in ("XFAIL", "TODO") and status(result) == "SKIP":
        parts.insert(0, EXPECTED)
    elif result.directive in ("TIMEOUT", "ERROR"):
        parts.insert(0, result.directive)
    if status(result) == "FAIL" or not parts:
        parts += result.diagnostics[:_KEPT_LINES] if status(result) != "PASS" else ()
    if result.number is None:
        parts.insert(0, "its result line is missing")
    return "; ".join(parts)[:_KEPT_CHARACTERS]
