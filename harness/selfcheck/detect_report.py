# SPDX-License-Identifier: GPL-2.0-only
"""The result of `hgm selfcheck detect`: as text, and as a page for ``docs/results``."""

from __future__ import annotations

import collections
import datetime
from collections.abc import Iterator, Sequence
from typing import TextIO

from harness.kernel.faults import Fault
from harness.probes import catalog
from harness.records.probe import ProbeSpec
from harness.report import markdown, matrix
from harness.selfcheck.detect import Detection, FaultRow


def write_list(faults: Sequence[Fault], stream: TextIO) -> None:
    """Write a line for each fault: its name, its class and its effect."""
    width = max((len(fault.name) for fault in faults), default=0)
    for fault in faults:
        on = " + ".join((fault.on, *fault.config))
        stream.write(f"{fault.name:<{width}}  {fault.kind}: {fault.seeds} (on {on})\n")
    kinds = len({fault.kind for fault in faults})
    stream.write(f"{len(faults)} faults in {kinds} classes\n")


def lines(found: Detection) -> Iterator[str]:
    """Yield the report's lines."""
    width = max((len(row.fault) for row in found.rows), default=0)
    for row in found.rows:
        yield f"{row.result:<14}  {row.fault:<{width}}  {row.by or '-'}: {row.reason}"
    for alarm in found.alarms:
        yield f"{'ALARM':<14}  {alarm.kernel}: {alarm.what}; {alarm.run_dir}"
    yield f"record   {found.directory}"
    yield verdict_line(found)


def verdict_line(found: Detection) -> str:
    """Return the last line: how many faults were caught, and how many alarms were false."""
    parts = []
    if found.rows:
        results = collections.Counter(row.result for row in found.rows)
        parts.append(f"{results.pop('caught', 0)} of {len(found.rows)} faults caught")
        parts += [f"{result}: {count}" for result, count in sorted(results.items())]
    if found.unfaulted:
        runs = sum(found.unfaulted.values())
        parts.append(f"{len(found.alarms)} false alarms in {runs} runs without a fault")
    verdict = {0: "PASS", 1: "FAIL"}.get(found.exit_code, "ERROR")
    return f"{verdict}: {', '.join(parts) or 'nothing was run'}"


def page(found: Detection, specs: Sequence[ProbeSpec]) -> str:
    """Return the page in Markdown; the catalogue's probes name the invariants they guard."""
    return "\n".join(_page(found, specs)) + "\n"


def _page(found: Detection, specs: Sequence[ProbeSpec]) -> Iterator[str]:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    yield from markdown.heading("What the probes catch", "hgm selfcheck detect --markdown")
    on = f"each fault on top of {found.series}, " if found.series else ""
    yield f"{today}, {found.source}, {on}{found.release}. {verdict_line(found)}."
    yield ""
    headings = ("fault", "class", "config", "result", "by", "reason")
    yield from markdown.table(headings, map(_row, found.rows))
    yield ""
    yield "## What each fault seeds"
    yield ""
    yield from (f"- `{row.fault}`: {row.seeds}" for row in found.rows)
    yield ""
    yield "## Probes by faults"
    yield ""
    yield f"{matrix.LEGEND}. The columns are the faults in the order above."
    yield ""
    yield "```"
    statuses = [
        {catalog.plain_name(name): status for name, status in row.statuses.items()}
        for row in found.rows
    ]
    yield from matrix.lines(list(enumerate(statuses, 1)))
    yield "```"
    yield ""
    yield "## What each probe caught or guards"
    yield ""
    columns = ("probe", "faults it caught", "invariant that no fault here breaks")
    yield from markdown.table(columns, _probes(found.rows, specs))
    if found.unfaulted:
        yield ""
        yield "## Without a fault"
        yield ""
        yield from (f"- {kernel}: {count} runs" for kernel, count in found.unfaulted.items())
        for alarm in found.alarms:
            yield f"- ALARM on {alarm.kernel}: {markdown.escaped(alarm.what)}"


def _row(row: FaultRow) -> tuple[str, ...]:
    config = " + ".join(("base", *row.config))
    return (row.fault, row.kind, config, row.result, row.by or "-", row.reason)


def _probes(rows: Sequence[FaultRow], specs: Sequence[ProbeSpec]) -> Iterator[tuple[str, ...]]:
    noticed: dict[str, list[str]] = {}
    for row in rows:
        for family in dict.fromkeys(catalog.family(name) for name in row.noticed):
            noticed.setdefault(family, []).append(row.fault)
    guards = {catalog.family(spec.name): spec.guards for spec in specs}
    for family, invariant in guards.items():
        yield family, ", ".join(noticed.get(family, [])) or "-", invariant
