# SPDX-License-Identifier: GPL-2.0-only
"""What of a round is new and bisected, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from harness.campaign import bisect, bisect_new, commits, matrix_file
from harness.campaign.bisect import BisectRequest
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import CampaignStopped
from harness.progress import Silent
from harness.records.base import to_json
from harness.records.campaign import (
    Bisection,
    Candidate,
    Evaluation,
    MatrixCell,
    MatrixResult,
)
from harness.records.history import CellState, HistoryState, PastRun, ResultState
from harness.report import rounds
from harness.store.history import extract
from harness.workspace import Workspace
from tests.unit.campaign.records import probed
from tests.unit.store.pasts import night

P, Q = "baseline/memfd-map/2M", "baseline/smaps/2M"


def past(number: int) -> PastRun:
    record = night(number, {P: "PASS"})
    return extract.run_of(record, record.run_dir)


GOOD, BAD, OTHER = past(1), past(2), past(3)


def regressed(name: str, **more: object) -> ResultState:
    state = ResultState(
        name=name, category="regression", status="FAIL", first_bad=BAD, last_good=GOOD
    )
    return msgspec.structs.replace(state, **more)


def state(*cells: tuple[PastRun, Sequence[ResultState]]) -> HistoryState:
    return HistoryState(
        cells=tuple(
            CellState(
                cell=extract.run_of(night(1), "/x").cell,  # type: ignore[arg-type]
                latest=run,
                before=GOOD,
                tests=tuple(tests),
                passing=0,
                skipped=0,
            )
            for run, tests in cells
        ),
        counts={},
        stale=0,
        exit_code=1,
    )


class Round:
    """Cells of one kernel on two machines, as they ended in `BAD` and `OTHER`."""

    def __init__(self, tmp_path: Path, kernel: str = "tree:/a", series: str = "dir:/s") -> None:
        path = tmp_path / "night.toml"
        path.write_text(
            f'kernels = ["{kernel}"]\nseries = ["{series}"]\n'
            "[machines.m]\n[machines.n]\n[probes.p]\n"
        )
        self.planned = matrix_file.cells(matrix_file.load(path), path)
        self.result = MatrixResult(
            round=2,
            finished=True,
            cells=tuple(
                MatrixCell(
                    names=str(cell.names),
                    build=cell.build,
                    verdict="FAIL",
                    reason="no",
                    exit_code=1,
                    run_dir=run.run_dir,
                )
                for cell, run in zip(self.planned, (BAD, OTHER), strict=True)
            ),
            directory=str(tmp_path),
        )
        self.runs = tmp_path
        self.context = Context(Workspace(tmp_path), Deadline.after(60, "test"), Silent())

    def new(self, *cells: tuple[PastRun, Sequence[ResultState]]) -> list[tuple[str, list[str]]]:
        found = bisect_new.new_failures(self.planned, self.result, state(*cells))
        return [(each.about, list(each.tests)) for each in found]

    def bisected(self, *tests: ResultState) -> MatrixResult:
        return bisect_new.bisect_new(
            self.planned, self.result, state((BAD, tests)), self.runs, self.context
        )


@pytest.fixture
def two(tmp_path: Path) -> Round:
    return Round(tmp_path)


def test_a_test_that_fails_on_two_machines_with_one_kernel_is_bisected_once(two: Round) -> None:
    found = two.new((BAD, [regressed(P)]), (OTHER, [regressed(P), regressed(Q)]))
    assert found == [("probe", [P]), ("probe", [Q])]


@pytest.mark.parametrize(
    "more",
    [
        {"flaky": True},
        {"status": "KNOWN"},
        {"last_good": None},
        {"category": "still failing"},
    ],
)
def test_what_is_not_a_regression_is_not_bisected(two: Round, more: dict[str, object]) -> None:
    assert two.new((BAD, [regressed(P, **more)])) == []


def test_what_the_round_did_not_run_is_not_bisected(two: Round) -> None:
    assert two.new((GOOD, [regressed(P)])) == []


def test_builds_boots_and_the_console_are_bisected_as_such(two: Round) -> None:
    tests = [regressed(name) for name in ("build", "boot", "console", P)]
    assert two.new((BAD, tests)) == [
        ("build", ["build"]),
        ("boot", ["boot"]),
        ("splat", ["console"]),
        ("probe", [P]),
    ]


# ---- the bisections ----------------------------------------------------------------------------


class Bisect:
    """Stands for `bisect_series`: each call finds the next patch, whose kernel fails some tests."""

    def __init__(self, runs: Path, *bad: Sequence[str]) -> None:
        self._runs, self._bad = runs, list(bad)
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, request: BisectRequest, runs: Path, context: Context) -> Bisection:
        self.asked.append(request.predicate.probes)
        directory = self._runs / f"evidence-{len(self.asked)}"
        directory.mkdir()
        names = self._bad.pop(0)
        record = probed(dict.fromkeys(names, "FAIL"))
        (directory / "result.json").write_bytes(to_json(record))
        culprit = Candidate(id=f"{len(self.asked):04}", name="a patch")
        shown = Evaluation(
            candidate=culprit,
            term="bad",
            reason="FAIL",
            runs=1,
            samples=1,
            bad=1,
            seconds=1.0,
            built=True,
            run_dir=str(directory),
        )
        return Bisection(
            predicate="bad",
            result="found",
            suspects=(culprit,),
            evaluations=(shown,),
            evidence="FAIL",
            commands=(("hgm", "run"),),
            directory="/runs/bisect-x",
        )


def test_tests_that_one_patch_breaks_share_a_bisection_and_others_get_their_own(
    two: Round, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Bisect(two.runs, [P, "baseline/fork/2M"], [Q])
    monkeypatch.setattr(bisect, "bisect_series", fake)
    result = two.bisected(regressed(P), regressed(Q))
    assert fake.asked == [(P, Q), (Q,)]
    assert [each.tests for each in result.bisections] == [(P,), (Q,)]
    assert msgspec.json.decode((two.runs / "matrix.json").read_bytes(), type=MatrixResult) == result
    text = "\n".join(rounds.lines(result))
    assert f"new in tree:/a | dir:/s | base | m | p: {P}\n    FOUND: 1 a patch\n" in text
    assert "    again    hgm run\n    /runs/bisect-x\n" in text


def stopped(*_: object) -> Bisection:
    raise CampaignStopped("step 0001: no disk")


def test_a_bisection_that_stops_is_said_and_the_round_stands(
    two: Round, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bisect, "bisect_series", stopped)
    (found,) = two.bisected(regressed(P)).bisections
    assert (found.found, found.tests) == (None, (P,))
    assert "no disk" in found.reason


def test_what_there_is_no_time_to_bisect_is_left(
    two: Round, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bisect, "bisect_series", stopped)
    assert [each.left for each in two.bisected(regressed(P)).bisections] == [False]
    two.context = Context(Workspace(two.runs), Deadline.after(0, "test"), Silent())
    assert [each.left for each in two.bisected(regressed(P)).bisections] == [True]


def test_what_is_not_a_probe_is_not_bisected(two: Round) -> None:
    (found,) = two.bisected(regressed("kselftest/mm/cow")).bisections
    assert found.reason == "only probes of the catalogue can be bisected"


def test_commits_since_the_last_good_run_are_bisected_without_a_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night_of = Round(tmp_path, f"git:{tmp_path}@main", "none")
    asked: list[object] = []

    def history(repository: Path, old: str, new: str, context: Context) -> commits.History:
        asked.extend((repository, old, new))
        raise CampaignStopped("enough")

    monkeypatch.setattr(commits, "history", history)
    night_of.bisected(regressed(P))
    assert asked == [tmp_path, GOOD.origin, BAD.origin]


def test_a_kernel_without_patches_or_commits_is_not_bisected(tmp_path: Path) -> None:
    (found,) = Round(tmp_path, "debian:linux-source-6.12", "none").bisected(regressed(P)).bisections
    assert "neither patches nor commits to bisect" in found.reason
    assert "from 1-1 to 2-1" in found.reason
