# SPDX-License-Identifier: GPL-2.0-only
"""Compares two runs probe by probe. Pure.

A regression is a probe that newly fails, crashes or hangs, one that passed and is skipped now, a
new splat outside of any probe, or a kernel that no longer builds or boots. A probe that newly ends
with a known issue is one too: the first kernel did not show it. A LOST probe says nothing about the
kernel, so it is neither a regression nor a PASS.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

from harness.campaign import state
from harness.errors import RecordError
from harness.judge.lines import without_numbers
from harness.probes.catalog import plain_name
from harness.probes.summary import summaries
from harness.records.campaign import (
    Change,
    ChangeKind,
    Comparison,
    ProbeSummary,
    TimeChange,
    Transition,
)
from harness.records.probe import BAD, Status
from harness.records.run import RunRecord

#: Probability of reporting a change by chance, over all probes of a comparison together.
SIGNIFICANCE = 0.05
#: Smaller relative changes of time than this are not reported.
LEAST_TIME_CHANGE = 0.10
#: With fewer probes it is not known how much of a change of times is due to the host.
_LEAST_PROBES_IN_COMMON = 5


def compare(before: RunRecord, after: RunRecord) -> Comparison:
    """Compare a run with an earlier one.

    Raises:
        RecordError: if one of them says nothing about its kernel: cut, interrupted, or ended by an
            error of the host; or if the first one did not reach its probes.
    """
    for record in (before, after):
        if not state.counts(record):
            raise RecordError(
                f"{record.run_dir} has no verdict to compare: {record.verdict}: {record.reason}",
                hint="run it again",
            )
    if not _probed(before):
        raise RecordError(
            f"{before.run_dir} has no probes to compare with: {before.reason}",
            hint="compare with a run whose kernel booted",
        )
    if not _probed(after):
        return Comparison(
            before=before.run_dir, after=after.run_dir, exit_code=1, ended=after.reason
        )
    old, new = summaries(before.probes), summaries(after.probes)
    changes = tuple(_changes(old, new))
    splats = _new_splats(before, after)
    times, notes = _time_changes(old, new)
    return Comparison(
        before=before.run_dir,
        after=after.run_dir,
        exit_code=_exit_code(changes, splats),
        changes=changes,
        same=len(old.keys() & new.keys()) - sum(c.kind not in ("gone", "new") for c in changes),
        splats=splats,
        times=times,
        transitions=tuple(_transitions(before, after)) if before.is_base_of(after) else (),
        differs=tuple(_differs(before, after)),
        notes=notes,
    )


def _exit_code(changes: Sequence[Change], splats: Sequence[str]) -> int:
    if splats or any(change.regression for change in changes):
        return 1
    return 3 if any(change.kind == "newly lost" for change in changes) else 0


def _probed(record: RunRecord) -> bool:
    return state.built(record) and state.booted(record)


def _transitions(before: RunRecord, after: RunRecord) -> Iterator[Transition]:
    """Yield what probes declare; it holds only if every repetition ended as declared.

    A probe that is skipped with the series too, and for another reason, says nothing of it: the
    series has what it asked for first, and the kernel lacks something else.
    """
    old = summaries(before.probes)
    declared = {
        plain_name(p.name): p.without_series
        for p in (*before.probes, *after.probes)
        if p.without_series
    }
    for name, summary in summaries(after.probes).items():
        if name in declared and name in old:
            was, now = _least(old[name], declared[name]), summary.status
            if was == now == "SKIP" and summary.reason != old[name].reason:
                continue
            yield Transition(
                name=name,
                without_series=declared[name],
                before=was,
                after=now,
                held=was in declared[name] and now == "PASS",
            )


def _least(summary: ProbeSummary, wanted: Sequence[Status]) -> Status:
    """Return a status of a repetition that is not wanted, or else the probe's."""
    return next((status for status in summary.counts if status not in wanted), summary.status)


def _changes(old: Mapping[str, ProbeSummary], new: Mapping[str, ProbeSummary]) -> Iterator[Change]:
    for name, after in new.items():
        before = old.get(name)
        if before is None:
            bad = after.status in BAD
            yield Change(name=name, kind="new", before=None, after=after, regression=bad)
        elif change := _change(name, before, after):
            yield change
    for name, before in old.items():
        if name not in new:
            yield Change(name=name, kind="gone", before=before, after=None)


def _change(name: str, before: ProbeSummary, after: ProbeSummary) -> Change | None:
    """Return how a probe's result changed; None where it did not."""
    mixed = 0 < before.bad < before.known or 0 < after.bad < after.known
    p = fisher(before.bad, before.known, after.bad, after.known) if mixed else None
    kind = _kind(before, after, p)
    if kind is None:
        return None
    was_good = before.status in ("PASS", "SKIP", "KNOWN")
    return Change(
        name=name,
        kind=kind,
        before=before,
        after=after,
        regression=kind == "failing more"
        or (kind == "newly failing" and was_good)
        or (kind == "newly skipped" and before.status == "PASS"),
        p=p,
    )


def _kind(before: ProbeSummary, after: ProbeSummary, p: float | None) -> ChangeKind | None:
    was, now = _class(before.status), _class(after.status)
    if was != now:
        kinds: dict[str, ChangeKind] = {
            "FAIL": "newly failing",
            "KNOWN": "changed reason" if was == "FAIL" else "newly failing",
            "PASS": "newly passing",
            "SKIP": "newly skipped",
            "LOST": "newly lost",
        }
        return kinds[now]
    if now in ("FAIL", "KNOWN") and p is not None:
        if p >= SIGNIFICANCE:
            return None  # it failed intermittently, and still does
        more = after.bad * before.known > before.bad * after.known
        return "failing more" if more else "failing less"
    same = before.status == after.status and without_numbers(before.reason) == without_numbers(
        after.reason
    )
    return None if same or now == "LOST" else "changed reason"


def _class(status: Status) -> Status:
    return "FAIL" if status in BAD else status


def fisher(bad_before: int, before: int, bad_after: int, after: int) -> float:
    """Return how likely two samples of one kernel differ at least so much (Fisher's exact test).

    Args:
        bad_before: failures in the first sample.
        before: size of the first sample.
        bad_after: failures in the second sample.
        after: size of the second sample.
    """
    from scipy.stats import fisher_exact

    table = [[bad_before, before - bad_before], [bad_after, after - bad_after]]
    return float(fisher_exact(table).pvalue)


def _new_splats(before: RunRecord, after: RunRecord) -> tuple[str, ...]:
    known = {without_numbers(splat.title) for splat in before.splats}
    titles = dict.fromkeys(s.title for s in after.splats if without_numbers(s.title) not in known)
    return tuple(titles)


def _differs(before: RunRecord, after: RunRecord) -> Iterator[str]:
    """Yield what differs between the runs besides the series."""
    if before.kernel is not None and after.kernel is not None:
        one, two = before.kernel, after.kernel
        if one.source.tree != two.source.tree:
            yield f"source: {one.source.spec} ({one.release}), {two.source.spec} ({two.release})"
        if one.config.features != two.config.features:
            names = (" + ".join(("base", *each.config.features)) for each in (one, two))
            yield f"config: {', '.join(names)}"
        if one.toolchain != two.toolchain:
            yield f"toolchain: {one.toolchain}, {two.toolchain}"
    if before.machine != after.machine:
        yield "machine: huge pages, memory, CPUs or nodes"
    for name, was, now in (
        ("accelerator", before.accel and before.accel.name, after.accel and after.accel.name),
        ("guest image", before.image, after.image),
        ("QEMU", before.qemu_version, after.qemu_version),
        ("hgm", before.harness, after.harness),
    ):
        if was != now:
            yield f"{name}: {was}, {now}"


def _time_changes(
    old: Mapping[str, ProbeSummary], new: Mapping[str, ProbeSummary]
) -> tuple[tuple[TimeChange, ...], tuple[str, ...]]:
    """Return the probes whose time changed, and notes on what was not compared."""
    pairs = {
        name: (old[name].seconds, new[name].seconds)
        for name in new
        if name in old and old[name].seconds and new[name].seconds
    }
    fewest = min((min(len(was), len(now)) for was, now in pairs.values()), default=0)
    level = SIGNIFICANCE / max(1, len(pairs))
    wanted = repeats_needed(level)
    if fewest < 2:  # times were not asked for
        return (), ()
    if fewest < wanted:
        return (), (
            f"times: {fewest} repetitions are too few to compare the times of {len(pairs)} probes; "
            f"use --repeat {wanted} in both runs",
        )
    common = _in_common(pairs)
    found = (_time_change(name, was, now, common) for name, (was, now) in pairs.items())
    changes = tuple(c for c in found if c.p <= level and abs(c.ratio - 1) >= LEAST_TIME_CHANGE)
    if abs(common - 1) < LEAST_TIME_CHANGE:
        return changes, ()
    return changes, (f"times: divided by {common:.2f}, the change that all probes have in common",)


def _in_common(pairs: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> float:
    """Return the factor by which all probes became slower, which is attributed to the host."""
    if len(pairs) < _LEAST_PROBES_IN_COMMON:
        return 1.0
    ratios = (statistics.median(now) / statistics.median(was) for was, now in pairs.values())
    return statistics.median(ratios)


def _time_change(
    name: str, was: Sequence[float], now: Sequence[float], common: float
) -> TimeChange:
    before, after = statistics.median(was), statistics.median(now)
    return TimeChange(
        name=name,
        before=before,
        after=after,
        ratio=after / before / common,
        p=rank_test(was, [seconds / common for seconds in now]),
    )


def repeats_needed(level: float) -> int:
    """Return the least repetitions on each side that can reach a level of significance."""
    count = 2
    while 2 / math.comb(2 * count, count) > level:
        count += 1
    return count


def rank_test(before: Sequence[float], after: Sequence[float]) -> float:
    """Return how likely two samples of one distribution are at least so far apart.

    It is the two-sided Mann-Whitney test, which assumes nothing of how times are distributed; exact
    unless times are equal.
    """
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(before, after, method="exact").pvalue)
