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


def write_list(kernels: Sequence[Sequence[Fault]], stream: TextIO) -> None:
    """Write a line for each fault: its name, its class and its effect; one block a kernel."""
    faults = [fault for group in kernels for fault in group]
    width = max((len(fault.name) for fault in faults), default=0)
    for number, group in enumerate(kernels, 1):
        on = " + ".join((group[0].kernel, group[0].on, *group[0].config)).removeprefix(" + ")
        stream.write(f"kernel {number}, on {on}:\n")
        for fault in group:
            stream.write(f"  {fault.name:<{width}}  {fault.kind}: {fault.seeds}\n")
    kinds = len({fault.kind for fault in faults})
    stream.write(f"{len(faults)} faults in {kinds} classes, {len(kernels)} kernels\n")


def lines(found: Detection) -> Iterator[str]:
    """Yield the report's lines."""
    width = max((len(row.fault) for row in found.rows), default=0)
    for row in found.rows:
        yield f"{row.result:<14}  {row.fault:<{width}}  {row.by or '-'}: {row.reason}"
    for alarm in found.alarms:
        yield f"{'ALARM':<14}  {alarm.kernel}: {alarm.what}; {alarm.run_dir}"
    for alarm in found.unexplained:
        yield f"{'unexplained':<14}  {alarm.kernel}: {alarm.what}; {alarm.run_dir}"
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
    yield from _results(found)
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


def _results(found: Detection) -> Iterator[str]:
    seconds = {row.run_dir: row.seconds for row in found.rows}
    numbers = {run_dir: number for number, run_dir in enumerate(seconds, 1)}
    headings = ("fault", "class", "on", "kernel", "result", "by", "reason")
    yield from markdown.table(headings, (_row(row, numbers[row.run_dir]) for row in found.rows))
    yield ""
    yield f"These are {len(seconds)} kernels, {sum(seconds.values()) / 60:.0f} minutes."
    if found.unexplained:
        yield "Kernels whose faults were divided among two, as something failed that none names:"
        yield ""
        for alarm in found.unexplained:
            yield f"- {alarm.kernel}: {markdown.escaped(alarm.what)}"


def _row(row: FaultRow, kernel: int) -> tuple[str, ...]:
    on = " + ".join((f"{row.on} on {row.release}", *row.config))
    return (row.fault, row.kind, on, str(kernel), row.result, row.by or "-", row.reason)


def _probes(rows: Sequence[FaultRow], specs: Sequence[ProbeSpec]) -> Iterator[tuple[str, ...]]:
    noticed: dict[str, list[str]] = {}
    for row in rows:
        for family in dict.fromkeys(catalog.family(name) for name in row.noticed):
            noticed.setdefault(family, []).append(row.fault)
    guards = {catalog.family(spec.name): spec.guards for spec in specs}
    for family, invariant in guards.items():
        yield family, ", ".join(noticed.get(family, [])) or "-", invariant
