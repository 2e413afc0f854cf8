# SPDX-License-Identifier: GPL-2.0-only
"""The results of campaigns: bisections, series tried patch by patch, and runs compared."""

from __future__ import annotations

from typing import Literal

import msgspec

from harness.records.base import Record
from harness.records.probe import BAD, Status

# ---- bisections --------------------------------------------------------------------------------

#: What a bisection calls a kernel. ``absent``: it does not have what the predicate is about yet;
#: ``untestable``: the predicate could not be evaluated.
Term = Literal["good", "bad", "absent", "untestable"]

#: How a bisection ends. ``several``: it may be any of them; ``never``: the last candidate is not
#: bad; ``always``: the first one is bad already.
BisectResult = Literal["found", "several", "never", "always"]


class Candidate(Record, frozen=True, kw_only=True):
    """One patch or commit.

    Attributes:
        id: its number in the series, or its commit ID; also its directory in the campaign.
        name: the patch's name, or the commit's subject.
    """

    id: str
    name: str


class Evaluation(Record, frozen=True, kw_only=True):
    """The result of all runs of one candidate.

    Attributes:
        candidate: the last patch or commit that is in the kernel.
        on_top: later ones that were put on top, because they switch the feature on.
        term: see `Term`.
        reason: one line, the first evidence.
        runs: how many runs it rests on.
        samples: how often the predicate was evaluated in them.
        bad: how many of the samples were bad.
        seconds: wall time of the runs.
        built: whether a kernel was built for it, and not found in the cache.
        make_seconds: the part of `seconds` in which make built a kernel, or failed to.
        guest_seconds: the part of `seconds` from QEMU's start to its end.
        run_dir: absolute path of the run with the evidence.
    """

    candidate: Candidate
    on_top: tuple[Candidate, ...] = ()
    term: Term
    reason: str
    runs: int
    samples: int
    bad: int
    seconds: float
    built: bool
    make_seconds: float = 0.0
    guest_seconds: float = 0.0
    run_dir: str


class Confidence(Record, frozen=True, kw_only=True):
    """How certain the result of bisecting an intermittent fault is.

    Attributes:
        wanted: the probability of a right result that was asked for.
        rate: lower bound of how often the fault shows.
        repeats: how often a kernel had to pass to be called good.
        reached: lower bound of the probability that the result is right.
    """

    wanted: float
    rate: float
    repeats: int
    reached: float


class TracedSuspect(Record, frozen=True, kw_only=True):
    """A patch or commit that changes a function in the stack of the hang, crash or splat.

    Attributes:
        candidate: the patch or commit.
        function: the innermost function of the stack that it changes.
        hunk: the file and the header of the hunk that does.
    """

    candidate: Candidate
    function: str
    hunk: str


class Bisection(Record, frozen=True, kw_only=True):
    """The result of a bisection: ``bisect.json``.

    Attributes:
        predicate: when a kernel is bad, in a few words.
        result: see `BisectResult`.
        first_good: whether the first good one was wanted and not the first bad one.
        suspects: the culprit, or all that it may be, those of `traced` first; for ``never`` and
            ``always`` the candidate that decided it.
        why: one line: for ``several``, why they cannot be told apart; empty otherwise.
        enabling: those that switched the feature on, and were put on top of what is before them.
        traced: patches or commits that change a function in the stack, the likeliest first.
        evaluations: in the order they were made.
        evidence: one line: what was seen in the first kernel that is bad (with `first_good`, good).
        before: one line: what was seen in the kernel before it.
        diffstat: of the culprit, as git prints it.
        commands: each shows the culprit, or the kernel before it, again.
        confidence: None where every kernel was evaluated once.
        builds: kernels that were built, and not found in the cache.
        runs: runs that were made, each in a guest of its own.
        seconds: wall time of all of them.
        make_seconds: the part of `seconds` in which make built kernels.
        guest_seconds: the part of `seconds` from QEMU's start to its end.
        directory: absolute path of the campaign's directory.
    """

    predicate: str
    result: BisectResult
    suspects: tuple[Candidate, ...]
    evaluations: tuple[Evaluation, ...]
    first_good: bool = False
    why: str = ""
    enabling: tuple[Candidate, ...] = ()
    traced: tuple[TracedSuspect, ...] = ()
    evidence: str = ""
    before: str = ""
    diffstat: str = ""
    commands: tuple[tuple[str, ...], ...] = ()
    confidence: Confidence | None = None
    builds: int = 0
    runs: int = 0
    seconds: float = 0.0
    make_seconds: float = 0.0
    guest_seconds: float = 0.0
    directory: str = ""

    @property
    def ratio(self) -> float | None:
        """Return wall time over that of makes and guests; None where neither was needed."""
        needed = self.make_seconds + self.guest_seconds
        return self.seconds / needed if needed else None

    @property
    def shown(self) -> Evaluation | None:
        """Return the evaluation that showed the fault, or its fix; None if none did."""
        wanted = "good" if self.first_good else "bad"
        for each in reversed(self.evaluations):
            if each.term == wanted and each.reason == self.evidence:
                return each
        return None

    @property
    def exit_code(self) -> int:
        """Return 0 if one culprit was found, else 1."""
        return 0 if self.result == "found" else 1


# ---- a series, patch by patch ------------------------------------------------------------------

#: How far the kernel of a step came.
StepResult = Literal["no build", "no boot", "probed"]


class Step(Record, frozen=True, kw_only=True):
    """The kernel after one more patch.

    Attributes:
        number: how many patches are applied; 0 for the source alone.
        patch: the last of them; empty for the source alone.
        result: see `StepResult`.
        reason: one line.
        statuses: each probe's status by name; empty unless the kernel was probed.
        splats: titles of the kernel's splats, in a probe or outside of one.
        build_seconds: wall time of the build that made the kernel.
        seconds: wall time of the run.
        run_dir: absolute path of its run directory.
    """

    number: int
    patch: str
    result: StepResult
    reason: str
    statuses: dict[str, Status] = msgspec.field(default_factory=dict)
    splats: tuple[str, ...] = ()
    build_seconds: float = 0.0
    seconds: float = 0.0
    run_dir: str = ""


class SeriesTry(Record, frozen=True, kw_only=True):
    """A series tried patch by patch: ``try.json``.

    Attributes:
        source: the kernel source, as it was given.
        series: as it was given.
        steps: in the order of the patches.
        findings: what each patch changes, a line each.
        exit_code: 1 if a kernel was not built, did not boot or reported a splat, or a probe ended
            as FAIL, CRASH or HANG; else 3 if a probe was LOST; else 0.
        directory: absolute path of the campaign's directory.
    """

    source: str
    series: str
    steps: tuple[Step, ...]
    findings: tuple[str, ...]
    exit_code: int
    directory: str


# ---- runs compared -----------------------------------------------------------------------------

#: How a probe's result changed.
ChangeKind = Literal[
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


class ProbeSummary(Record, frozen=True, kw_only=True):
    """How a probe ended in a run, all its repetitions together.

    Attributes:
        status: the worst of them; LOST only if nothing else is known.
        counts: how many ended with each status.
        reason: of the first with that status.
        seconds: of each that passed.
    """

    status: Status
    counts: dict[Status, int]
    reason: str = ""
    seconds: tuple[float, ...] = ()

    @property
    def bad(self) -> int:
        """Return how many blame the kernel, known issues included."""
        return sum(self.counts.get(status, 0) for status in (*BAD, "KNOWN"))

    @property
    def known(self) -> int:
        """Return how many have a result: all but those that were lost."""
        return sum(count for status, count in self.counts.items() if status != "LOST")


class Change(Record, frozen=True, kw_only=True):
    """A probe that ended with another result than before.

    Attributes:
        name: the probe.
        kind: see `ChangeKind`.
        before: how it ended in the first run; None where it was not run.
        after: the same in the second run.
        regression: whether the kernel got worse.
        p: probability that the same kernel would differ so much by chance; None where neither run
            had both good and bad repetitions.
    """

    name: str
    kind: ChangeKind
    before: ProbeSummary | None
    after: ProbeSummary | None
    regression: bool = False
    p: float | None = None


class TimeChange(Record, frozen=True, kw_only=True):
    """A probe that takes longer or shorter than before, by more than chance and the host explain.

    Attributes:
        name: the probe.
        before: median seconds in the first run.
        after: median seconds in the second run.
        ratio: after over before, divided by the ratio that all probes have in common.
        p: probability of such times if nothing had changed (Mann-Whitney).
    """

    name: str
    before: float
    after: float
    ratio: float
    p: float


class Transition(Record, frozen=True, kw_only=True):
    """What a probe declares about the kernel without and with the series, and whether it held.

    Attributes:
        name: the probe.
        without_series: the statuses declared without the series; with it the probe must pass.
        before: how it ended without the series.
        after: how it ended with the series.
        held: whether both were as declared.
    """

    name: str
    without_series: tuple[Status, ...]
    before: Status
    after: Status
    held: bool


class Comparison(Record, frozen=True, kw_only=True):
    """Two runs compared: ``compare.json``.

    Attributes:
        before: the first run: its directory.
        after: the second run: its directory.
        exit_code: 1 for a regression, 3 if probes were lost and there is none, else 0.
        changes: in the order of the second run's probes, then those that are gone.
        same: how many probes ended as before.
        splats: titles of new splats outside of any probe.
        ended: how the second run ended where it has no probes to compare; empty otherwise.
        times: probes whose time changed.
        transitions: what probes declare, where the first run is the second without the series.
        differs: what else differs between the runs and may be the reason.
        notes: what could not be compared.
    """

    before: str
    after: str
    exit_code: int
    changes: tuple[Change, ...] = ()
    same: int = 0
    splats: tuple[str, ...] = ()
    ended: str = ""
    times: tuple[TimeChange, ...] = ()
    transitions: tuple[Transition, ...] = ()
    differs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, kind: ChangeKind) -> tuple[Change, ...]:
        """Return the changes of a kind."""
        return tuple(change for change in self.changes if change.kind == kind)


class Difference(Record, frozen=True, kw_only=True):
    """A test, or a result inside a test, that did not end the same in each run.

    Attributes:
        name: the test's name, followed by the result's where it is about one.
        statuses: one a run; empty where a run does not have it.
        reasons: one a run.
    """

    name: str
    statuses: tuple[str, ...]
    reasons: tuple[str, ...]


# ---- a matrix --------------------------------------------------------------------------------


class MatrixCell(Record, frozen=True, kw_only=True):
    """The result of one cell of a matrix.

    Attributes:
        names: the words of the matrix's file that make it, joined by bars.
        build: the words that say which kernel is built.
        built: False where the kernel was not built.
        left: whether its turn did not come, for want of time.
        verdict: of the run, FAIL where the kernel was not built or did not boot; or ``NOT RUN``.
        reason: one line.
        exit_code: 0 as expected, 1 the kernel is wrong, 2 or 3 it is not known.
        seconds: wall time of the run.
        run_dir: absolute path of its directory; empty without a run.
    """

    names: str
    build: tuple[str, ...]
    built: bool = True
    left: bool = False
    verdict: str
    reason: str
    exit_code: int
    seconds: float = 0.0
    run_dir: str = ""


class NewBisection(Record, frozen=True, kw_only=True):
    """The bisection of what is new in one cell of a matrix.

    Attributes:
        names: of the cell, as `MatrixCell.names`.
        tests: names of the tests that began to fail there, and fail in the kernel that was found.
        found: the result; None if there is none.
        reason: one line: why there is none; empty otherwise.
        left: whether the time ran out before it was done, so that it is still to be done.
    """

    names: str
    tests: tuple[str, ...]
    found: Bisection | None = None
    reason: str = ""
    left: bool = False


class MatrixResult(Record, frozen=True, kw_only=True):
    """A round of a matrix: ``matrix.json``.

    Attributes:
        round: its number, from 1.
        finished: whether each cell has had its turn and, if that was asked for, what is new is
            bisected.
        cells: in the order in which they were run.
        directory: absolute path of the campaign's directory.
        bisections: of what is new; empty unless they were asked for.
    """

    round: int
    finished: bool
    cells: tuple[MatrixCell, ...]
    directory: str
    bisections: tuple[NewBisection, ...] = ()

    @property
    def exit_code(self) -> int:
        """Return 1 if a kernel is wrong, else 3 or 2 if something is not known, else 0."""
        codes = {cell.exit_code for cell in self.cells}
        return next((code for code in (1, 3, 2) if code in codes), 0)
