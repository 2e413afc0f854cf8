# SPDX-License-Identifier: GPL-2.0-only
"""Matrices during which a process of the cluster is killed: what must come of their cells.

Each function is a test of the cluster that `Hosts` makes, on loopback or between network
namespaces. All but the guests is real.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import pipeline
from harness.campaign import state
from harness.deadline import Deadline
from harness.errors import InfrastructureError
from harness.records.campaign import MatrixResult
from harness.records.outcome import Outcome
from harness.records.run import RunRecord
from harness.store import rundir
from tests.component.cluster import fakes
from tests.component.cluster.conftest import START_SECONDS, Hosts


def records(directory: Path) -> list[RunRecord]:
    found = (directory / "runs").rglob("result.json")
    return [rundir.load(path.parent) for path in found if not path.parent.is_symlink()]


def ran_on(directory: Path) -> Counter[str]:
    notes = (note for record in records(directory) for note in record.notes)
    return Counter(note for note in notes if note.startswith("its guests ran on"))


def after(runs: int, strike: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Strike once so many runs have ended."""
    end, ended = pipeline.BegunRun.end, []

    def counting(begun: pipeline.BegunRun, result: RunRecord | BaseException) -> RunRecord:
        ended.append(result)
        if len(ended) == runs:
            strike()
        return end(begun, result)

    monkeypatch.setattr(pipeline.BegunRun, "end", counting)


def assert_one_verdict_each(result: MatrixResult, directory: Path, cells: int) -> None:
    assert [cell.verdict for cell in result.cells] == ["PASS"] * cells
    counted = [record for record in records(directory) if state.counts(record)]
    assert len(counted) == cells
    assert {Path(record.run_dir).parent.name for record in counted} == {
        each.step for each in fakes.planned(cells, 0)
    }
    assert all((Path(record.run_dir) / "serial.log").exists() for record in counted)


def lose_a_worker(hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, address = hosts.scheduler("s")
    lost = hosts.worker("lost", address)
    kept = hosts.worker("kept", address)
    with hosts.client(address) as context:
        after(2, lambda: hosts.kill_amid("lost", lost), monkeypatch)
        result = fakes.night(context, tmp_path, fakes.planned(12, 0.5))
    assert_one_verdict_each(result, tmp_path, 12)
    assert ran_on(tmp_path)["its guests ran on kept"] >= 8
    assert hosts.left("kept", kept) == []
    assert hosts.left("lost", files=False) == []
    assert list(hosts.cache("lost").glob("tmp/guest.*/initrd"))  # it was killed with a guest
    assert hosts.left("lost", hosts.worker("lost", address)) == []


def lose_the_scheduler(hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, address = hosts.scheduler("s")
    worker = hosts.worker("one", address)
    with hosts.client(address) as context:
        after(3, lambda: hosts.kill_amid("one", scheduler), monkeypatch)
        with pytest.raises(InfrastructureError, match="is gone") as caught:
            fakes.night(context, tmp_path, fakes.planned(10, 0.4))
    assert (caught.value.exit_code, "\n" in caught.value.line()) == (3, False)
    assert re.search(r"is gone, and [1-9]\d* runs? with it; .* continues", caught.value.line())
    assert worker.wait(Deadline.after(START_SECONDS, "the worker's end")) == 0
    assert hosts.left("one") == []
    assert list(hosts.cache("s").glob("tmp/scheduler.*"))  # it had no time to remove it
    before = [record for record in records(tmp_path) if state.counts(record)]
    assert 3 <= len(before) < 10
    assert all(each.outcome is not Outcome.CUT for each in records(tmp_path))
    scheduler, address = hosts.scheduler("s")
    assert hosts.left("s", scheduler) == []
    hosts.worker("two", address)
    with hosts.client(address) as context:
        result = fakes.night(context, tmp_path, fakes.planned(10, 0.4))
    assert_one_verdict_each(result, tmp_path, 10)
    assert (result.round, ran_on(tmp_path)["its guests ran on one"]) == (1, len(before))


def lose_the_client(hosts: Hosts, tmp_path: Path) -> None:
    _, address = hosts.scheduler("s")
    worker = hosts.worker("one", address)
    words = ("client", address, str(tmp_path), str(hosts.tls or ""), "2", "600")
    killed = hosts.start("client", "-m", fakes.__name__, *words)
    hosts.guest("one")
    killed.kill()
    assert hosts.left("one", worker) == []
    assert not [record for record in records(tmp_path) if state.counts(record)]
    with hosts.client(address) as context:
        result = fakes.night(context, tmp_path, fakes.planned(2, 0.1))
    assert_one_verdict_each(result, tmp_path, 2)
