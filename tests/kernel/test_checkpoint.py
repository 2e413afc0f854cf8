# SPDX-License-Identifier: GPL-2.0-only
"""Page tables of a real kernel, seen from outside."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from harness.deadline import Deadline
from harness.vm.ssh import Ssh
from tests.kernel.conftest import OLDER, STOCK, Run

Hgm = Callable[..., Run]

ALIAS = "baseline/memfd-alias"
ONE_ENTRY = {
    "present": 1,
    "writable": 1,
    "user": 1,
    "accessed": 1,
    "dirty": 1,
    "no_execute": 1,
    "uffd_wp": 0,
    "markers": 0,
    "swap": 0,
    "contiguous": 0,
}


def looks(record: dict[str, Any]) -> dict[str, list[Any]]:
    return {probe["name"]: probe["checkpoints"] for probe in record["probes"]}


@pytest.mark.parametrize(
    ("source", "machine"),
    [
        (STOCK, ()),
        (OLDER, ()),
        (STOCK, ("--nodes", "2", "--cpus", "4")),
        (STOCK, ("--cpus", "1")),
    ],
)
def test_a_huge_page_is_one_entry_in_all_views(
    hgm: Hgm, source: str, machine: tuple[str, ...]
) -> None:
    run = hgm("run", "--kernel", source, "--probe", ALIAS, *machine, "--json")
    assert run.code == 0, run.err
    found = looks(run.record)
    for size, level in (("1G", "pud"), ("2M", "pmd")):
        (look,) = found[f"{ALIAS}/{size}"]
        assert look["problems"] == []
        assert look["levels"] == [{"level": level, **ONE_ENTRY}]
    again = hgm("judge", run.record["run_dir"], "--json")
    assert json.loads(again.out)["probes"] == run.record["probes"]


@pytest.mark.hgm_probes(ALIAS)
def test_a_probe_by_hand_goes_on_without_a_host(hgm_ssh: Ssh, hgm_deadline: Deadline) -> None:
    answer = hgm_ssh.run(["/probes/memfd_alias", "--size", "2M"], hgm_deadline)
    assert answer.exit_code == 0
    assert "# no checkpoint without --checkpoints host\n" in answer.stdout
    assert "# checkpoint" not in answer.stdout


@pytest.mark.hgm_probes(ALIAS)
def test_a_checkpoint_without_an_answer_fails_the_test(
    hgm_ssh: Ssh, hgm_deadline: Deadline
) -> None:
    argv = ["/probes/memfd_alias", "--size", "2M", "--checkpoints", "host"]
    answer = hgm_ssh.run(argv, hgm_deadline)
    assert answer.exit_code == 1
    assert "the host did not read the page tables within 10 s" in answer.stdout
