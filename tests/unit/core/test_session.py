# SPDX-License-Identifier: GPL-2.0-only
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.errors import (
    CommandFailed,
    GuestPanicked,
    HarnessError,
    InfrastructureError,
    SpecError,
    UserError,
)
from harness.probes import catalog
from harness.records.machine import HugePages
from harness.records.probe import Leak, ProbeResult, ProbeSpec, Splat
from harness.records.run import HgmSupport, RunRecord
from harness.run import features, guests
from harness.store.rundir import RunStore
from harness.vm import spec
from harness.vm.guest import GuestMoment
from harness.vm.hoststat import Sample, ThreadTime

ONE_NODE = spec.machine(spec.parse_hugepages("1G:1,2M:4", "x86_64"), arch_name="x86_64")


def probe(**fields: object) -> ProbeSpec:
    known = {"name": "g/p/1G", "shows": "", "source": "c/p.c", "language": "c"}
    return ProbeSpec(**{**known, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answers", "support"),
    [
        (
            "madv_split.1G=EINVAL\nmadv_split.2M=EINVAL\n",
            HgmSupport(present=False, evidence="MADV_SPLIT: EINVAL"),
        ),
        (
            "uffd.features=0x1fff\nmadv_split.1G=ok\nmadv_split.2M=ok\n",
            HgmSupport(present=True, evidence="MADV_SPLIT: accepted on 1G, 2M"),
        ),
        (
            "madv_split.1G=ok\nmadv_split.2M=EINVAL\n",
            HgmSupport(present=True, evidence="MADV_SPLIT: accepted on 1G"),
        ),
        (
            "madv_split.1G=ENOMEM\nmadv_split.2M=EINVAL\n",
            HgmSupport(present=False, evidence="MADV_SPLIT: EINVAL, ENOMEM"),
        ),
        ("", HgmSupport()),
        ("nonsense", HgmSupport()),
    ],
)
def test_whether_a_kernel_has_hgm_is_its_own_word(answers: str, support: HgmSupport) -> None:
    assert features.hgm_support(answers) == support


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        ({}, ""),
        ({"pages": (HugePages(size=2**30, count=1),)}, ""),
        ({"pages": (HugePages(size=2**30, count=2),)}, "needs 2 huge pages of 1G"),
        ({"pages": (HugePages(size=2**16, count=1),)}, "needs 1 huge pages of 64K"),
        ({"nodes": 2}, "needs 2 NUMA nodes and the machine has 1"),
    ],
)
def test_a_probe_that_a_machine_cannot_run_says_what_it_needs(
    needs: dict[str, object], reason: str
) -> None:
    said = guests.unmet_need(probe(**needs), ONE_NODE)
    assert said.startswith(reason)
    assert bool(said) == bool(reason)


@pytest.mark.parametrize(
    ("error", "code"),
    [(SpecError("x"), 2), (UserError("x"), 2), (CommandFailed("x"), 3), (GuestPanicked("x"), 3)],
)
def test_the_tree_of_errors_carries_the_exit_code(error: HarnessError, code: int) -> None:
    assert error.exit_code == code
    assert isinstance(error, UserError if code == 2 else InfrastructureError)


def test_an_error_is_one_line_whatever_was_quoted() -> None:
    error = HarnessError("first\nsecond   third", hint="do\nthis")
    assert error.line() == "first second third; do this"


@pytest.mark.parametrize(
    ("result", "taints_guest", "may"),
    [
        ({"status": "PASS"}, False, True),
        ({"status": "SKIP", "reason": "x"}, False, True),
        ({"status": "FAIL", "reason": "x"}, False, True),
        ({"status": "PASS"}, True, False),
        ({"status": "SKIP", "reason": "x"}, True, False),
        ({"status": "CRASH", "reason": "x"}, False, False),
        ({"status": "HANG", "reason": "x"}, False, False),
        ({"status": "LOST", "reason": "x"}, False, False),
        (
            {"status": "FAIL", "leaks": (Leak(what="pool.1G.node0.free", before=2, after=1),)},
            False,
            False,
        ),
        (
            {"status": "FAIL", "splats": (Splat(kind="warning", title="W", block=(), offset=0),)},
            False,
            False,
        ),
    ],
)
def test_a_guest_that_is_not_sound_is_not_shared(
    result: dict[str, object], taints_guest: bool, may: bool
) -> None:
    ended = ProbeResult(name="g/p/1G", **result)  # type: ignore[arg-type]
    assert guests.may_share(probe(taints_guest=taints_guest), ended) == may


def test_a_probe_that_is_to_be_alone_shares_no_guest() -> None:
    (alone, again) = catalog.repeated([probe()], 2, alone=True)
    ended = ProbeResult(name="g/p/1G", status="PASS")
    assert guests.may_share(probe(), ended)
    assert not guests.may_share(alone, ended)
    assert not guests.may_share(again, ended)


@pytest.mark.parametrize(("stuck", "kept"), [(False, 0), (True, 1)])
def test_what_the_host_gave_between_probes_is_kept_if_the_kernel_stalled(
    stuck: bool, kept: int, tmp_path: Path
) -> None:
    store = RunStore(tmp_path, RunRecord())
    then = Sample(0.0, (ThreadTime(0.0, 0.0),), 0, 0)
    now = Sample(100.0, (ThreadTime(3.0, 97.0),), 0, 0)
    guest = SimpleNamespace(
        stuck=SimpleNamespace(is_set=lambda: stuck),
        idle_since=GuestMoment(10, then),
        now=lambda: GuestMoment(90, now),
    )
    guests.note_stall(store, "serial.log", cast(Any, guest))
    assert len(store.record.stalled) == len(store.record.notes) == kept
    for each in store.record.stalled:
        assert (each.console_from, each.console_to, each.host.seconds) == (10, 90, 100.0)
        assert "got 3 % of the CPU time" in store.record.notes[0]
