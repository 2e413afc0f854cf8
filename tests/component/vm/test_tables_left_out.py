# SPDX-License-Identifier: GPL-2.0-only
"""A run whose kernel's page tables cannot be compared says so once, however many its guests.

The QEMU is a fake, the guest's answers are made up, and no probe runs.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.judge import accounting
from harness.records.probe import ProbeEvidence, ProbeResult, ProbeSpec
from harness.records.run import RunRecord
from harness.report import text
from harness.run import guests, parallel
from harness.run.accounting import LeakCheck
from harness.run.prepare import Prepared
from harness.store.rundir import RunStore
from harness.vm.guest import Guest
from harness.vm.ssh import CommandOutput, Ssh

PROBES = tuple(
    ProbeSpec(name=f"test/{name}", shows="", source="c/counters.c", language="c", alone=True)
    for name in ("one", "two")
)
POOL = "pool.2M.node0.free 64\n"
NOTE = (
    "page tables are not compared between probes: PageTables has this kernel's own, which change"
    " with the stacks of tasks (CONFIG_VMAP_STACK)"
)

_one_guest = guests._Lanes._one_guest


@pytest.fixture
def run(
    prepared: Prepared,
    fake_qemu: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., RunRecord]:
    """Return a function that runs two probes, a guest each, in which counters prints a text."""
    fake_qemu("lives")
    monkeypatch.setattr(guests._Lanes, "_one_guest", _one_guest)
    monkeypatch.setattr(guests, "_meet", lambda *_: 1.0)

    def ran(
        _: Prepared, host: Guest, spec: ProbeSpec, store: RunStore, check: LeakCheck, scale: float
    ) -> ProbeEvidence:
        evidence = ProbeEvidence(
            name=spec.name,
            ended="exit",
            exit_code=0,
            seconds=0.1,
            budget=spec.budget,
            console_from=0,
            console_to=0,
        )
        return check.close(evidence, prepared.context.deadline)

    def judged(_: Prepared, host: Guest, seen: ProbeEvidence, store: RunStore) -> ProbeResult:
        assert seen.accounting is not None
        leaks = accounting.differences(seen.accounting.before, seen.accounting.after)
        result = ProbeResult(name=seen.name, status="FAIL" if leaks else "PASS")
        store.add_probe(result)
        return result

    monkeypatch.setattr(guests, "_run", ran)
    monkeypatch.setattr(guests, "_judged", judged)

    def runner(printed: str, facts: str = "", count: int = 1) -> RunRecord:
        def answer(ssh: Ssh, argv: Sequence[str], *_: object, **__: object) -> CommandOutput:
            return CommandOutput(0, facts if argv[0] == "sh" else printed, "")

        monkeypatch.setattr(Ssh, "run", answer)
        (tmp_path / "run").mkdir()
        store = RunStore(tmp_path / "run", RunRecord())
        guests.run_probes(dataclasses.replace(prepared, guests=count), PROBES, store)
        return store.record

    return runner


@pytest.mark.parametrize("facts", ["", f"{POOL}pagetables.left_out CONFIG_VMAP_STACK\n"])
@pytest.mark.parametrize("count", [1, 2])
def test_the_note_is_there_once(
    run: Callable[..., RunRecord], monkeypatch: pytest.MonkeyPatch, facts: str, count: int
) -> None:
    monkeypatch.setattr(parallel, "admitted", lambda wanted, *_: (wanted, ""))
    record = run(f"{POOL}pagetables.left_out CONFIG_VMAP_STACK\n", facts, count)
    assert [each.status for each in record.probes] == ["PASS", "PASS"]
    assert len(record.guests) == 2
    assert record.notes == (NOTE,)
    assert ("note", NOTE) in text.tail(record)


def test_there_is_none_where_page_tables_are_compared(run: Callable[..., RunRecord]) -> None:
    assert run(f"{POOL}pagetables.unowned 20\n").notes == ()
