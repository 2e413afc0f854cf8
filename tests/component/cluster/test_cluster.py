# SPDX-License-Identifier: GPL-2.0-only
"""Matrices on a cluster, of which a process is lost: each cell gets one verdict, and a right one.

Scheduler, workers and client are real; the runs sleep (`fake_cell`).
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import pipeline
from harness.campaign import bisect, series_try
from harness.campaign.bisect import BisectRequest
from harness.campaign.predicate import Predicate
from harness.cli.main import hgm
from harness.cluster import certificates
from harness.cluster.inputs import ROOM
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import InfrastructureError
from harness.kernel import faults
from harness.kernel.obtain import KernelRequest, ResolvedRequest
from harness.records.kernel import PatchIdentity, SourceIdentity
from harness.run.subject import Subject
from harness.selfcheck import detect
from harness.store.history import background, history
from tests.component.cluster import fakes, losses
from tests.component.cluster.conftest import ROOT, START_SECONDS, Hosts
from tests.component.cluster.losses import assert_one_verdict_each, ran_on, records
from tests.unit.test_docs import blocks_of, lines_of

_PATCHES = 5


def test_cells_run_on_all_workers_and_what_they_are_made_of_comes_once_to_a_host(
    hosts: Hosts, tmp_path: Path
) -> None:
    _, address = hosts.scheduler("s")
    for name in ("one", "two"):
        hosts.worker(name, address)
    with hosts.client(address) as context:
        result = fakes.night(context, tmp_path, fakes.planned(10, 0.3))
    assert_one_verdict_each(result, tmp_path, 10)
    assert set(ran_on(tmp_path)) == {"its guests ran on one", "its guests ran on two"}
    for name in ("one", "two"):
        assert len(list((tmp_path / f"cache-{name}" / ROOM).iterdir())) == 3
    assert len(list((tmp_path / "cache-s" / ROOM).iterdir())) == 3


def _try(subject: Subject, runs: Path, context: Context) -> None:
    found = series_try.try_series(subject, (fakes.PROBE,), runs, context)
    statuses = [step.statuses[fakes.PROBE] for step in found.steps]
    assert statuses == ["PASS"] * fakes.CULPRIT + ["FAIL"] * (_PATCHES + 1 - fakes.CULPRIT)


def _bisect(subject: Subject, runs: Path, context: Context) -> None:
    request = BisectRequest(subject=subject, predicate=Predicate(probes=(fakes.PROBE,)))
    found = bisect.bisect_series(request, runs, context)
    assert [suspect.name for suspect in found.suspects] == [f"{fakes.CULPRIT:04}.patch"]


def _detect(subject: Subject, runs: Path, context: Context) -> None:
    fault = faults.find("wrong-subpage-in-continue")
    found = detect.detect(subject, (fault,), (), 2, runs, context)
    assert [(row.result, row.statuses) for row in found.rows] == [
        ("missed", {fakes.PROBE: "PASS"})  # the fake kernel is without the fault
    ]
    assert sum(found.unfaulted.values()) == 2


@pytest.mark.parametrize("command", [_try, _bisect, _detect])
def test_each_campaign_runs_on_the_workers_and_its_runs_are_in_the_history(
    command: Callable[[Subject, Path, Context], None],
    hosts: Hosts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "begin", fakes.begin)
    monkeypatch.setattr(pipeline, "check", lambda request, context: ())
    parts = ResolvedRequest(
        source=SourceIdentity(spec="tree:/", kind="tree", origin=""),
        version="6.12.0",
        patches=tuple(
            PatchIdentity(name=f"{number:04}.patch", digest="") for number in range(1, _PATCHES + 1)
        ),
    )
    for module in (series_try, bisect):
        monkeypatch.setattr(module, "resolve_request", lambda *_: parts)
    monkeypatch.setattr(bisect, "patch_stat", lambda *_: "")
    monkeypatch.setattr(bisect, "patch_texts", lambda *_: ())
    _, address = hosts.scheduler("s")
    hosts.worker("one", address)
    kernel = KernelRequest(source="tree:/0.1", series="dir:/p", arch="x86_64")
    with hosts.client(address) as context:
        command(Subject(kernel=kernel, machine=fakes.MACHINE), tmp_path / "runs", context)
    background.wait()
    made = records(tmp_path)
    assert ran_on(tmp_path) == {"its guests ran on one": len(made)} != {"its guests ran on one": 0}
    with history.opened(str(tmp_path / "history.db"), tmp_path / "runs") as store:
        assert {run.run_dir for run in store.runs()} == {record.run_dir for record in made}


def test_what_a_lost_worker_had_runs_elsewhere(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses.lose_a_worker(hosts, tmp_path, monkeypatch)


def test_the_scheduler_is_lost_and_the_round_goes_on_with_another(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses.lose_the_scheduler(hosts, tmp_path, monkeypatch)


def test_the_client_is_killed_and_its_runs_end_on_the_workers(hosts: Hosts, tmp_path: Path) -> None:
    losses.lose_the_client(hosts, tmp_path)


def test_a_host_that_fails_twice_with_what_another_does_gets_no_more_runs(
    hosts: Hosts, tmp_path: Path
) -> None:
    _, address = hosts.scheduler("s")
    hosts.worker("broken", address, FAKE_CELL="broken")
    with hosts.client(address) as context:
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


def test_of_the_runs_that_wait_the_longest_begins_first(hosts: Hosts, tmp_path: Path) -> None:
    _, address = hosts.scheduler("s")
    hosts.worker("one", address, "--cores", "1")
    limit, order = Deadline.after(120, "the test"), []
    with hosts.client(address) as context:
        assert context.cluster is not None
        away = {}
        for cell, expected in zip(fakes.planned(4, 1.5), (0, 1, 300, 20), strict=True):
            begun = fakes.begin(cell.request, tmp_path / "runs" / cell.step, context)
            assert begun.guests is not None
            away[begun.recording.run_dir] = begun, expected
            context.cluster.submit(begun.recording.run_dir, begun.guests, 60, expected)
        while away:
            for path, result in context.cluster.ended(away.keys(), limit).items():
                begun, expected = away.pop(path)
                begun.end(result)
                order.append(expected)
    assert [each for each in order if each] == [300, 20, 1]


def test_a_run_that_no_worker_can_hold_is_not_run(hosts: Hosts, tmp_path: Path) -> None:
    _, address = hosts.scheduler("s")
    hosts.worker("small", address, "--memory", "1M")
    with hosts.client(address) as context:
        result = fakes.night(context, tmp_path, fakes.planned(1, 0.1))
    assert (result.cells[0].verdict, result.exit_code) == ("NOT RUN", 3)
    assert "no worker" in result.cells[0].reason
    assert "memory" in result.cells[0].reason


def test_a_second_worker_of_a_host_offers_what_the_first_does_not(
    hosts: Hosts, tmp_path: Path
) -> None:
    _, address = hosts.scheduler("s")
    cpus = len(os.sched_getaffinity(0))
    hosts.worker("one", address, "--cores", str(cpus), "--memory", "1M")
    same = {"HGM_CACHE": str(hosts.cache("one"))}
    refused = hosts.start("two", "-m", fakes.__name__, "worker", address, **same)
    assert refused.wait(Deadline.after(START_SECONDS, "the worker's end")) == 2
    (line,) = (tmp_path / "two.log").read_text().splitlines()
    assert line.startswith("hgm: a worker that runs on this host offers all of its CPUs; ")
    hosts.worker("three", address, "--cores", "1", **same)
    assert "1 cores" in hosts.told("three", "worker ")
    with hosts.client(address) as context:
        result = fakes.night(context, tmp_path, fakes.planned(2, 0.1))
    assert_one_verdict_each(result, tmp_path, 2)


@pytest.fixture
def certified(hosts: Hosts, tmp_path: Path) -> Iterator[str]:
    """Yield the address of a scheduler with TLS that has a worker; no other may join it.

    ``ours`` has its certificates; ``others`` those of another authority. ``stranger`` trusts ours,
    but what it shows is of the other one.
    """
    ours, others, stranger = (tmp_path / name for name in ("ours", "others", "stranger"))
    for directory in (ours, others):
        assert hgm.main(["cluster", "init", str(directory)], standalone_mode=False) == 0
    shutil.copytree(others, stranger)
    shutil.copy(ours / "ca.pem", stranger)
    hosts.tls = ours
    _, address = hosts.scheduler("s")
    assert address.startswith("tls://")
    hosts.worker("one", address)
    yield address
    with hosts.client(address) as context:
        assert context.cluster is not None
        assert [name for name, _ in context.cluster.workers()] == ["one"]  # type: ignore[attr-defined]
        result = fakes.night(context, tmp_path, fakes.planned(3, 0.1))
    assert_one_verdict_each(result, tmp_path, 3)


def test_a_cluster_with_certificates_takes_no_client_without(
    certified: str, tmp_path: Path
) -> None:
    plain = certified.removeprefix("tls://")
    for address, tls in ((certified, "others"), (certified, "stranger"), (plain, None)):
        refused = fakes.on(address, tmp_path, tmp_path / tls if tls else None)
        with pytest.raises(InfrastructureError, match="no scheduler answers"):
            refused.__enter__()


def test_a_cluster_with_certificates_takes_no_worker_without(
    hosts: Hosts, certified: str, tmp_path: Path
) -> None:
    plain = certified.removeprefix("tls://")
    started = {}
    for address, tls in ((certified, "others"), (certified, "stranger"), (plain, "")):
        words = ("worker", address, *(("--tls", str(tmp_path / tls)) if tls else ()))
        process = hosts.start(f"two-{tls}", "-m", fakes.__name__, *words, FAKE_PATIENCE="5")
        started[f"two-{tls}"] = process
    for name, process in started.items():
        assert process.wait(Deadline.after(START_SECONDS, "the worker's end")) == 3
        (line,) = (tmp_path / f"{name}.log").read_text().splitlines()
        assert line.startswith("hgm: no scheduler answers at ")
        assert plain in line
        assert hosts.left(name) == []


def test_who_shows_no_certificate_is_refused_before_it_says_what_it_is(
    certified: str, tmp_path: Path
) -> None:
    host, port = certified.removeprefix("tls://").split(":")
    trusting = ssl.create_default_context(cafile=tmp_path / "ours/ca.pem")
    trusting.check_hostname = False
    with (
        socket.create_connection((host, int(port)), timeout=START_SECONDS) as raw,
        trusting.wrap_socket(raw) as shown,
        pytest.raises(ssl.SSLError, match="certificate required"),
    ):
        shown.recv(1)


def test_a_worker_that_dask_starts_runs_cells(hosts: Hosts, tmp_path: Path) -> None:
    page, hosts.tls = ROOT / "docs/howto/cluster.md", tmp_path / "tls"
    certificates.make(hosts.tls)
    _, address = hosts.scheduler("s")
    lines = (line for block in blocks_of(page) for line in lines_of(*block))
    (shown,) = (line for line in lines if line.startswith("dask worker "))
    here = {"tls://192.0.2.1:8786": address}
    here |= {name: str(hosts.tls / name) for name in ("ca.pem", "worker.pem", "worker-key.pem")}
    words = [here.pop(word, word) for word in shlex.split(shown)]
    assert not here, "the page names them"
    hosts.start("one", "-m", *words, "--name", "plain", "--preload", fakes.__name__)
    with hosts.client(address) as context:
        result = fakes.night(context, tmp_path, fakes.planned(3, 0.1))
    assert_one_verdict_each(result, tmp_path, 3)
    assert ran_on(tmp_path) == {"its guests ran on plain": 3}
