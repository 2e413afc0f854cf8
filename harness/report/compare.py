# SPDX-License-Identifier: GPL-2.0-only
"""Two runs compared, as text; `harness.report.compare_mail` makes mails of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from harness.kernel import specs
from harness.records.campaign import (
    Change,
    ChangeKind,
    Comparison,
    ProbeSummary,
    TimeChange,
    Transition,
)
from harness.records.run import RunRecord
from harness.report import mail
from harness.report.columns import count
from harness.report.reproduce import command_for_others

ORDER: tuple[ChangeKind, ...] = (
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

#: Headings in a mail.
_MAIL: dict[ChangeKind, str] = {
    "newly failing": "Newly failing",
    "failing more": "Failing more often",
    "newly skipped": "Newly skipped",
    "newly lost": "Lost, so nothing is known about them",
    "newly passing": "Newly passing",
    "failing less": "Failing less often",
    "changed reason": "Same status, other reason",
    "new": "Run the second time only",
    "gone": "Run the first time only",
}


def lines(found: Comparison, before: RunRecord, after: RunRecord) -> Iterator[str]:
    """Yield the table's lines."""
    yield f"before   {subject(before)}"
    yield f"after    {subject(after)}"
    for each in found.differs:
        yield f"differs  {each}"
    for kind in ORDER:
        changes = found.of(kind)
        if changes:
            yield ""
            yield f"{kind}"
            yield from _rows(changes)
    for splat in found.splats:
        yield ""
        yield f"new splat outside of any probe: {splat}"
    if found.times:
        yield ""
        yield "times"
        yield from (f"  {_time(change)}" for change in found.times)
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
    text = f"{end(change.before)} -> {end(change.after)}"
    return text if change.p is None else f"{text} (p = {change.p:.2g})"


def end(summary: ProbeSummary | None) -> str:
    """Return the status of a probe, with counts where it ran more than once."""
    if summary is None:
        return "not run"
    total = sum(summary.counts.values())
    if total == 1:
        return summary.status
    return ", ".join(f"{status} {count}/{total}" for status, count in summary.counts.items())


def _time(change: TimeChange) -> str:
    return (
        f"{change.name}: {change.before:.2f} s -> {change.after:.2f} s, "
        f"{change.ratio:.2f} times as long (p = {change.p:.2g})"
    )


def _transitions(declared: Sequence[Transition]) -> Iterator[str]:
    """Yield how many probes ended without and with the series as declared, and which did not."""
    broken = [each for each in declared if not each.held]
    held = f"{len(declared) - len(broken)} of {len(declared)}"
    yield f"as declared without and with the series: {held}"
    for each in broken:
        wanted = " or ".join(each.without_series)
        yield f"  {each.name}: {each.before} -> {each.after}, declared: {wanted} -> PASS"


def verdict(found: Comparison) -> str:
    """Return the last line."""
    if found.ended:
        return f"REGRESSION: {found.ended}"
    counted = [f"{len(found.of(kind))} {kind}" for kind in ORDER if found.of(kind)]
    counted += [f"{len(found.splats)} new splats"] if found.splats else []
    about = ", ".join([*counted, f"{found.same} as before"])
    if found.exit_code == 1:
        return f"REGRESSION: {about}"
    if found.exit_code:
        return f"UNKNOWN: {about}"
    return f"no regression: {about}"


def subject(record: RunRecord, spec: Callable[[str], str] = str) -> str:
    """Return which kernel a run was about, in a line.

    Args:
        record: the run.
        spec: is given each spec and returns it as it is to be shown.
    """
    kernel = record.made_of
    if kernel is None:
        return record.reason
    series = spec(kernel.series.spec)
    if patches := kernel.series.patches:
        series += f", {count(len(patches), 'patch', 'patches')}"
        series += f", tree {kernel.series.tree[:12]}" if kernel.series.tree else ""
    release = record.kernel.release if record.kernel else record.outcome.value
    return f"{release}, {spec(kernel.source.spec)}, series {series}"


def for_mail(
    found: Comparison, before: RunRecord, after: RunRecord, config: bytes
) -> Iterator[str]:
    """Yield all of it as the body of a mail, without a conclusion.

    Args:
        found: the comparison.
        before: the first run.
        after: the second run.
        config: the configuration of its kernel, which is attached; empty for none.
    """
    is_base = before.is_base_of(after)
    yield f"hgm compared {'kernels without and with the series' if is_base else 'two runs'}."
    yield ""
    both = (("before", before), ("after", after))
    yield from mail.rows((name, subject(run, specs.for_others)) for name, run in both)
    if found.differs:
        words = "; ".join(found.differs).split(" ")
        differs = " ".join(map(specs.for_others, words))
        yield from mail.wrapped(f"Other differences: {differs}", "  ")
    yield ""
    for kind in ORDER:
        changes = found.of(kind)
        if changes:
            yield f"{_MAIL[kind]} ({len(changes)}):"
            yield ""
            for change in changes:
                yield from mail.wrapped(f"- {change.name}: {_ends(change)}", "  ")
                yield from mail.said(_reason(change))
            yield ""
    for time in found.times:
        yield from mail.wrapped(f"- {_time(time)}", "  ")
    if found.exit_code == 0:
        yield "No regression."
    yield f"Unchanged: {found.same}."
    yield ""
    yield from mail.about(after)
    yield ""
    yield "To reproduce:"
    yield ""
    for record in (before, after):
        yield f"  {command_for_others(record)}"
    yield from mail.configuration(after, config)


def _reason(change: Change) -> str:
    shown = change.after or change.before
    return shown.reason if shown else ""
