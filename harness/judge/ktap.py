# SPDX-License-Identifier: GPL-2.0-only
"""Read KTAP, the kernel's test output format, from the output of a probe. Pure.

The format is Documentation/dev-tools/ktap.rst of Linux, version 1; the headers of TAP 13 and 14
and kselftest's dialect of them are understood too. `parse` never raises: it lists what is wrong in
`KtapDocument.problems`, and the judge decides what that means.

Other lines are allowed anywhere by the format, because kernel messages may come in between; they
never change a result.

Our own, because no maintained Python library reads KTAP; the parser in the kernel's
tools/testing/kunit is not packaged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import get_args

from harness.judge import promises
from harness.judge.ktap_document import (
    Directive,
    KtapDocument,
    KtapProblem,
    KtapResult,
    ProblemKind,
)
from harness.judge.lines import Line, split, stamp

#: Deeper nesting is refused, so that a hostile document cannot exhaust the stack.
MAX_DEPTH = 16

_DIRECTIVES: dict[str, Directive] = {name: name for name in get_args(Directive) if name}

# Numbers have at most nine digits: longer ones are noise, and int() refuses very long ones.
_VERSION = re.compile(r"(?:K?TAP version [0-9]{1,9})\Z")
_PLAN = re.compile(r"1\.\.([0-9]{1,9})(?:\s*#\s*SKIP\b:?\s*(.*))?\Z", re.IGNORECASE)
_RESULT = re.compile(r"(not ok|ok)(?: +([0-9]{1,9})(?: +(?:- *)?(?=\S)([^#]*))?\s*(?:#(.*))?)\Z")
_UNNUMBERED = re.compile(r"not ok(?:\s|\Z)|ok\Z|ok +(?:-|#)")
_SUBTEST = re.compile(r"# Subtest: *(.*)\Z")
_DIRECTIVE = re.compile(r"([A-Za-z]+)\b:?\s*(.*)\Z", re.DOTALL)


def parse(text: str) -> KtapDocument:
    """Return the results in ``text``; never raises."""
    parser = _Parser()
    lines = split(text)
    for line in lines:
        parser.feed(line)
    if lines and not lines[-1].ended:
        parser.report("cut", lines[-1].number, f"the last line has no end: {lines[-1].text!r}")
    return parser.finish()


@dataclass
class _Block:
    """A document while it is read."""

    indent: int
    version: str = ""
    name: str = ""
    plan: int | None = None
    skipped: str | None = None
    results: list[KtapResult] = field(default_factory=list)
    diagnostics: list[str] = field(default_factory=list)
    nested: KtapDocument | None = None
    nested_name: str = ""
    rests_on: tuple[str, ...] = ()
    last_number: int = 0

    def take_diagnostics(self) -> tuple[str, ...]:
        taken = tuple(self.diagnostics)
        self.diagnostics.clear()
        return taken

    def complete(self) -> bool:
        return self.plan is not None and len(self.results) >= self.plan


class _Parser:
    """Reads line by line; keeps the documents that are open, the outermost first."""

    def __init__(self) -> None:
        self.open: list[_Block] = []
        self.problems: list[KtapProblem] = []
        self.unknown: list[str] = []

    def report(self, kind: ProblemKind, line: int, text: str) -> None:
        where = f"line {line}: {text}" if line else text
        self.problems.append(KtapProblem(kind=kind, line=line, text=where))

    def feed(self, line: Line) -> None:
        from_kernel, unstamped = stamp(line.text)
        body = unstamped.strip(" \t")
        indent = len(unstamped) - len(unstamped.lstrip(" "))
        if _VERSION.match(body):
            self._version(body, indent, line.number)
        elif plan := _PLAN.match(body):
            self._plan(plan, indent, line.number)
        elif result := _RESULT.match(body):
            self._result(result, indent, line.number)
        elif _UNNUMBERED.match(body):
            self._enter(indent, line.number)
            self.report("no-number", line.number, f"a result without a number: {body[:80]!r}")
        elif body.startswith("# checkpoint "):
            pass  # for the host, see `harness.judge.checkpoint`; not the reason of a result
        elif body.startswith(promises.ANSWER):
            pass  # the probe's, not a result's
        elif body.startswith(promises.RESTS_ON):
            self._enter(indent, line.number).rests_on = promises.rests_on(body)
        elif body.startswith("#"):
            self._diagnostic(body, indent)
        elif body:
            self._stray(line.text, line.number, from_kernel=from_kernel)

    def finish(self) -> KtapDocument:
        while len(self.open) > 1:
            self._close()
        root = self.open[0] if self.open else _Block(0)
        if self.open:
            self._seal(root)
        return _freeze(root, tuple(self.problems), tuple(self.unknown))

    def _version(self, body: str, indent: int, number: int) -> None:
        while len(self.open) > 1 and self.open[-1].indent > indent:
            self._close()
        top = self.open[-1] if self.open else None
        if top is None or indent > top.indent:
            self._open(_Block(indent, version=body), number)
        elif top.version or top.results:
            self.report("second-version", number, f"a second version line: {body}")
        else:
            top.version = body

    def _plan(self, plan: re.Match[str], indent: int, number: int) -> None:
        block = self._enter(indent, number)
        if block.plan is not None:
            self.report("second-plan", number, f"a second plan: {plan[0][:80]}")
            return
        block.plan = int(plan[1])
        block.skipped = plan[2]

    def _result(self, match: re.Match[str], indent: int, number: int) -> None:
        block = self._enter(indent, number)
        count = int(match[2])
        expected = block.last_number + 1
        if count != expected:
            self.report(
                "out-of-order", number, f"result {count} where {expected} was expected: {match[0]}"
            )
        block.last_number = count
        directive, reason = _directive(match[4])
        block.results.append(
            KtapResult(
                number=count,
                ok=match[1] == "ok",
                description=(match[3] or "").strip(),
                directive=directive,
                reason=reason,
                diagnostics=block.take_diagnostics(),
                subtests=block.nested,
                rests_on=block.rests_on,
            )
        )
        block.nested, block.nested_name, block.rests_on = None, "", ()

    def _diagnostic(self, body: str, indent: int) -> None:
        if not self.open:
            self._stray(body, 0, from_kernel=True)
            return
        block = next((b for b in reversed(self.open) if b.indent <= indent), self.open[0])
        name = _SUBTEST.match(body)
        if name is None:
            block.diagnostics.append(body[1:].strip())
        elif block is self.open[0] or block.name or block.results or indent > block.indent:
            block.nested_name = name[1].strip()
        else:
            block.name = name[1].strip()

    def _stray(self, text: str, number: int, *, from_kernel: bool) -> None:
        self.unknown.append(text)
        if from_kernel:
            return
        kind: ProblemKind | None = None
        if not self.open:
            kind = "garbage-before"
        elif self.open[0].complete():
            kind = "garbage-after"
        if kind is not None and not any(problem.kind == kind for problem in self.problems):
            self.report(kind, number, f"not a line of KTAP: {text[:80]!r}")

    def _enter(self, indent: int, number: int) -> _Block:
        """Return the document that a line with this indentation belongs to."""
        while len(self.open) > 1 and self.open[-1].indent > indent:
            self._close()
        if not self.open or indent > self.open[-1].indent:
            named = bool(self.open and self.open[-1].nested_name)
            self._open(_Block(indent), number)
            if not named:
                self.report("no-version", number, "results without a version line before them")
        return self.open[-1]

    def _open(self, block: _Block, number: int) -> None:
        if len(self.open) == MAX_DEPTH:
            self.report("too-deep", number, f"nested deeper than {MAX_DEPTH} levels")
            return
        if self.open:
            parent = self.open[-1]
            self._adopt(parent)
            block.name, parent.nested_name = parent.nested_name, ""
        self.open.append(block)

    def _close(self) -> None:
        block = self.open.pop()
        self._seal(block)
        self.open[-1].nested = _freeze(block)

    def _adopt(self, block: _Block) -> None:
        """Keep nested results whose parent has no result line; they cannot make a PASS."""
        if block.nested is None:
            return
        name = block.nested.name
        self.report("no-parent", 0, f"the result of the subtests of {name or 'a test'} is missing")
        block.results.append(
            KtapResult(
                number=None,
                ok=False,
                description=name,
                diagnostics=block.take_diagnostics(),
                subtests=block.nested,
            )
        )
        block.nested = None

    def _seal(self, block: _Block) -> None:
        """Compare a document that has ended with its plan."""
        self._adopt(block)
        where = f" in {block.name}" if block.name else ""
        had = sum(result.number is not None for result in block.results)
        if block.plan is None:
            self.report("no-plan", 0, f"no plan (1..N){where}")
        elif had < block.plan:
            self.report("too-few", 0, f"{had} of {block.plan} planned results{where}")
        elif had > block.plan:
            self.report("too-many", 0, f"{had} results, {block.plan} planned{where}")


def _directive(data: str | None) -> tuple[Directive, str]:
    """Return the directive and the reason after a result's ``#``."""
    text = (data or "").strip()
    match = _DIRECTIVE.match(text)
    known = _DIRECTIVES.get(match[1].upper()) if match else None
    return (known, match[2].strip()) if match and known else ("", text)


def _freeze(
    block: _Block, problems: tuple[KtapProblem, ...] = (), unknown: tuple[str, ...] = ()
) -> KtapDocument:
    return KtapDocument(
        version=block.version,
        name=block.name,
        plan=block.plan,
        skipped=block.skipped,
        results=tuple(block.results),
        diagnostics=block.take_diagnostics(),
        problems=problems,
        unknown=unknown,
    )
