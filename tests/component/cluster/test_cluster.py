# SPDX-License-Identifier: GPL-2.0-only
"""Matrices on a cluster, of which a process is lost: each cell gets one verdict, and a right one.

Scheduler, workers and client are real; the runs sleep (`fake_cell`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import pipeline
from harness.campaign import state
from harness.cli.main import hgm
from harness.cluster.inputs import ROOM
from harness.deadline import Deadline
from harness.errors import InfrastructureError
from harness.records.campaign import MatrixResult
from harness.records.outcome import Outcome
from harness.records.run import RunRecord
from harness.store import rundir
from tests.component.cluster import fakes
from tests.component.cluster.conftest import START_SECONDS, Hosts


@pytest.fixture(autouse=True)
def _pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the real pipeline back after the test."""
    for name in ("begin", "check"):
        monkeypatch.setattr(pipeline, name, getattr(pipeline, name))


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


def test_cells_run_on_all_workers_and_what_they_are_made_of_comes_once_to_a_host(
    hosts: Hosts, tmp_path: Path
) -> None:
    _, address = hosts.scheduler("s", "--listen", "127.0.0.1:0")
    for name in ("one", "two"):
        hosts.worker(name, address)
    with fakes.on(address, tmp_path) as context:
        result = fakes.night(context, tmp_path, fakes.planned(10, 0.3))
    assert_one_verdict_each(result, tmp_path, 10)
    assert set(ran_on(tmp_path)) == {"its guests ran on one", "its guests ran on two"}
    for name in ("one", "two"):
        assert len(list((tmp_path / f"cache-{name}" / ROOM).iterdir())) == 3
    assert len(list((tmp_path / "cache-s" / ROOM).iterdir())) == 3


def test_what_a_lost_worker_had_runs_elsewhere(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, address = hosts.scheduler("s", "--listen", "127.0.0.1:0")
    lost = hosts.worker("lost", address)
    kept = hosts.worker("kept", address)
    with fakes.on(address, tmp_path) as context:
        after(2, lambda: hosts.kill_amid("lost", lost), monkeypatch)
        result = fakes.night(context, tmp_path, fakes.planned(12, 0.5))
    assert_one_verdict_each(result, tmp_path, 12)
    assert ran_on(tmp_path)["its guests ran on kept"] >= 8
    assert hosts.left("kept", kept) == []
    assert hosts.left("lost", files=False) == []
    assert list(hosts.cache("lost").glob("tmp/guest.*/initrd"))  # it was killed with a guest
    assert hosts.left("lost", hosts.worker("lost", address)) == []


def test_the_scheduler_is_lost_and_the_round_goes_on_with_another(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, address = hosts.scheduler("s", "--listen", "127.0.0.1:0")
    worker = hosts.worker("one", address)
    with fakes.on(address, tmp_path) as context:
        after(3, lambda: hosts.kill_amid("one", scheduler), monkeypatch)
        with pytest.raises(InfrastructureError, match="is gone") as caught:
            fakes.night(context, tmp_path, fakes.planned(10, 0.4))
    assert (caught.value.exit_code, "\n" in caught.value.line()) == (3, False)
    assert worker.wait(Deadline.after(START_SECONDS, "the worker's end")) == 0
    assert hosts.left("one") == []
    before = [record for record in records(tmp_path) if state.counts(record)]
    assert 3 <= len(before) < 10
    assert all(each.outcome is not Outcome.CUT for each in records(tmp_path))
    _, address = hosts.scheduler("t", "--listen", "127.0.0.1:0")
    hosts.worker("two", address)
    with fakes.on(address, tmp_path) as context:
        result = fakes.night(context, tmp_path, fakes.planned(10, 0.4))
    assert_one_verdict_each(result, tmp_path, 10)
    assert (result.round, ran_on(tmp_path)["its guests ran on one"]) == (1, len(before))


def test_the_client_is_killed_and_its_runs_end_on_the_workers(hosts: Hosts, tmp_path: Path) -> None:
    _, address = hosts.scheduler("s", "--listen", "127.0.0.1:0")
    worker = hosts.worker("one", address)
    words = ("-m", "tests.component.cluster.fakes", "client", address, str(tmp_path), "2", "600")
    killed = hosts.start("client", *words)
    hosts.guest("one")
    killed.kill()
    assert hosts.left("one", worker) == []
    assert not [record for record in records(tmp_path) if state.counts(record)]
    with fakes.on(address, tmp_path) as context:
        result = fakes.night(context, tmp_path, fakes.planned(2, 0.1))
    assert_one_verdict_each(result, tmp_path, 2)


def test_a_host_that_fails_twice_with_what_another_does_gets_no_more_runs(
    hosts: Hosts, tmp_path: Path
) -> None:
    _, address = hosts.scheduler("s", "--listen", "127.0.0.1:0")
    hosts.worker("broken", address, FAKE_CELL="broken")
    with fakes.on(address, tmp_path) as context:
        one = fakes.night(context, tmp_path, fakes.planned(1, 0.1))
        assert [cell.verdict for cell in one.cells] == ["NOT RUN"]
        assert "its disk is full" in one.cells[0].reason
        hosts.worker("good", address)
        result = fakes.night(context, tmp_path, fakes.planned(8, 0.2))
        assert {name for name, _ in context.cluster.workers()} == {"good"}  # type: ignore[union-attr]
    assert [cell.verdict for cell in result.cells] == ["PASS"] * 8
    assert ran_on(tmp_path) == {"its guests ran on good": 8, "its guests ran on broken": 1}
    notes = [note for record in records(tmp_path) for note in record.notes]
    assert notes.count("broken failed with it: its disk is full") >= 2


def test_a_run_that_no_worker_can_hold_is_not_run(hosts: Hosts, tmp_path: Path) -> None:
    _, address = hosts.scheduler("s", "--listen", "127.0.0.1:0")
    hosts.worker("small", address, "--memory", "1M")
    with fakes.on(address, tmp_path) as context:
        result = fakes.night(context, tmp_path, fakes.planned(1, 0.1))
    assert (result.cells[0].verdict, result.exit_code) == ("NOT RUN", 3)
    assert "no worker" in result.cells[0].reason
    assert "memory" in result.cells[0].reason


def test_a_cluster_with_certificates_takes_no_client_without(hosts: Hosts, tmp_path: Path) -> None:
    ours, others = tmp_path / "ours", tmp_path / "others"
    for directory in (ours, others):
        assert hgm.main(["cluster", "init", str(directory)], standalone_mode=False) == 0
    tls = ("--tls", str(ours))
    _, address = hosts.scheduler("s", "--listen", "127.0.0.1:0", *tls)
    assert address.startswith("tls://")
    hosts.worker("one", address, *tls)
    for where, tls_of in ((address, others), (address.removeprefix("tls://"), None)):
        refused = fakes.on(where, tmp_path, tls_of)
        with pytest.raises(InfrastructureError, match="no scheduler answers"):
            refused.__enter__()
    with fakes.on(address, tmp_path, ours) as context:
        result = fakes.night(context, tmp_path, fakes.planned(3, 0.1))
    assert_one_verdict_each(result, tmp_path, 3)
