# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own tests of one or more runs as a page of Markdown, for ``docs/results``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TextIO

from harness.records.campaign import Difference
from harness.records.probe import ProbeResult
from harness.records.run import RunRecord
from harness.report import markdown, text
from harness.report.reproduce import short_command

PREFIX = "kselftest/"

#: Addresses say nothing to the reader of a table.
_NOISE = re.compile(r"\b0x[0-9a-f]{6,}\b")


def write(runs: Sequence[RunRecord], differences: Sequence[Difference], stream: TextIO) -> None:
    """Write the page: what ran, the counts, a row for each test, then what differs.

    Args:
        runs: one or more; the first is what the others are compared with.
        differences: between them.
        stream: takes the page.
    """
    stream.writelines(f"{line}\n" for line in lines(runs, differences))


def lines(runs: Sequence[RunRecord], differences: Sequence[Difference]) -> Iterator[str]:
    """Yield the page's lines."""
    yield from markdown.heading("The kernel's own tests", "hgm kselftest table")
    for number, run in enumerate(runs, 1):
        yield from _about(run, number)
    yield ""
    yield from _table(runs)
    if len(runs) > 1:
        yield ""
        yield from _differences(differences)


def _about(run: RunRecord, number: int) -> Iterator[str]:
    yield f"{number}. {run.started[:10]}, `{short_command(run)}`"
    for name, value in text.head(run):
        if name in ("kernel", "series", "config", "accel", "pool", "HGM"):
            yield f"   - {name}: {value}"
    tests = [probe for probe in run.probes if probe.name.startswith(PREFIX)]
    counts = {s: sum(p.status == s for p in tests) for s in dict.fromkeys(p.status for p in tests)}
    counted = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    yield f"   - {len(tests)} tests: {counted}"
    for note in run.notes:
        if not note.startswith("console: "):
            yield f"   - {note}"


def _table(runs: Sequence[RunRecord]) -> Iterator[str]:
    numbers = [str(n) for n, _ in enumerate(runs, 1)] if len(runs) > 1 else ["status"]
    headings = ["test", *numbers, "results", "time", "reason"]
    yield from markdown.table(headings, _rows(runs), right=("results", "time"))


def _rows(runs: Sequence[RunRecord]) -> Iterator[list[str]]:
    names = dict.fromkeys(probe.name for run in runs for probe in run.probes)
    for name in (name for name in names if name.startswith(PREFIX)):
        probes = [next((p for p in run.probes if p.name == name), None) for run in runs]
        shown = next(probe for probe in probes if probe is not None)
        statuses = [probe.status if probe else "" for probe in probes]
        time, reason = f"{shown.seconds:.1f} s", _quiet(shown.reason)
        yield [name.removeprefix(PREFIX), *statuses, _counts(shown), time, reason]


def _counts(probe: ProbeResult) -> str:
    """Return how many of a test's own results passed, such as ``31/33``."""
    if not probe.subtests:
        return ""
    return f"{sum(s.status == 'PASS' for s in probe.subtests)}/{len(probe.subtests)}"


def _differences(found: Sequence[Difference]) -> Iterator[str]:
    yield "## Differences"
    yield ""
    if not found:
        yield "None: every test, and every result inside a test, ended the same in each run."
        return
    for each in found:
        yield f"- {each.name.removeprefix(PREFIX)}"
        for number, (status, reason) in enumerate(zip(each.statuses, each.reasons, strict=True), 1):
            yield f"  - {number}: {status or 'absent'} {markdown.escaped(_quiet(reason))}".rstrip()


def _quiet(reason: str) -> str:
    return _NOISE.sub("0x…", reason)
