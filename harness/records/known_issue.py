# SPDX-License-Identifier: GPL-2.0-only
"""A bug that kernels are known to have, and what a run saw of it."""

from __future__ import annotations

from harness.records.base import Record


class KnownIssue(Record, frozen=True, kw_only=True):
    """A bug of released kernels that a probe finds; ``probes/known-issues.toml`` has them.

    Attributes:
        name: unique.
        shows: one line: what user space sees.
        probes: the names of the probes that find it.
        test: a regular expression over the names of the tests that it fails; empty for none.
        reason: a regular expression over the reasons of these failures.
        besides: regular expressions over what else it causes: ``leak: ...``, ``kernel: ...`` (a
            splat) or ``page tables, ...``, as a FAIL's reason has it.
        since: the versions in which it appeared; empty if it is in all that are older than its fix.
        fixed_in: the versions in which it was fixed; empty if none is.
        fix: the upstream commit that fixed it, such as ``95567729173e ("mm/userfaultfd: ...")``.
        intermittent: whether a kernel that has it may pass.
        report: where it is reported, if no fix is known: a message ID, or a file of ours.
    """

    name: str
    shows: str
    probes: tuple[str, ...]
    test: str = ""
    reason: str = ""
    besides: tuple[str, ...] = ()
    since: tuple[str, ...] = ()
    fixed_in: tuple[str, ...] = ()
    fix: str = ""
    intermittent: bool = False
    report: str = ""

    @property
    def where(self) -> str:
        """Return what fixed it, as part of a sentence."""
        if self.fix:
            return f"fixed by {self.fix.partition(' ')[0]}"
        mainline = [version for version in self.fixed_in if version.count(".") == 1]
        if mainline or not self.fixed_in:
            return f"fixed in {mainline[0]}" if mainline else "not fixed yet"
        return f"fixed in {', '.join(self.fixed_in)} alone"


class IssueState(Record, frozen=True, kw_only=True):
    """What a run saw of an issue that its kernel should have by its version.

    Attributes:
        issue: the issue.
        seen: whether a probe failed by it; if not, `probes` passed that should have failed.
        probes: those that did.
    """

    issue: KnownIssue
    seen: bool
    probes: tuple[str, ...]
