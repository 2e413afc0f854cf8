# SPDX-License-Identifier: GPL-2.0-only
"""Matrices on two workers with caches of their own, each in a network namespace, with TLS.

Needs root, for the namespaces. The guests of the first test are real, and the kernel is the stock
one that other tests use. In the tests that kill a process the guests are fake, and nothing is
built: a program sleeps in place of QEMU (`tests.component.cluster.fake_cell`). Scheduler, workers,
client, their connections, the matrix and the run directories are real there too.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import command
from harness.cluster import certificates
from tests.component.cluster import losses
from tests.component.cluster.conftest import Hosts, hosts, wait_for
from tests.kernel.conftest import STOCK, Run, hgm

__all__ = ["hgm", "hosts"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root makes network namespaces")

Hgm = Callable[..., Run]

#: The bridge between the namespaces, and the scheduler on it; documentation addresses (RFC 5737).
_BRIDGE, _SCHEDULER = "hgmtest0", "198.51.100.1"

_MATRIX = f"""
kernels = ["{STOCK}"]
[machines.small]
hugepages = "2M:64"
memory = "1G"
[machines.large]
hugepages = "2M:128"
memory = "1G"
[probes.alias]
probes = ["baseline/memfd-alias/2M"]
[probes.fork]
probes = ["baseline/fork-private/2M"]
"""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _up(log: Path) -> Callable[[], str]:
    """Return what says whether the worker of a log is connected."""
    return lambda: "up" if "at tls:" in log.read_text() else ""


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """Make two network namespaces with a bridge to this one."""
    names = ("hgmtest1", "hgmtest2")
    with contextlib.ExitStack() as stack:
        _ip("link", "add", _BRIDGE, "type", "bridge")
        stack.callback(_ip, "link", "delete", _BRIDGE)
        _ip("address", "add", f"{_SCHEDULER}/24", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")
        for number, name in enumerate(names, 2):
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "delete", name)
            _ip("link", "add", f"{name}-h", "type", "veth", "peer", "name", "eth0", "netns", name)
            stack.callback(_ip, "link", "delete", f"{name}-h")  # the namespace goes later
            _ip("link", "set", f"{name}-h", "master", _BRIDGE, "up")
            inside = ("-n", name)
            _ip(*inside, "address", "add", f"198.51.100.{number}/24", "dev", "eth0")
            _ip(*inside, "link", "set", "eth0", "up")
            _ip(*inside, "link", "set", "lo", "up")
        yield names


def test_cells_are_probed_on_hosts_that_build_nothing(
    hgm: Hgm, namespaces: tuple[str, str], tmp_path: Path
) -> None:
    night, tls = tmp_path / "night.toml", tmp_path / "tls"
    night.write_text(_MATRIX)
    assert hgm("cluster", "init", str(tls)).code == 0
    assert hgm("matrix", "--cluster", _SCHEDULER, str(night)).code == 2  # without TLS
    program = (sys.executable, "-m", "harness.cli", "cluster")
    with contextlib.ExitStack() as stack:

        def start(name: str, *argv: str) -> Path:
            log = tmp_path / f"{name}.log"
            output = stack.enter_context(log.open("wb"))
            cache = {"HGM_CACHE": str(tmp_path / f"cache-{name}")}
            started = command.start(argv, env=cache, stdout=output, stderr=output)
            stack.enter_context(started)
            return log

        listen = ("--listen", _SCHEDULER, "--tls", str(tls))
        log = start("scheduler", *program, "scheduler", *listen)
        wait_for(log.read_text, "the scheduler")
        for name in namespaces:
            inside = ("ip", "netns", "exec", name)
            options = ("--tls", str(tls), "--name", name, "--cores", "2")
            log = start(name, *inside, *program, "worker", _SCHEDULER, *options)
            wait_for(_up(log), name, 300)
        words = ("matrix", "--cluster", _SCHEDULER, "--tls", str(tls))
        done = hgm(*words, "--runs-dir", str(tmp_path / "runs"), "--json", str(night))
    assert done.code == 0, done.err
    cells = done.record["cells"]
    assert [cell["verdict"] for cell in cells] == ["PASS"] * 4
    records = [json.loads((Path(cell["run_dir"]) / "result.json").read_text()) for cell in cells]
    hosts = {note for record in records for note in record["notes"] if "guests ran on" in note}
    assert hosts == {f"its guests ran on {name}" for name in namespaces}
    for name in namespaces:
        cache = tmp_path / f"cache-{name}"
        assert list((cache / "inputs").iterdir())
        assert not (cache / "kernels").exists() or not list((cache / "kernels").iterdir())
        assert not (cache / "sources.git").exists()


@pytest.fixture
def apart(namespaces: tuple[str, str], hosts: Hosts, tmp_path: Path) -> Hosts:
    """Return hosts whose workers are in namespaces, and whose scheduler has certificates."""
    one, two = namespaces
    hosts.listen, hosts.tls = _SCHEDULER, tmp_path / "tls"
    hosts.namespaces = {"lost": one, "kept": two, "one": one, "two": two, "client": two}
    certificates.make(hosts.tls)
    return hosts


def _worked_apart(tmp_path: Path) -> None:
    """Check that workers had addresses in their namespaces."""
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert re.search(r"worker \w+ at tls://198\.51\.100\.[23]:", logs)


def test_a_worker_in_a_namespace_is_killed(
    apart: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses.lose_a_worker(apart, tmp_path, monkeypatch)
    _worked_apart(tmp_path)


def test_the_scheduler_between_namespaces_is_killed(
    apart: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses.lose_the_scheduler(apart, tmp_path, monkeypatch)
    _worked_apart(tmp_path)


def test_a_client_in_a_namespace_is_killed(apart: Hosts, tmp_path: Path) -> None:
    losses.lose_the_client(apart, tmp_path)
    _worked_apart(tmp_path)
