# SPDX-License-Identifier: GPL-2.0-only
"""A run as Markdown for a summary page, such as that of a GitHub Actions step.

All text of the run stands in code spans, in which nothing is markup and no name is notified.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from harness.judge.lines import short
from harness.kernel.series.patch import printable
from harness.records.probe import Status
from harness.records.run import RunRecord
from harness.report.text import head, run_name, verdict_line

#: Probes that are shown, and characters of a reason: GitHub refuses a summary above 1 MiB.
_MOST_PROBES = 200
_MOST_CHARACTERS = 2000

_FINE: tuple[Status, ...] = ("PASS", "SKIP")

_TICKS = re.compile(r"`+")


def lines(record: RunRecord) -> Iterator[str]:
    """Yield the lines of the page: the verdict, the probes that did not pass, the kernel."""
    yield f"### hgm: {record.verdict}"
    yield ""
    yield span(verdict_line(record))
    yield ""
    counted = Counter(probe.status for probe in record.probes)
    yield from [", ".join(f"{n} {status}" for status, n in counted.items()), ""] if counted else ()
    wrong = [probe for probe in record.probes if probe.status not in _FINE]
    for probe in wrong[:_MOST_PROBES]:
        yield f"- **{probe.status}** {span(probe.name)}: {span(probe.reason)}"
    if len(wrong) > _MOST_PROBES:
        yield f"- and {len(wrong) - _MOST_PROBES} more"
    for splat in record.splats[:_MOST_PROBES]:
        yield f"- **splat** outside of any probe: {span(splat.title)}"
    yield ""
    for name, value in (*head(record), ("run", run_name(record))):
        yield f"- {name or 'note'}: {span(value)}"


def span(text: str) -> str:
    """Return a text as a code span, in one line."""
    line = short(printable(text), _MOST_CHARACTERS)
    longest = max((len(each) for each in _TICKS.findall(line)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {line or '-'} {fence}"
