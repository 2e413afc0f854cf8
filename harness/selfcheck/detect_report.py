# SPDX-License-Identifier: GPL-2.0-only
"""What the probes caught: lines for people, and the table for ``docs/results`` in Markdown."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import TextIO

from harness.kernel.faults import Fault
from harness.probes import catalog
from harness.records.probe import ProbeSpec
from harness.selfcheck.detect import Detection, Row

_LETTERS = {"PASS": ".", "SKIP": "s", "FAIL": "F", "CRASH": "C", "HANG": "H", "LOST": "L"}


def write_list(faults: Sequence[Fault], stream: TextIO) -> None:
    """Write a line a fault: its name, its class and what it seeds."""
    width = max((len(fault.name) for fault in faults), default=0)
    for fault in faults:
        on = " + ".join((fault.on, *fault.config))
        stream.write(f"{fault.name:<{width}}  {fault.kind}: {fault.seeds} (on {on})\n")
    kinds = len({fault.kind for fault in faults})
    stream.write(f"{len(faults)} faults in {kinds} classes\n")


def write(found: Detection, stream: TextIO) -> None:
    """Write the report as plain lines."""
    stream.write("\n".join(lines(found)) + "\n")


def lines(found: Detection) -> Iterator[str]:
    """Yield the report's lines."""
    width = max((len(row.fault) for row in found.rows), default=0)
    for row in found.rows:
        yield f"{row.outcome:<8}  {row.fault:<{width}}  {row.by or '-'}: {row.reason}"
    for alarm in found.alarms:
        yield f"ALARM     {alarm.kernel}: {alarm.what}; {alarm.run_dir}"
    yield f"record   {found.directory}"
    yield verdict_line(found)


def verdict_line(found: Detection) -> str:
    """Return the last line: how many were caught, and how many alarms were false."""
    parts = []
    if found.rows:
        caught = sum(row.outcome == "caught" for row in found.rows)
        parts.append(f"{caught} of {len(found.rows)} faults caught")
    if found.unfaulted:
        runs = sum(found.unfaulted.values())
        parts.append(f"{len(found.alarms)} false alarms in {runs} runs without a fault")
    verdict = "PASS" if found.exit_code == 0 else "FAIL"
    return f"{verdict}: {', '.join(parts) or 'nothing was asked'}"


def markdown(found: Detection, specs: Sequence[ProbeSpec]) -> str:
    """Return the page for ``docs/results``; the catalogue's probes say what they guard."""
    return "\n".join(_page(found, specs)) + "\n"


def _page(found: Detection, specs: Sequence[ProbeSpec]) -> Iterator[str]:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    yield "<!-- SPDX-License-Identifier: GPL-2.0-only -->"
    yield "# What the probes catch"
    yield ""
    yield f"Made by `hgm selfcheck detect --markdown` on {today},"
    yield f"{found.source}, {found.release}, TCG."
    yield f"{verdict_line(found)}."
    yield ""
    yield "| fault | class | config | outcome | by | reason |"
    yield "|---|---|---|---|---|---|"
    for row in found.rows:
        config = " + ".join(("base", *row.config))
        cells = (row.fault, row.kind, config, row.outcome, row.by or "-", row.reason)
        yield "| " + " | ".join(_cell(cell) for cell in cells) + " |"
    yield ""
    yield "## What each fault seeds"
    yield ""
    yield from (f"- `{row.fault}`: {row.seeds}" for row in found.rows)
    yield ""
    yield from _matrix(found.rows)
    yield ""
    yield from _probes(found.rows, specs)
    if found.unfaulted:
        yield ""
        yield "## Without a fault"
        yield ""
        yield from (f"- {kernel}: {count} runs" for kernel, count in found.unfaulted.items())
        yield from (f"- ALARM on {alarm.kernel}: {_cell(alarm.what)}" for alarm in found.alarms)


def _matrix(rows: Sequence[Row]) -> Iterator[str]:
    names = list(dict.fromkeys(catalog.plain_name(name) for row in rows for name in row.statuses))
    yield "## Fault x probe"
    yield ""
    yield "`.` pass, `s` skip, `F` fail, `C` crash, `H` hang, `L` lost; the columns are the faults,"
    yield "in the order above."
    yield ""
    yield "```"
    width = max(map(len, names), default=0)
    yield f"{'':<{width}}  " + " ".join(f"{number:>2}" for number in range(1, len(rows) + 1))
    for name in names:
        cells = [_LETTERS.get(row.statuses.get(name, ""), " ") for row in rows]
        yield f"{name:<{width}}  " + " ".join(f"{cell:>2}" for cell in cells).rstrip()
    yield "```"


def _probes(rows: Sequence[Row], specs: Sequence[ProbeSpec]) -> Iterator[str]:
    yield "## What each probe caught, or guards"
    yield ""
    yield "A fault stands with the probes that noticed it as `faults.toml` says, at any size."
    yield ""
    yield "| probe | faults | invariant that no fault here breaks |"
    yield "|---|---|---|"
    noticed: dict[str, list[str]] = {}
    for row in rows:
        for family in dict.fromkeys(catalog.family(name) for name in row.noticed):
            noticed.setdefault(family, []).append(row.fault)
    guards = {catalog.family(spec.name): spec.guards for spec in specs}
    for family, invariant in guards.items():
        faults = ", ".join(noticed.get(family, [])) or "-"
        yield f"| {family} | {faults} | {_cell(invariant)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
