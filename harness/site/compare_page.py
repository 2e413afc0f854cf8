# SPDX-License-Identifier: GPL-2.0-only
"""The page that compares a run with the one before it, differences first."""

from __future__ import annotations

from harness.records.base import Record
from harness.records.campaign import Change, ChangeKind, Comparison
from harness.report import compare
from harness.site import names
from harness.site.index_page import cut
from harness.site.words import Link, duration


class ChangeLine(Record, frozen=True, kw_only=True):
    """A test that ended otherwise.

    Attributes:
        test: link to its page.
        regression: whether the kernel got worse.
        before: how it ended before, and how often.
        after: how it ended now.
        reason: one line; may be empty.
        reason_before: likewise, where the reason is all that changed.
        chance: how likely that is by chance; empty where it is certain.
    """

    test: Link
    regression: bool
    before: str
    after: str
    reason: str
    reason_before: str
    chance: str


class ChangeGroup(Record, frozen=True, kw_only=True):
    """Tests that changed in the same way."""

    kind: ChangeKind
    lines: tuple[ChangeLine, ...]


class TimeLine(Record, frozen=True, kw_only=True):
    """A test whose time changed."""

    test: Link
    before: str
    after: str
    ratio: str


class ComparePage(Record, frozen=True, kw_only=True):
    """The page that compares two runs.

    Attributes:
        before: the first.
        after: the second.
        verdict: in a line.
        bad: whether it is a regression.
        groups: what changed, the worst first.
        splats: new ones outside of any probe.
        differs: what else differs between the runs.
        times: what takes another time.
        notes: lines that a reader should see.
        same: how many tests ended as before.
    """

    before: Link
    after: Link
    verdict: str
    bad: bool
    groups: tuple[ChangeGroup, ...]
    splats: tuple[str, ...]
    differs: tuple[str, ...]
    times: tuple[TimeLine, ...]
    notes: tuple[str, ...]
    same: int


def comparison(found: Comparison, before: Link, after: Link) -> ComparePage:
    """Return the model of the page for a comparison."""
    return ComparePage(
        before=before,
        after=after,
        verdict=compare.verdict(found),
        bad=found.exit_code == 1,
        groups=tuple(
            ChangeGroup(kind=kind, lines=tuple(_line(each) for each in found.of(kind)))
            for kind in compare.ORDER
            if found.of(kind)
        ),
        splats=found.splats,
        differs=found.differs,
        times=tuple(
            TimeLine(
                test=Link(text=each.name, path=names.probe(each.name)),
                before=duration(each.before),
                after=duration(each.after),
                ratio=f"{each.ratio:.2f}",
            )
            for each in found.times
        ),
        notes=found.notes,
        same=found.same,
    )


def _line(change: Change) -> ChangeLine:
    shown = change.after or change.before
    old = change.before.reason if change.before and change.kind == "changed reason" else ""
    return ChangeLine(
        test=Link(text=change.name, path=names.probe(change.name)),
        regression=change.regression,
        before=compare.end(change.before),
        after=compare.end(change.after),
        reason=cut(shown.reason) if shown else "",
        reason_before=cut(old),
        chance="" if change.p is None else f"{change.p:.2g}",
    )
