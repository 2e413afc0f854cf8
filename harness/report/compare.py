# SPDX-License-Identifier: GPL-2.0-only
"""Two runs compared: as a table for people, and as text for a reply on the list."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TextIO

from harness.campaign.compare import Change, Comparison, Kind, Outcome, Shift, Transition
from harness.records.machine import size_name
from harness.records.run import RunRecord
from harness.report.reproduce import short_command

_ORDER: tuple[Kind, ...] = (
    "newly failing",
    "failing more",
    "newly skipped",
    "newly lost",
    "newly passing",
    "failing less",
    "changed reason",
    "new",
    "gone",
)

#: What a mail says above the probes of each kind.
_MAIL: dict[Kind, str] = {
    "newly failing": "Goes wrong and did not before",
    "failing more": "Goes wrong more often than before",
    "newly skipped": "Is skipped and was not before",
    "newly lost": "Got lost, so nothing is known of it",
    "newly passing": "Passes and did not before",
    "failing less": "Goes wrong less often than before",
    "changed reason": "Ends as before, for another reason",
    "new": "Was run the second time only",
    "gone": "Was run the first time only",
}

_MAIL_WIDTH = 72


def write(found: Comparison, before: RunRecord, after: RunRecord, stream: TextIO) -> None:
    """Write the table."""
    stream.writelines(f"{line}\n" for line in lines(found, before, after))


def lines(found: Comparison, before: RunRecord, after: RunRecord) -> Iterator[str]:
    """Yield the table's lines."""
    yield f"before   {subject(before)}"
    yield f"after    {subject(after)}"
    for each in found.differs:
        yield f"differs  {each}"
    for kind in _ORDER:
        changes = found.of(kind)
        if changes:
            yield ""
            yield f"{kind}"
            yield from _rows(changes)
    for complaint in found.complaints:
        yield ""
        yield f"new complaint outside of any probe: {complaint}"
    if found.shifts:
        yield ""
        yield "times"
        yield from (f"  {_shift(shift)}" for shift in found.shifts)
    if found.transitions:
        yield ""
        yield from _transitions(found.transitions)
    yield ""
    for note in found.notes:
        yield f"note     {note}"
    yield f"before   {found.before}"
    yield f"after    {found.after}"
    yield verdict(found)


def _rows(changes: Sequence[Change]) -> Iterator[str]:
    width = max(len(change.name) for change in changes)
    for change in changes:
        mark = "!" if change.regression else " "
        yield f"{mark} {change.name:<{width}}  {_ends(change)}"
        reason = change.after.reason if change.after else ""
        if reason:
            yield f"    {reason}"
        if change.kind == "changed reason" and change.before and change.before.reason:
            yield f"    before: {change.before.reason}"


def _ends(change: Change) -> str:
    said = f"{_end(change.before)} -> {_end(change.after)}"
    if change.doubt is not None:
        said += f" (by chance with p = {change.doubt:.2g})"
    return said


def _end(outcome: Outcome | None) -> str:
    """Return a status, with how often where a probe ran more than once."""
    if outcome is None:
        return "not run"
    total = sum(outcome.counts.values())
    if total == 1:
        return outcome.status
    return ", ".join(f"{status} {count}/{total}" for status, count in outcome.counts.items())


def _shift(shift: Shift) -> str:
    return (
        f"{shift.name}: {shift.before:.2f} s -> {shift.after:.2f} s, "
        f"{shift.ratio:.2f} times (by chance with p = {shift.doubt:.2g})"
    )


def _transitions(stated: Sequence[Transition]) -> Iterator[str]:
    """Yield how many probes ended on base and patched kernel as they state, and which did not."""
    broken = [each for each in stated if not each.held]
    held = f"{len(stated) - len(broken)} of {len(stated)}"
    yield f"as probes state of base and patched kernel: {held}"
    for each in broken:
        wanted = " or ".join(each.without_series)
        yield f"  {each.name}: {each.before} -> {each.after}, stated: {wanted} -> PASS"


def verdict(found: Comparison) -> str:
    """Return the last line."""
    if found.ended:
        return f"REGRESSION: {found.ended}"
    counted = [f"{len(found.of(kind))} {kind}" for kind in _ORDER if found.of(kind)]
    counted += [f"{len(found.complaints)} new complaints"] if found.complaints else []
    about = ", ".join([*counted, f"{found.same} as before"])
    if found.exit_code == 1:
        return f"REGRESSION: {about}"
    if found.exit_code:
        return f"UNKNOWN: {about}"
    return f"no regression: {about}"


def subject(record: RunRecord) -> str:
    """Return which kernel a run was about, in a line."""
    if record.kernel is None:
        return record.reason
    count = len(record.kernel.series.patches)
    series = record.kernel.series.spec
    if count:
        series += f", {count} patch{'es' if count > 1 else ''}"
        series += f", tree {record.kernel.series.tree[:12]}"
    return f"{record.kernel.release}, {record.kernel.source.spec}, series {series}"


def write_mail(found: Comparison, before: RunRecord, after: RunRecord, stream: TextIO) -> None:
    """Write text that a person can paste into a reply, and finish."""
    stream.writelines(f"{line}\n" for line in mail(found, before, after))


def mail(found: Comparison, before: RunRecord, after: RunRecord) -> Iterator[str]:
    """Yield the lines of the text; what the person concludes from it stays theirs to say."""
    yield from _wrapped(f"Tried with hgm {after.harness}{_machine(after)}.")
    yield ""
    yield from _wrapped(f"before:  {subject(before)}", "         ")
    yield from _wrapped(f"after:   {subject(after)}", "         ")
    if found.differs:
        yield from _wrapped(f"Also not the same: {'; '.join(found.differs)}", "  ")
    yield ""
    if found.ended:
        yield from _wrapped(f"The second kernel was not probed: {found.ended}")
    for kind in _ORDER:
        changes = found.of(kind)
        if changes:
            yield f"{_MAIL[kind]} ({len(changes)}):"
            yield ""
            for change in changes:
                yield f"  {change.name}: {_ends(change)}"
                reason = (change.after or change.before or Outcome(status="LOST", counts={})).reason
                yield from _wrapped(f"    {reason}", "    ") if reason else ()
            yield ""
    for complaint in found.complaints:
        yield from _wrapped(f"New complaint of the kernel: {complaint}", "  ")
    for shift in found.shifts:
        yield from _wrapped(_shift(shift), "  ")
    if found.exit_code == 0:
        yield "Nothing that passed before goes wrong."
    yield f"Ended as before: {found.same}."
    yield ""
    yield "To do it again:"
    yield ""
    for record in (before, after):
        yield f"  {short_command(record)}"


def _machine(record: RunRecord) -> str:
    """Return what a run was made on, as the end of a sentence."""
    if record.machine is None:
        return ""
    pages = ", ".join(f"{p.count} x {size_name(p.size)}" for p in record.machine.hugepages)
    accel = f", {record.accel.name}" if record.accel else ""
    return f" on {record.machine.arch}, {record.machine.cpus} CPUs, {pages}{accel}"


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        _MAIL_WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
