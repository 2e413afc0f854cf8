# SPDX-License-Identifier: GPL-2.0-only
"""Bisection of a series, with a fake pipeline in place of real kernels."""

import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness import pipeline
from harness.campaign import bisect, strategy
from harness.campaign.bisect import BisectRequest
from harness.campaign.predicate import Predicate
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import SpecError
from harness.kernel.obtain import KernelRequest, ResolvedRequest
from harness.progress import Silent
from harness.records.base import to_json
from harness.records.campaign import Bisection
from harness.records.kernel import PatchIdentity, SourceIdentity
from harness.records.outcome import Outcome
from harness.records.probe import Status
from harness.records.run import RunRecord
from harness.report import bisect as report
from harness.run.request import RunRequest
from harness.run.subject import Subject
from harness.vm import spec
from harness.workspace import Workspace
from tests.unit.campaign.records import NO_BUILD, NO_SERIES, ended, probed, took

REQUEST = BisectRequest(
    subject=Subject(
        kernel=KernelRequest(source="tree:/src", series="dir:/p", arch="x86_64"),
        machine=spec.machine(spec.parse_hugepages("2M:1", "x86_64"), arch_name="x86_64"),
    ),
    predicate=Predicate(probes=("hgm/x/2M",)),
)


class World:
    """Fakes source, series and pipeline: ``kernel(N)`` returns what the kernel of patch N does.

    Each run has the request's repetitions; ``kernel`` is called for each of them, or ``enabled``
    where patches are put on top.
    """

    def __init__(
        self,
        patches: int,
        kernel: Callable[[int], RunRecord | Status],
        enabled: Callable[[int, frozenset[int]], RunRecord | Status] | None = None,
        blame: str = "",
    ) -> None:
        self.patches = patches
        self.kernel = kernel
        self.enabled = enabled
        self.blame = blame
        self.ran: list[int] = []
        self.texts: tuple[str, ...] = ()
        self.kill_after: int | None = None

    def resolve_request(self, request: KernelRequest, *_: object) -> ResolvedRequest:
        names = [f"{number:04}.patch" for number in range(1, self.patches + 1)]
        return ResolvedRequest(
            source=SourceIdentity(spec=request.source, kind="tree", origin="", tree="0"),
            version="6.12.0",
            patches=tuple(PatchIdentity(name=name, digest="0") for name in names),
        )

    def run(self, request: RunRequest, runs: Path, context: Context) -> RunRecord:
        if self.kill_after is not None and len(self.ran) == self.kill_after:
            raise KeyboardInterrupt
        number = request.subject.kernel.first
        assert number is not None
        # Repetitions in one guest would be one sample; a probe that runs once shares its guest.
        assert request.alone == (request.repeat > 1)
        self.ran.append(number)
        extra = frozenset(map(int, request.subject.kernel.extra))
        assert all(each > number for each in extra)
        record = self._record(number, extra, request.repeat)
        directory = runs / f"{len(list(runs.glob('*'))):03}"
        directory.mkdir(parents=True)
        (directory / "result.json").write_bytes(to_json(record))
        return record

    def _record(self, number: int, extra: frozenset[int], times: int) -> RunRecord:
        results: dict[str, Status] = {}
        for repetition in range(1, times + 1):
            if extra:
                assert self.enabled is not None
                made = self.enabled(number, extra)
            else:
                made = self.kernel(number)
            if isinstance(made, RunRecord):
                return made
            results["hgm/x/2M" + (f"#{repetition}" if repetition > 1 else "")] = made
        record = probed(results)
        probes = (msgspec.structs.replace(each, blame=self.blame) for each in record.probes)
        return msgspec.structs.replace(record, probes=tuple(probes))


@pytest.fixture
def solve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bisection]:
    """Return a function that bisects in a fake world."""

    def run(
        world: World,
        confidence: float | None = None,
        runs: str = "runs",
        skip: tuple[str, ...] = (),
        first_good: bool = False,
    ) -> Bisection:
        monkeypatch.setattr(pipeline, "check", lambda request, context: ())
        monkeypatch.setattr(pipeline, "run", world.run)
        monkeypatch.setattr(bisect, "resolve_request", world.resolve_request)
        monkeypatch.setattr(bisect, "patch_stat", lambda *_, **__: " mm/x.c | 1 +")
        monkeypatch.setattr(bisect, "patch_texts", lambda *_: world.texts)
        request = msgspec.structs.replace(
            REQUEST, confidence=confidence, skip=skip, first_good=first_good
        )
        context = Context(Workspace(tmp_path / "cache"), Deadline.after(60, "a test"), Silent())
        return bisect.bisect_series(request, tmp_path / runs, context)

    return run


Solve = Callable[..., Bisection]


@pytest.mark.parametrize("culprit", [1, 2, 17, 29, 30])
def test_the_culprit_is_found_in_logarithmic_runs(solve: Solve, culprit: int) -> None:
    world = World(30, lambda n: "FAIL" if n >= culprit else "PASS")
    found = solve(world)
    assert found.result == "found"
    assert [each.name for each in found.suspects] == [f"{culprit:04}.patch"]
    assert len(world.ran) == len(set(world.ran)) <= strategy.most_tests(30) + 2
    assert found.runs == len(world.ran)
    assert found.evidence == "hgm/x/2M: FAIL: its FAIL"
    assert found.before == "hgm/x/2M: PASS"
    assert found.exit_code == 0


def test_a_series_that_adds_the_feature_before_the_fault(solve: Solve) -> None:
    found = solve(World(30, lambda n: "HANG" if n >= 25 else "PASS" if n >= 12 else "SKIP"))
    assert [each.name for each in found.suspects] == ["0025.patch"]
    assert {each.term for each in found.evaluations} == {"good", "bad", "absent"}


def test_patches_that_do_not_build_stay_suspects(solve: Solve) -> None:
    found = solve(World(4, lambda n: NO_BUILD if n in (2, 3) else "FAIL" if n == 4 else "PASS"))
    assert found.result == "several"
    assert [each.name for each in found.suspects] == ["0002.patch", "0003.patch", "0004.patch"]
    assert found.exit_code == 1
    assert "ONE OF 3" in report.verdict_line(found)


def test_a_good_series_has_no_culprit(solve: Solve) -> None:
    world = World(8, lambda _: "PASS")
    found = solve(world)
    assert (found.result, world.ran) == ("never", [8])
    assert report.verdict_line(found).startswith("NOT FOUND: 8 0008.patch is not bad")


def test_a_fault_in_the_source_blames_no_patch(solve: Solve) -> None:
    world = World(8, lambda _: "FAIL")
    assert (solve(world).result, world.ran) == ("always", [8, 0])


def test_a_source_that_cannot_be_tested_is_an_error(solve: Solve) -> None:
    with pytest.raises(SpecError, match="the source alone cannot be tested: does not build"):
        solve(World(8, lambda n: NO_BUILD if n == 0 else "FAIL"))


def test_a_series_that_cannot_be_tested_as_a_whole_is_an_error(solve: Solve) -> None:
    with pytest.raises(SpecError, match=r"0008\.patch cannot be tested: does not build"):
        solve(World(8, lambda n: NO_BUILD if n == 8 else "PASS"))


def test_bisecting_no_series_is_an_error(solve: Solve) -> None:
    with pytest.raises(SpecError, match="no series"):
        solve(World(0, lambda _: "PASS"))


def test_a_killed_bisection_continues_and_repeats_no_run(solve: Solve) -> None:
    def kernel(number: int) -> Status:
        return "FAIL" if number >= 13 else "PASS"

    whole = World(30, kernel)
    expected = solve(whole, runs="whole")
    world = World(30, kernel)
    for cut in range(len(whole.ran)):
        world.kill_after = cut
        with pytest.raises(KeyboardInterrupt):
            solve(world)
        assert world.ran == whole.ran[:cut]
    world.kill_after = None
    found = solve(world)
    assert world.ran == whole.ran
    assert found.suspects == expected.suspects
    assert found.runs == expected.runs


def test_a_failure_of_the_host_stops_the_campaign(solve: Solve) -> None:
    from harness.errors import CampaignStopped

    with pytest.raises(CampaignStopped, match="0008"):
        solve(World(8, lambda _: ended(Outcome.INFRASTRUCTURE)))


@pytest.mark.parametrize("seed", range(5))
def test_an_intermittent_fault_is_found_with_the_confidence_asked_for(
    solve: Solve, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same cases every time
    world = World(30, lambda n: "FAIL" if n >= 19 and chance.random() < 1 / 3 else "PASS")
    found = solve(world, 0.95)
    assert [each.name for each in found.suspects] == ["0019.patch"]
    assert found.confidence is not None
    assert found.confidence.reached >= 0.95
    assert found.confidence.rate < 1 / 3
    assert "asked: 95%" in "\n".join(report.lines(found))


def test_cost_is_compared_with_the_makes_and_guests_it_needed(solve: Solve) -> None:
    def kernel(number: int) -> RunRecord:
        if number == 2:
            return msgspec.structs.replace(NO_BUILD, seconds=8.0, error_seconds=6.0)
        return took(probed(hgm_x_2M="FAIL" if number >= 3 else "PASS"), cached=number == 0)

    found = solve(World(3, kernel))
    assert [each.candidate.id for each in found.evaluations] == ["0003", "0000", "0001", "0002"]
    # The make of a failed build counts; that of a kernel from the cache does not.
    assert (found.builds, found.runs) == (2, 4)
    assert (found.seconds, found.make_seconds, found.guest_seconds) == (47.0, 26.0, 9.0)
    assert found.ratio == pytest.approx(47 / 35)
    cost = "cost      2 builds, 4 runs, 47 s: 1.34 times make 26 s, guests 9 s"
    assert cost in list(report.lines(found))


def test_cost_has_no_ratio_without_makes_and_guests(solve: Solve) -> None:
    found = solve(World(3, lambda n: "FAIL" if n >= 2 else "PASS"))
    assert found.ratio is None
    assert "cost      0 builds, 4 runs, 0 s" in list(report.lines(found))


def test_the_report(solve: Solve) -> None:
    lines = list(report.lines(solve(World(3, lambda n: "CRASH" if n >= 2 else "PASS"))))
    assert lines[0] == "bad if hgm/x/2M ends in FAIL/CRASH/HANG"
    assert lines[2:7] == [
        "bad                  3 0003.patch: hgm/x/2M: CRASH: its CRASH",
        "good                 0 the source alone: hgm/x/2M: PASS",
        "good                 1 0001.patch: hgm/x/2M: PASS",
        "bad                  2 0002.patch: hgm/x/2M: CRASH: its CRASH",
        "",
    ]
    assert "  mm/x.c | 1 +" in lines
    again = [line for line in lines if line.startswith("again ")]
    words = "run --kernel tree:/src --series dir:/p --arch x86_64 --first {} "
    words += "--hugepages 2M:1 --probe hgm/x/2M --expect report"
    assert [line.rpartition("/hgm ")[2] for line in again] == [
        words.format(number) for number in (2, 1)
    ]
    assert lines[-1] == "FOUND: 2 0002.patch"


# ---- a feature that one patch of the series switches on ------------------------------------------

ENABLING, CULPRIT, TOTAL = 30, 12, 40


def _series(traced: dict[int, str]) -> tuple[str, ...]:
    """Return patches that each change a function of their own, or the one given."""
    return tuple(
        f"--- a/mm/x.c\n+++ b/mm/x.c\n@@ -{n},3 +{n},3 @@ int {traced.get(n, f'f{n}')}(void)\n"
        " \tint a;\n-\tint b;\n+\tint c;\n"
        for n in range(1, TOTAL + 1)
    )


def _gated(number: int) -> Status:
    return "HANG" if number >= ENABLING else "SKIP"


def _named(found: Bisection) -> list[int]:
    return [int(each.id) for each in found.suspects]


@pytest.mark.parametrize("blame", ["", "hung at mm/x.c:12, on CPU 1"])
def test_the_culprit_is_found_before_the_patch_that_enables_the_feature(
    solve: Solve, blame: str
) -> None:
    world = World(TOTAL, _gated, lambda n, _: "HANG" if n >= CULPRIT else "PASS", blame)
    world.texts = _series({CULPRIT: "hung"})
    found = solve(world)
    assert (found.result, _named(found)) == ("found", [CULPRIT])
    assert [each.id for each in found.enabling] == [f"{ENABLING:04}"]
    assert found.before == "hgm/x/2M: PASS"
    again = [command[command.index("--first") :][:4] for command in found.commands]
    assert again == [("--first", n, "--with", "30") for n in ("12", "11")]
    # Ends, then the enabling patch, then the source with it; the trace saves the third search.
    assert len(world.ran) <= 2 + 6 + 1 + (2 if blame else 5)


def test_a_fault_that_does_not_need_the_feature_is_found_without_it(solve: Solve) -> None:
    world = World(TOTAL, lambda n: "HANG" if n >= CULPRIT else "PASS")
    found = solve(world)
    assert (found.result, _named(found), found.enabling) == ("found", [CULPRIT], ())


@pytest.mark.parametrize("applies_from", [13, 20, 30])
def test_where_the_feature_cannot_be_switched_on_the_trace_comes_first(
    solve: Solve, applies_from: int
) -> None:
    world = World(
        TOTAL,
        _gated,
        lambda n, _: NO_SERIES if n < applies_from else "HANG",
        "hung at mm/x.c:12, on CPU 1",
    )
    world.texts = _series({CULPRIT: "hung"})
    found = solve(world)
    assert found.result == "several"
    assert _named(found)[0] == CULPRIT
    assert {*range(applies_from), ENABLING} <= set(_named(found))
    line = report.verdict_line(found)
    assert line.startswith(f"ONE OF {len(found.suspects)}, as no kernel before them that has the ")
    assert ": 12 0012.patch; 0 the source alone; " in line


def test_a_feature_in_two_parts_is_switched_on_by_both(solve: Solve) -> None:
    """Patch 30 selects what patch 8 makes; the fault is in patch 5."""

    def enabled(number: int, extra: frozenset[int]) -> Status:
        if number < 8 and 8 not in extra:
            return "SKIP"
        return "HANG" if number >= 5 else "PASS"

    found = solve(World(TOTAL, _gated, enabled))
    assert (found.result, _named(found)) == ("found", [5])
    assert [int(each.id) for each in found.enabling] == [ENABLING, 8]


def test_a_fault_that_is_there_at_once_may_be_the_source_s(solve: Solve) -> None:
    found = solve(World(TOTAL, _gated, lambda _, __: "HANG"))
    assert (found.result, _named(found)) == ("several", [0, ENABLING])
    assert "as it shows as soon as the feature is switched on: 0 the source" in (
        report.verdict_line(found)
    )


@pytest.mark.parametrize("seed", range(60))
def test_the_enabling_patch_is_never_found_for_that_alone(solve: Solve, seed: int) -> None:
    """Whatever applies or builds, the culprit is named or among the suspects."""
    chance = random.Random(seed)  # noqa: S311 - the same cases every time
    enabling, culprit = chance.randint(1, TOTAL), chance.randint(0, TOTAL)
    applies, offered = chance.randint(0, TOTAL), chance.randint(0, enabling)
    broken = frozenset(chance.sample(range(1, TOTAL), 6)) if seed % 2 else frozenset()
    culprits = {CULPRIT: "hung"}

    def kernel(number: int) -> RunRecord | Status:
        if number in broken:
            return NO_BUILD
        if number < enabling:
            return "SKIP"
        return "HANG" if number >= culprit else "PASS"

    def enabled(number: int, extra: frozenset[int]) -> RunRecord | Status:
        if number < applies:
            return NO_SERIES
        if number in broken:
            return NO_BUILD
        if enabling not in extra | set(range(number + 1)) or max(extra | {number}) < offered:
            return "SKIP"
        return "HANG" if number >= culprit or culprit in extra else "PASS"

    world = World(TOTAL, kernel, enabled, "hung at mm/x.c:12, on CPU 1" if seed % 3 else "")
    world.texts = _series(culprits)
    found = solve(world)
    assert culprit in _named(found)
    assert found.result == "several" or _named(found) == [culprit]


# ---- options as git bisect has them --------------------------------------------------------------


def test_a_skipped_patch_is_not_run_and_stays_a_suspect(solve: Solve) -> None:
    world = World(8, lambda n: "FAIL" if n >= 4 else "PASS")
    found = solve(world, skip=("4",))
    assert 4 not in world.ran
    assert (found.result, _named(found)) == ("several", [4, 5])
    with pytest.raises(SpecError, match="--skip 9 is not a patch of the series"):
        solve(world, skip=("9",))


def test_the_first_good_patch(solve: Solve) -> None:
    found = solve(World(30, lambda n: "PASS" if n >= 17 else "FAIL"), first_good=True)
    assert (found.result, _named(found)) == ("found", [17])
    assert report.verdict_line(found) == "FOUND: 17 0017.patch is the first good one"
    assert (found.evidence, found.before) == ("hgm/x/2M: PASS", "hgm/x/2M: FAIL: its FAIL")


def test_the_first_good_patch_of_an_intermittent_fault(solve: Solve) -> None:
    chance = random.Random(1)  # noqa: S311 - the same case every time
    world = World(30, lambda n: "FAIL" if n < 19 and chance.random() < 1 / 3 else "PASS")
    found = solve(world, 0.95, first_good=True)
    assert (found.result, _named(found)) == ("found", [19])


def test_nothing_was_fixed(solve: Solve) -> None:
    found = solve(World(8, lambda _: "FAIL"), first_good=True)
    assert report.verdict_line(found).startswith("NOT FOUND: 8 0008.patch is not good: ")
    found = solve(World(8, lambda _: "PASS"), first_good=True, runs="good")
    assert report.verdict_line(found).startswith("NOT FOUND: 0 the source alone is good already: ")
