# SPDX-License-Identifier: GPL-2.0-only
"""What a client tells the process of a run on another host."""

from pathlib import Path

import pytest

import harness
from harness import pipeline
from harness.cluster import cell
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import InfrastructureError
from harness.kernel.obtain import KernelRequest
from harness.progress import Silent
from harness.records.base import to_json
from harness.records.cluster import ClusterTask
from harness.records.probe import ProbeSpec
from harness.records.run import RunRecord
from harness.run import prepare
from harness.run.prepare import Prepared
from harness.run.request import RunRequest
from harness.run.subject import Subject
from harness.store.history.history import opened
from harness.store.rundir import RunStore
from harness.workspace import Workspace
from tests.component.cluster.fakes import MACHINE, _made_of
from tests.unit.store.pasts import night

SPEC = ProbeSpec(name="a/x/2M", shows="", source="c/x.c", language="c")


def test_the_worker_learns_how_long_the_probes_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    with opened("", runs, make=True) as history:
        history.add(night(1, {SPEC.name: "PASS"}), runs / "1")
    context = Context(Workspace(tmp_path / "cache"), Deadline.after(60, "the test"), Silent())
    made_of = _made_of(context, "0")
    prepared = Prepared(made_of.kernel, made_of.image, MACHINE, made_of.accel, {}, context, (SPEC,))
    monkeypatch.setattr(pipeline, "check", lambda *_: (SPEC,))
    monkeypatch.setattr(prepare, "prepare", lambda *_, **__: prepared)
    subject = Subject(kernel=KernelRequest(source="tree:/", arch="x86_64"), machine=MACHINE)
    begun = pipeline.begin(RunRequest(subject=subject, guests=2), runs, context)
    assert begun.guests is not None
    task = ClusterTask(harness=harness.__version__, guests=begun.guests, inputs={}, seconds=60.0)
    begun.end(InfrastructureError("the test needs no more"))

    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    (home / "task.json").write_bytes(to_json(task))
    RunStore(home / "run", RunRecord())
    told: list[Prepared] = []
    monkeypatch.setattr(prepare, "choose_accel", lambda *_: made_of.accel)
    monkeypatch.setattr(pipeline, "probe", lambda *arguments: told.append(arguments[0]))
    cell.finish(home, context)
    assert [(each.guests, each.seconds) for each in told] == [(2, {SPEC.name: 1.5})]
