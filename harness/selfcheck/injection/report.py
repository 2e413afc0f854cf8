# SPDX-License-Identifier: GPL-2.0-only
"""How disturbed runs ended: lines for people, and the table for ``docs/results`` in Markdown."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TextIO

from harness.selfcheck.injection.campaign import Injections
from harness.selfcheck.injection.catalogue import KINDS, Kind
from harness.selfcheck.injection.runner import Injection


def write_list(kinds: Sequence[Kind], stream: TextIO) -> None:
    """Write a line a fault: its name, what it does, and when it may come."""
    width = max(len(kind.name) for kind in kinds)
    for kind in kinds:
        needs = "; needs root" if kind.needs_root else ""
        stream.write(f"{kind.name:<{width}}  {kind.does} (in {', '.join(kind.stages)}{needs})\n")


def write(found: Injections, stream: TextIO) -> None:
    """Write the report as plain lines."""
    stream.write("\n".join(lines(found)) + "\n")


def lines(found: Injections) -> Iterator[str]:
    """Yield the report's lines: what went wrong, a line a fault, the verdict."""
    for row in (*found.rows, found.after):
        if row.outcome != "right":
            yield f"{row.outcome:<7}  {row.number:03} {row.kind}: {'; '.join(row.wrong)}"
    width = max((len(row.kind) for row in found.rows), default=0)
    for kind in KINDS:
        rows = [row for row in found.rows if row.kind == kind.name]
        if rows:
            yield f"{kind.name:<{width}}  {_right(rows)} right; {_ends(rows)}"
    yield f"record   {found.directory}"
    yield verdict_line(found)


def verdict_line(found: Injections) -> str:
    """Return the last line: how many runs were disturbed, and how many ended right."""
    counts = Counter(row.outcome for row in found.rows)
    injected = counts["right"] + counts["wrong"]
    parts = [f"{counts['right']} of {injected} disturbed runs ended right"]
    if counts["not run"]:
        parts.append(f"{counts['not run']} faults were not injected")
    parts.append(f"the run after them: {found.after.verdict or 'no record'}")
    return f"{'PASS' if found.exit_code == 0 else 'FAIL'}: {', '.join(parts)}"


def markdown(found: Injections) -> str:
    """Return the page for ``docs/results``."""
    return "\n".join(_page(found)) + "\n"


def _page(found: Injections) -> Iterator[str]:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    yield "<!-- SPDX-License-Identifier: GPL-2.0-only -->"
    yield "# How disturbed runs ended"
    yield ""
    asked = f"--count {len(found.rows)} --seed {found.seed}"
    yield f"Made by `hgm selfcheck inject {asked} --markdown` on {today};"
    yield f"host {found.host}, guest {found.release}."
    yield f"{verdict_line(found)}."
    yield ""
    yield "| fault | what is done | right | start | boot | probe | ends | results kept | median s |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for kind in KINDS:
        rows = [row for row in found.rows if row.kind == kind.name]
        if rows:
            yield _row(kind, rows)
    wrong = [row for row in (*found.rows, found.after) if row.outcome != "right"]
    if wrong:
        yield ""
        yield "## Not right"
        yield ""
        yield from (f"- {row.number:03} `{row.kind}`: {'; '.join(row.wrong)}" for row in wrong)


def _row(kind: Kind, rows: Sequence[Injection]) -> str:
    stages = Counter(row.moment.stage for row in rows if row.moment is not None)
    seconds = sorted(row.seconds for row in rows)[len(rows) // 2]
    cells = (
        f"`{kind.name}`",
        kind.does,
        _right(rows),
        *(str(stages[stage]) for stage in ("start", "boot", "probe")),
        _ends(rows),
        str(sum(row.kept for row in rows)),
        f"{seconds:.1f}",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _right(rows: Sequence[Injection]) -> str:
    return f"{sum(row.outcome == 'right' for row in rows)} of {len(rows)}"


def _ends(rows: Sequence[Injection]) -> str:
    """Return how often which verdict came with which exit code, the most frequent first."""
    ran = [row for row in rows if row.outcome != "not run"]
    ends = Counter(f"{row.verdict or 'no record'} ({row.exit_code})" for row in ran)
    return ", ".join(f"{count} {end}" for end, count in ends.most_common()) or "not run"
