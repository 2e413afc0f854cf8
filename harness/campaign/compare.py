# SPDX-License-Identifier: GPL-2.0-only
"""What a second run shows that a first one did not, probe by probe. Pure.

A regression is a probe that did not go wrong before and does now, one that passed and is skipped
now, a new complaint outside of any probe, or a kernel that is not built or does not boot any more.
What was LOST says nothing of the kernel, so it is no regression; and no PASS either.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from harness.campaign import state
from harness.errors import RecordError
from harness.probes.catalog import plain_name
from harness.records.base import Record
from harness.records.probe import ProbeResult, Status
from harness.records.run import RunRecord

Kind = Literal[
    "newly failing",
    "failing more",
    "failing less",
    "newly passing",
    "newly skipped",
    "newly lost",
    "changed reason",
    "gone",
    "new",
]

#: Statuses that a kernel is to blame for, worst first.
_BAD: tuple[Status, ...] = ("CRASH", "HANG", "FAIL")

#: How likely a shift may be that is none, over all probes of a comparison together.
SIGNIFICANCE = 0.05
#: A smaller shift than this interests nobody.
LEAST_SHIFT = 0.10
#: With fewer probes it is not known what all of them have in common.
_LEAST_PROBES_IN_COMMON = 5

_NUMBERS = re.compile(r"\b0x[0-9a-f]+\b|\b[0-9a-f]{8,}\b|\d+(?:\.\d+)?")


class Outcome(Record, frozen=True, kw_only=True):
    """How a probe ended in a run, all its repetitions together.

    Attributes:
        status: the worst of them; LOST only if nothing else is known.
        counts: how many ended how.
        reason: of the first with that status.
        seconds: of each that passed.
    """

    status: Status
    counts: dict[Status, int]
    reason: str = ""
    seconds: tuple[float, ...] = ()


class Change(Record, frozen=True, kw_only=True):
    """A probe that did not end as before.

    Attributes:
        name: the probe.
        kind: see `Kind`.
        before: how it ended in the first run; None where it was not run.
        after: the same in the second run.
        regression: whether the kernel got worse.
        doubt: how likely the same kernel would differ so by chance; None where it never both went
            wrong and did not, so that nothing speaks of chance.
    """

    name: str
    kind: Kind
    before: Outcome | None
    after: Outcome | None
    regression: bool = False
    doubt: float | None = None


class Shift(Record, frozen=True, kw_only=True):
    """A probe that takes longer or shorter than before, by more than chance and the host explain.

    Attributes:
        name: the probe.
        before: median seconds in the first run.
        after: median seconds in the second run.
        ratio: after by before, what all probes have in common taken out.
        doubt: how likely such times would be if nothing had changed; see `rank_test`.
    """

    name: str
    before: float
    after: float
    ratio: float
    doubt: float


class Transition(Record, frozen=True, kw_only=True):
    """What a probe states of base and patched kernel, and whether it was so.

    Attributes:
        name: the probe.
        without_series: what it must end with on the base; on the patched kernel it must pass.
        before: how it ended on the base.
        after: how it ended on the patched kernel.
        held: whether it was as stated.
    """

    name: str
    without_series: tuple[Status, ...]
    before: Status
    after: Status
    held: bool


class Comparison(Record, frozen=True, kw_only=True):
    """Two runs compared.

    Attributes:
        before: the first run: its directory.
        after: the second run: its directory.
        exit_code: 1 for a regression, 3 if probes were lost and there is none, else 0.
        changes: in the order of the second run's probes, then those that are gone.
        same: how many probes ended as before.
        complaints: new complaints of the kernel outside of any probe.
        ended: how the second run ended where it has no probes to compare; empty otherwise.
        shifts: probes whose time changed.
        transitions: what probes state, where the first run is the base of the second.
        differs: what else differs between the runs, so that it may be the reason.
        notes: what could not be compared.
    """

    before: str
    after: str
    exit_code: int
    changes: tuple[Change, ...] = ()
    same: int = 0
    complaints: tuple[str, ...] = ()
    ended: str = ""
    shifts: tuple[Shift, ...] = ()
    transitions: tuple[Transition, ...] = ()
    differs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def regressions(self) -> tuple[Change, ...]:
        """Return the changes for the worse."""
        return tuple(change for change in self.changes if change.regression)

    def of(self, kind: Kind) -> tuple[Change, ...]:
        """Return the changes of a kind."""
        return tuple(change for change in self.changes if change.kind == kind)


def compare(before: RunRecord, after: RunRecord) -> Comparison:
    """Return what a second run shows that a first one did not.

    Raises:
        RecordError: if one of them says nothing of its kernel: cut, interrupted, or ended by an
            error of the host; or if the first has no probes that ran.
    """
    for record in (before, after):
        if not state.counts(record):
            raise RecordError(
                f"{record.run_dir} has no verdict to compare: {record.verdict}: {record.reason}",
                hint="run it again",
            )
    if not _probed(before):
        raise RecordError(
            f"{before.run_dir} is no base: {before.reason}",
            hint="compare with a run that was probed",
        )
    if not _probed(after):
        return Comparison(
            before=before.run_dir, after=after.run_dir, exit_code=1, ended=after.reason
        )
    old, new = outcomes(before.probes), outcomes(after.probes)
    changes = tuple(_changes(old, new))
    complaints = _new_complaints(before, after)
    shifts, notes = _shifts(old, new)
    return Comparison(
        before=before.run_dir,
        after=after.run_dir,
        exit_code=_exit_code(changes, complaints),
        changes=changes,
        same=len(old.keys() & new.keys()) - sum(c.kind not in ("gone", "new") for c in changes),
        complaints=complaints,
        shifts=shifts,
        transitions=tuple(_transitions(before, after)) if is_base(before, after) else (),
        differs=tuple(_differs(before, after)),
        notes=notes,
    )


def _exit_code(changes: Sequence[Change], complaints: Sequence[str]) -> int:
    if complaints or any(change.regression for change in changes):
        return 1
    return 3 if any(change.kind == "newly lost" for change in changes) else 0


def _probed(record: RunRecord) -> bool:
    return state.built(record) and state.booted(record)


def is_base(before: RunRecord, after: RunRecord) -> bool:
    """Return whether the second kernel is the source of the first with patches on it."""
    if before.kernel is None or after.kernel is None:
        return False
    one, two = before.kernel, after.kernel
    same = bool(one.source.tree) and one.source.tree == two.source.tree
    return same and not one.series.patches and bool(two.series.patches)


def _transitions(before: RunRecord, after: RunRecord) -> Iterator[Transition]:
    """Yield what probes of both runs state of them; every repetition has to be as stated."""
    old = outcomes(before.probes)
    stated = {
        plain_name(p.name): p.without_series
        for p in (*before.probes, *after.probes)
        if p.without_series
    }
    for name, outcome in outcomes(after.probes).items():
        if name in stated and name in old:
            was, now = _least(old[name], stated[name]), outcome.status
            yield Transition(
                name=name,
                without_series=stated[name],
                before=was,
                after=now,
                held=was in stated[name] and now == "PASS",
            )


def _least(outcome: Outcome, wanted: Sequence[Status]) -> Status:
    """Return a status that is not wanted if there was one, else how the probe ended."""
    return next((status for status in outcome.counts if status not in wanted), outcome.status)


def outcomes(probes: Sequence[ProbeResult]) -> dict[str, Outcome]:
    """Return how each probe ended, its repetitions together, in the order they first ran."""
    groups: dict[str, list[ProbeResult]] = {}
    for probe in probes:
        groups.setdefault(plain_name(probe.name), []).append(probe)
    return {name: _outcome(group) for name, group in groups.items()}


def _outcome(group: Sequence[ProbeResult]) -> Outcome:
    order: tuple[Status, ...] = (*_BAD, "SKIP", "PASS", "LOST")
    worst = min(group, key=lambda probe: order.index(probe.status))
    counts: dict[Status, int] = {}
    for probe in group:
        counts[probe.status] = counts.get(probe.status, 0) + 1
    return Outcome(
        status=worst.status,
        counts=counts,
        reason=worst.reason,
        seconds=tuple(probe.seconds for probe in group if probe.status == "PASS"),
    )


def _changes(old: Mapping[str, Outcome], new: Mapping[str, Outcome]) -> Iterator[Change]:
    for name, after in new.items():
        before = old.get(name)
        if before is None:
            bad = after.status in _BAD
            yield Change(name=name, kind="new", before=None, after=after, regression=bad)
        elif change := change_of(name, before, after):
            yield change
    for name, before in old.items():
        if name not in new:
            yield Change(name=name, kind="gone", before=before, after=None)


def change_of(name: str, before: Outcome, after: Outcome) -> Change | None:
    """Return how a probe's end changed; None where it did not."""
    mixed = 0 < _bad(before) < _known(before) or 0 < _bad(after) < _known(after)
    doubt = fisher(_bad(before), _known(before), _bad(after), _known(after)) if mixed else None
    kind = _kind(before, after, doubt)
    if kind is None:
        return None
    was_good = before.status in ("PASS", "SKIP")
    return Change(
        name=name,
        kind=kind,
        before=before,
        after=after,
        regression=kind == "failing more"
        or (kind == "newly failing" and was_good)
        or (kind == "newly skipped" and before.status == "PASS"),
        doubt=doubt,
    )


def _kind(before: Outcome, after: Outcome, doubt: float | None) -> Kind | None:
    was, now = _class(before.status), _class(after.status)
    if was != now:
        kinds: dict[str, Kind] = {
            "FAIL": "newly failing",
            "PASS": "newly passing",
            "SKIP": "newly skipped",
            "LOST": "newly lost",
        }
        return kinds[now]
    if now == "FAIL" and doubt is not None:
        if doubt >= SIGNIFICANCE:
            return None  # it failed now and then, and still does
        more = _bad(after) * _known(before) > _bad(before) * _known(after)
        return "failing more" if more else "failing less"
    same = before.status == after.status and plain(before.reason) == plain(after.reason)
    return None if same or now == "LOST" else "changed reason"


def _class(status: Status) -> Status:
    return "FAIL" if status in _BAD else status


def _bad(outcome: Outcome) -> int:
    return sum(outcome.counts.get(status, 0) for status in _BAD)


def _known(outcome: Outcome) -> int:
    return sum(count for status, count in outcome.counts.items() if status != "LOST")


def plain(reason: str) -> str:
    """Return a reason without its numbers, which differ from run to run."""
    return _NUMBERS.sub("N", reason)


def fisher(bad_before: int, before: int, bad_after: int, after: int) -> float:
    """Return how likely two samples of one kernel would differ at least so (Fisher's exact test).

    Args:
        bad_before: how often it went wrong ...
        before: ... of so many times.
        bad_after: the same in the second sample.
        after: see ``before``.
    """
    bad, total = bad_before + bad_after, before + after
    ways = math.comb(total, bad)

    def chance(count: int) -> float:
        return math.comb(before, count) * math.comb(after, bad - count) / ways

    seen = chance(bad_before)
    possible = range(max(0, bad - after), min(before, bad) + 1)
    return min(1.0, sum(c for c in map(chance, possible) if c <= seen * (1 + 1e-9)))


def _new_complaints(before: RunRecord, after: RunRecord) -> tuple[str, ...]:
    known = {plain(splat.title) for splat in before.splats}
    titles = dict.fromkeys(s.title for s in after.splats if plain(s.title) not in known)
    return tuple(titles)


def _differs(before: RunRecord, after: RunRecord) -> Iterator[str]:
    """Yield what besides the kernel's source and series is not the same in both runs."""
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


def _shifts(
    old: Mapping[str, Outcome], new: Mapping[str, Outcome]
) -> tuple[tuple[Shift, ...], tuple[str, ...]]:
    """Return the probes whose time changed, and why times were not compared where they were not."""
    pairs = {
        name: (old[name].seconds, new[name].seconds)
        for name in new
        if name in old and old[name].seconds and new[name].seconds
    }
    fewest = min((min(len(was), len(now)) for was, now in pairs.values()), default=0)
    level = SIGNIFICANCE / max(1, len(pairs))
    wanted = repeats_needed(level)
    if fewest < 2:  # nobody asked for times
        return (), ()
    if fewest < wanted:
        return (), (
            f"times: {fewest} repetitions are too few to compare {len(pairs)} of them; "
            f"--repeat {wanted} in both runs would do",
        )
    common = _in_common(pairs)
    found = (_shift(name, was, now, common) for name, (was, now) in pairs.items())
    shifts = tuple(s for s in found if s.doubt <= level and abs(s.ratio - 1) >= LEAST_SHIFT)
    if abs(common - 1) < LEAST_SHIFT:
        return shifts, ()
    return shifts, (f"times: all probes together took {common:.2f} times as long; taken out",)


def _in_common(pairs: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> float:
    """Return by which factor everything became slower: that is the host, and not the kernel."""
    if len(pairs) < _LEAST_PROBES_IN_COMMON:
        return 1.0
    ratios = (statistics.median(now) / statistics.median(was) for was, now in pairs.values())
    return statistics.median(ratios)


def _shift(name: str, was: Sequence[float], now: Sequence[float], common: float) -> Shift:
    before, after = statistics.median(was), statistics.median(now)
    return Shift(
        name=name,
        before=before,
        after=after,
        ratio=after / before / common,
        doubt=rank_test(was, [seconds / common for seconds in now]),
    )


def repeats_needed(level: float) -> int:
    """Return how many repetitions on each side can show a shift at all at a level of doubt."""
    count = 2
    while 2 / math.comb(2 * count, count) > level:
        count += 1
    return count


def rank_test(was: Sequence[float], now: Sequence[float]) -> float:
    """Return how likely two samples of one thing would be apart at least so far.

    It is the exact two-sided Mann-Whitney test: of all ways to deal the ranks out to both samples,
    the share in which the sum of the first sample's ranks is as far from its mean. It asks nothing
    of how times are distributed. Equal times share their mean rank.
    """
    order = sorted([*was, *now])
    # Twice the mean rank, so that shared ranks stay whole numbers.
    ranks = [order.index(each) + 1 + len(order) - order[::-1].index(each) for each in order]
    doubled = dict(zip(order, ranks, strict=True))
    ways = [{0: 1}] + [{} for _ in was]
    for rank in ranks:
        for size in range(len(was), 0, -1):
            for total, count in ways[size - 1].items():
                ways[size][total + rank] = ways[size].get(total + rank, 0) + count
    mean = len(was) * (len(order) + 1)
    seen = abs(sum(doubled[each] for each in was) - mean)
    as_far = sum(count for total, count in ways[-1].items() if abs(total - mean) >= seen)
    return as_far / math.comb(len(order), len(was))
