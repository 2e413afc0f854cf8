# SPDX-License-Identifier: GPL-2.0-only
"""Known issues as text: `hgm probes issues`, and the lines of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TextIO

from harness.records.known_issue import KnownIssue
from harness.records.run import RunRecord


def write(issues: Sequence[KnownIssue], stream: TextIO) -> None:
    """Write what each issue is, in which kernels, and what fixed it."""
    for issue in issues:
        stream.write(f"{issue.name}\n    {issue.shows}\n")
        stream.write(f"    probes: {', '.join(issue.probes)}\n")
        for word, versions in (("since", issue.since), ("fixed in", issue.fixed_in)):
            stream.write(f"    {word}: {', '.join(versions)}\n" if versions else "")
        stream.write(f"    fix: {issue.fix}\n" if issue.fix else f"    report: {issue.report}\n")


def lines(record: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield a label and a line for each issue that the kernel has and the run tested."""
    kernel = record.kernel
    release = kernel.release if kernel else ""
    for each in record.known_issues:
        issue, probes = each.issue, ", ".join(each.probes)
        if each.seen:
            yield "known", f"{issue.name}: {issue.shows}; {_state(issue)}; {probes}"
        else:
            yield "note", f"{probes} passed: {release} should have the known issue {issue.name}"
    changed = kernel and (kernel.series.patches or kernel.source.kind != "debian")
    if changed and any(each.seen for each in record.known_issues):
        yield "", "by version and message only: compare with a run without your changes"


def _state(issue: KnownIssue) -> str:
    return f"fixed by {issue.fix}" if issue.fix else f"{issue.where}, see {issue.report}"
