# SPDX-License-Identifier: GPL-2.0-only
"""Which runs are kept, and which are removed with their directories."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import pytest

from harness.records.history import PastResult, PastRun, Retention
from harness.records.probe import Status
from harness.store.history import extract
from harness.store.history.retention import expired, landmarks
from tests.unit.store.pasts import asking, night

#: A little less than a day after the night of number 9.
NOW = datetime.datetime(2026, 11, 11, 1, 0, tzinfo=datetime.UTC)


def run(number: int, series: str = "hgm-6.12", run_dir: str = "") -> PastRun:
    record = night(number, {"a/x/2M": "PASS"}, request=asking(series=series))
    return extract.run_of(record, run_dir or record.run_dir)


def numbers(runs: Sequence[PastRun]) -> list[int]:
    return [int(each.release.rpartition(".")[2]) for each in runs]


NIGHTS = [run(number) for number in range(9, -1, -1)]


@pytest.mark.parametrize(
    ("retention", "removed"),
    [
        (Retention(days=3), [6, 5, 4, 3, 2, 1, 0]),
        (Retention(runs=4), [5, 4, 3, 2, 1, 0]),
        (Retention(days=3, runs=4), [5, 4, 3, 2, 1, 0]),
        (Retention(days=8, runs=1), [1, 0]),
        (Retention(days=100), []),
        (Retention(days=0), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
    ],
)
def test_what_neither_age_nor_number_keeps(retention: Retention, removed: list[int]) -> None:
    assert numbers(expired(NIGHTS, retention, NOW)) == removed


def test_each_cell_keeps_its_own_number() -> None:
    runs = [run(3), run(3, "none"), run(2), run(2, "none"), run(1)]
    assert numbers(expired(runs, Retention(runs=2), NOW)) == [1]


def test_what_is_not_compared_is_removed_by_age_alone() -> None:
    step = run(1, run_dir="/runs/bisect-x-0123abcd/0001/20261102-x")
    replay = extract.run_of(night(2, request=None), "/runs/x")
    assert expired([replay, step], Retention(runs=1), NOW) == ()
    assert expired([replay, step], Retention(days=1, runs=9), NOW) == (replay, step)


def trail(statuses: str, key: str = "") -> list[PastResult]:
    """Return results, newest first, of nights given oldest first: ``.``, ``F`` or ``s``."""
    letters: dict[str, Status] = {".": "PASS", "F": "FAIL", "s": "SKIP"}
    found = []
    for number, letter in enumerate(statuses):
        record = night(number, {"a/x/2M": letters[letter]}, key=key)
        past = extract.run_of(record, record.run_dir)
        found += [r for r in extract.results_of(record, past) if r.name == "a/x/2M"]
    return found[::-1]


@pytest.mark.parametrize(
    ("statuses", "key", "kept"),
    [
        ("....", "", []),
        ("..FF", "", [1, 2]),
        (".sFF", "", [0, 2]),
        ("FF..", "", [0]),
        (".F.F.", "", [0, 1, 2, 3]),
        (".F.F.", "one kernel", []),
        (".F.FF", "one kernel", [2, 3]),
    ],
)
def test_the_runs_between_which_a_test_began_to_fail_are_kept(
    statuses: str, key: str, kept: list[int]
) -> None:
    assert landmarks([trail(statuses, key)]) == {run(number).id for number in kept}
