# SPDX-License-Identifier: GPL-2.0-only
"""Known issues: which a kernel has by its version, and what they explain of a probe's end. Pure.

An issue explains a failure only if the kernel's version, the probe, the name of the failed test and
the whole text of the failure fit. Whether the kernel has patches is not looked at: a series that
causes the very same failure on a kernel that has the issue anyway cannot be told from the issue.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harness.judge.partial import and_more
from harness.records.known_issue import IssueState, KnownIssue
from harness.records.probe import ProbeResult, Subtest

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:-rc(\d+))?")

# Later than any release candidate.
_RELEASED = 1000


class Version(NamedTuple):
    """A kernel's version; they compare as they were released.

    Attributes:
        line: such as (6, 12).
        patch: its number in the stable line; 0 for mainline.
        candidate: of a release candidate of mainline; higher than any for a release.
    """

    line: tuple[int, int]
    patch: int
    candidate: int


def version(text: str) -> Version | None:
    """Return a version, such as ``6.12.118``, ``7.4-rc2`` or ``6.1.0-42-amd64``, or None.

    A release candidate of a stable release has all that the release will have.
    """
    found = _VERSION.match(text)
    if found is None:
        return None
    major, minor, patch, candidate = (int(part) if part else None for part in found.groups())
    early = candidate is not None and not patch
    return Version((major or 0, minor or 0), patch or 0, (candidate or 0) if early else _RELEASED)


def has(release: str, issue: KnownIssue) -> bool:
    """Return whether a kernel has an issue by its version; an unknown version has none.

    Args:
        release: what ``uname -r`` prints.
        issue: the issue.
    """
    kernel = version(release)
    if kernel is None or (issue.since and not _contains(kernel, issue.since)):
        return False
    return not _contains(kernel, issue.fixed_in)


def of_release(issues: Iterable[KnownIssue], release: str) -> tuple[KnownIssue, ...]:
    """Return the issues that a kernel has by its version, as `has` says."""
    return tuple(issue for issue in issues if has(release, issue))


def _contains(kernel: Version, points: Iterable[str]) -> bool:
    """Return whether a kernel contains a change that entered at certain versions.

    Of its own stable line that line's version decides, elsewhere that of mainline.
    """
    entered = [point for point in map(version, points) if point]
    stable = [point for point in entered if point.patch and point.line == kernel.line]
    return any(kernel >= point for point in stable or [p for p in entered if not p.patch])


class Explainer:
    """Takes from what one probe showed what known issues explain, and remembers it.

    Args:
        issues: those of the kernel.
        probe: the probe's name.
    """

    def __init__(self, issues: Iterable[KnownIssue], probe: str) -> None:
        self._issues = [issue for issue in issues if _finds(probe, issue)]
        self._seen: dict[str, list[str]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the issues that were seen."""
        return tuple(self._seen)

    def reason(self) -> str:
        """Return what was seen, with the commits that fixed it."""
        return "; ".join(
            f"{issue.name} ({issue.where}): {lines[0]}{and_more(lines, 1)}"
            for issue in self._issues
            if (lines := self._seen.get(issue.name))
        )

    def other_tests(self, failed: Iterable[Subtest]) -> list[Subtest]:
        """Return the failed tests that no issue explains."""
        return [subtest for subtest in failed if not self._explains_test(subtest)]

    def other_lines(self, lines: Iterable[str]) -> list[str]:
        """Return the leaks, splats and page tables that no issue explains, as in a reason."""
        return [line for line in lines if not self._explains_line(line)]

    def _explains_test(self, subtest: Subtest) -> bool:
        found = [
            issue
            for issue in self._issues
            if _is_about(issue, subtest) and re.fullmatch(issue.reason, subtest.reason)
        ]
        return self._remember(found, f"{subtest.name}: {subtest.reason}")

    def _explains_line(self, line: str) -> bool:
        found = [
            issue
            for issue in self._issues
            if any(re.fullmatch(pattern, line) for pattern in issue.besides)
        ]
        return self._remember(found, line)

    def _remember(self, issues: Sequence[KnownIssue], line: str) -> bool:
        for issue in issues:
            self._seen.setdefault(issue.name, []).append(line)
        return bool(issues)


def _finds(probe: str, issue: KnownIssue) -> bool:
    return probe.partition("#")[0] in issue.probes


def _is_about(issue: KnownIssue, subtest: Subtest) -> bool:
    return bool(issue.test) and re.fullmatch(issue.test, subtest.name) is not None


def states(issues: Iterable[KnownIssue], probes: Sequence[ProbeResult]) -> tuple[IssueState, ...]:
    """Return what a run saw of the issues that its kernel has and that it tested.

    An issue that one of its tests showed was seen, even if it passed in other repetitions. One that
    is intermittent is left out if it was not.
    """
    found = (_state(issue, probes) for issue in issues)
    return tuple(
        each for each in found if each.seen or (each.probes and not each.issue.intermittent)
    )


def _state(issue: KnownIssue, probes: Sequence[ProbeResult]) -> IssueState:
    seen = tuple(probe.name for probe in probes if issue.name in probe.known_issues)
    passed = (probe.name for probe in probes if _finds(probe.name, issue) and _passed(issue, probe))
    return IssueState(issue=issue, seen=bool(seen), probes=seen or tuple(passed))


def _passed(issue: KnownIssue, probe: ProbeResult) -> bool:
    """Return whether a probe ran what an issue should make fail, and none of it failed."""
    if not issue.test:
        return probe.status == "PASS"
    statuses = {each.status for each in probe.subtests if _is_about(issue, each)}
    return "PASS" in statuses and "FAIL" not in statuses
