# SPDX-License-Identifier: GPL-2.0-only
"""The result of `hgm selfcheck inject`: as text, and as a page for ``docs/results``."""

from __future__ import annotations

import datetime
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TextIO, get_args

from harness.report import markdown
from harness.selfcheck.injection.campaign import Injections
from harness.selfcheck.injection.catalogue import FAULTS, HostFault
from harness.selfcheck.injection.oracle import Stage
from harness.selfcheck.injection.runner import Injection


def write_list(faults: Sequence[HostFault], stream: TextIO) -> None:
    """Write a line for each fault: its name, its effect, and the stages it may be injected in."""
    width = max(len(fault.name) for fault in faults)
    for fault in faults:
        needs = "; needs root" if fault.small_disk else ""
        stages = ", ".join(fault.stages)
        stream.write(f"{fault.name:<{width}}  {fault.does} (in {stages}{needs})\n")


def lines(found: Injections) -> Iterator[str]:
    """Yield the report's lines: what went wrong, a line a fault, the verdict."""
    for row in _not_right(found):
        yield f"{row.result:<7}  {row.number:03} {row.fault}: {'; '.join(row.violations)}"
    width = max((len(row.fault) for row in found.rows), default=0)
    for fault, rows in _by_fault(found):
        yield f"{fault.name:<{width}}  {_right(rows)} right; {_ends(rows)}"
    yield f"record   {found.directory}"
    yield verdict_line(found)


def verdict_line(found: Injections) -> str:
    """Return the last line: how many faults were injected, and how many runs ended right."""
    counts = Counter(row.result for row in found.rows)
    injected = counts["right"] + counts["wrong"]
    parts = [f"{counts['right']} of {injected} runs with a fault ended right"]
    if counts["not run"]:
        parts.append(f"{counts['not run']} faults were not injected")
    parts.append(f"the run after them: {found.after.verdict or 'no record'}")
    return f"{'PASS' if found.exit_code == 0 else 'FAIL'}: {', '.join(parts)}"


def page(found: Injections) -> str:
    """Return the page in Markdown."""
    return "\n".join(_page(found)) + "\n"


def _page(found: Injections) -> Iterator[str]:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    command = f"hgm selfcheck inject --count {len(found.rows)} --seed {found.seed} --markdown"
    yield from markdown.heading("Runs with injected faults", command)
    yield f"{today}, host {found.host}, guest {found.release}. {verdict_line(found)}."
    yield ""
    stages = get_args(Stage)
    numbers = ("right", *stages, "results kept", "median s")
    headings = ("fault", "what is done", "right", *stages, "ends", "results kept", "median s")
    rows = (_row(fault, rows) for fault, rows in _by_fault(found))
    yield from markdown.table(headings, rows, right=numbers)
    wrong = _not_right(found)
    if wrong:
        yield ""
        yield "## Not right"
        yield ""
        for row in wrong:
            violations = markdown.escaped("; ".join(row.violations))
            yield f"- {row.number:03} `{row.fault}`: {violations}"


def _row(fault: HostFault, rows: Sequence[Injection]) -> tuple[str, ...]:
    stages = Counter(row.moment.stage for row in rows if row.moment is not None)
    return (
        f"`{fault.name}`",
        fault.does,
        _right(rows),
        *(str(stages[stage]) for stage in get_args(Stage)),
        _ends(rows),
        str(sum(row.kept for row in rows)),
        f"{statistics.median(row.seconds for row in rows):.1f}",
    )


def _by_fault(found: Injections) -> Iterator[tuple[HostFault, list[Injection]]]:
    for fault in FAULTS:
        rows = [row for row in found.rows if row.fault == fault.name]
        if rows:
            yield fault, rows


def _not_right(found: Injections) -> list[Injection]:
    return [row for row in (*found.rows, found.after) if row.result != "right"]


def _right(rows: Sequence[Injection]) -> str:
    return f"{sum(row.result == 'right' for row in rows)} of {len(rows)}"


def _verdict(row: Injection) -> str:
    return row.verdict or ("no record" if row.again is None else "a matrix")


def _ends(rows: Sequence[Injection]) -> str:
    """Return how often each verdict came with each exit code, the most frequent first."""
    ran = [row for row in rows if row.result != "not run"]
    ends = Counter(f"{_verdict(row)} ({row.exit_code})" for row in ran)
    return ", ".join(f"{count} {end}" for end, count in ends.most_common()) or "not run"
