# SPDX-License-Identifier: GPL-2.0-only
"""A run against the same kernel with another series; a fake pipeline leaves the records."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from harness import pipeline
from harness.campaign import against
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import RecordError, SpecError
from harness.kernel.obtain import KernelRequest
from harness.progress import Silent
from harness.records.outcome import Outcome
from harness.records.run import REPORT, Profile, RunRecord
from harness.run.request import RunRequest
from harness.run.subject import Subject
from harness.vm import spec
from harness.workspace import Workspace
from tests.unit.campaign.records import NO_BUILD, ended, probed

REQUEST = RunRequest(
    subject=Subject(
        kernel=KernelRequest(
            source="tree:/src",
            series="lore:a@b",
            mail_from="/mail",
            resolve="/ported",
            first=3,
            fuzz=True,
            features=("debug",),
            arch="x86_64",
        ),
        machine=spec.machine(spec.parse_hugepages("2M:1", "x86_64"), arch_name="x86_64"),
        accel="tcg",
    ),
    expect=Profile(name="hgm", offers=("split",)),
    probes=("a/*",),
    repeat=2,
)


def test_the_base_differs_in_its_series_alone() -> None:
    base = against.base_of(REQUEST, "none")
    assert base.expect == REPORT
    assert base.subject.kernel == KernelRequest(
        source="tree:/src", series="none", fuzz=True, features=("debug",), arch="x86_64"
    )
    kernel = msgspec.structs.replace(base.subject, kernel=REQUEST.subject.kernel)
    assert msgspec.structs.replace(base, subject=kernel, expect=REQUEST.expect) == REQUEST


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Workspace(tmp_path / "cache"), Deadline.after(60, "a test"), Silent())


class Runs:
    """Stands in for the pipeline: gives the records of these runs, and keeps what was asked."""

    def __init__(self, directory: Path, *records: RunRecord) -> None:
        self.left = list(records)
        self.asked: list[RunRequest] = []
        self._directory = directory

    def run(self, request: RunRequest, runs: Path, context: Context) -> RunRecord:
        self.asked.append(request)
        return msgspec.structs.replace(self.left.pop(0), run_dir=str(self._directory))


@pytest.mark.parametrize(
    ("records", "code", "compared"),
    [
        ((probed(a_x="PASS"), probed(a_x="FAIL")), 1, True),
        ((probed(a_x="SKIP"), probed(a_x="PASS")), 0, True),
        ((probed(a_x="PASS"), NO_BUILD), 1, True),
        ((ended(Outcome.INFRASTRUCTURE),), 3, False),
        ((probed(a_x="PASS"), ended(Outcome.INFRASTRUCTURE)), 3, False),
        ((ended(Outcome.PATCH_REFUSED, 2),), 2, False),
    ],
)
def test_two_runs_are_compared_where_both_say_something(
    tmp_path: Path,
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
    records: tuple[RunRecord, ...],
    code: int,
    compared: bool,
) -> None:
    runs = Runs(tmp_path, *records)
    monkeypatch.setattr(pipeline, "check", lambda request, context: ())
    monkeypatch.setattr(pipeline, "run", runs.run)
    done = against.run_against(REQUEST, "none", tmp_path, context)
    assert (done.exit_code, done.comparison is not None) == (code, compared)
    assert runs.asked == [against.base_of(REQUEST, "none"), REQUEST][: len(records)]
    written = tmp_path / "compare.json"
    assert written.exists() is compared
    if compared:
        assert json.loads(written.read_text())["exit_code"] == code


def test_the_base_is_of_the_point_release_that_the_series_needs(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(tmp_path, probed(a_x="PASS"), probed(a_x="PASS"))
    monkeypatch.setattr(pipeline, "check", lambda request, context: ())
    monkeypatch.setattr(pipeline, "run", runs.run)
    monkeypatch.setattr(against, "source_used", lambda kernel, context: f"{kernel.series}=1")
    against.run_against(REQUEST, "none", tmp_path, context)
    sources = [each.subject.kernel.source for each in runs.asked]
    assert sources == ["lore:a@b=1", "tree:/src"]


def test_a_base_that_was_not_probed_is_refused(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "check", lambda request, context: ())
    monkeypatch.setattr(pipeline, "run", Runs(tmp_path, NO_BUILD, probed(a_x="PASS")).run)
    with pytest.raises(RecordError):
        against.run_against(REQUEST, "none", tmp_path, context)


def test_a_mistake_in_either_run_is_found_before_the_first(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(request: RunRequest, context: Context) -> tuple[()]:
        if request == REQUEST:
            raise SpecError("a mistake in the second")
        return ()

    monkeypatch.setattr(pipeline, "check", check)
    monkeypatch.setattr(pipeline, "run", Runs(tmp_path).run)
    with pytest.raises(SpecError, match="a mistake in the second"):
        against.run_against(REQUEST, "none", tmp_path, context)
