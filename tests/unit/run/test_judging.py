# SPDX-License-Identifier: GPL-2.0-only
"""What lies in a run directory, judged as it is left and judged again."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.errors import RecordError
from harness.records.outcome import Outcome
from harness.records.probe import (
    CheckpointEvidence,
    HostLoad,
    ProbeEvidence,
    ProbeResult,
    Stalled,
    VcpuTime,
)
from harness.records.run import RunRecord
from harness.run import judging
from harness.store.rundir import RunStore, keep_checkpoint, load

KTAP = b"KTAP version 1\n1..1\nok 1 one\n"
WARNING = "[    1.000000] WARNING: CPU: 1 PID: 4 at mm/hugetlb.c:8 f+0x1/0x2\n"


def evidence(name: str = "a/b", *, begin: int = 0, end: int = 0, code: int = 0) -> ProbeEvidence:
    return ProbeEvidence(
        name=name,
        ended="exit",
        exit_code=code,
        seconds=1.0,
        budget=30.0,
        console_from=begin,
        console_to=end,
    )


def keep(store: RunStore, item: ProbeEvidence, ktap: bytes = KTAP, stderr: bytes = b"") -> Path:
    """Leave what a probe's run leaves, record its result, and return its directory."""
    path = store.probe_directory(item.name)
    (path / "ktap").write_bytes(ktap)
    (path / "stderr").write_bytes(stderr)
    store.keep(item)
    store.add_probe(judging.judge(store.run_dir, item))
    return path


def test_a_probe_is_judged_by_what_lies_in_its_directory(tmp_path: Path) -> None:
    store = RunStore(tmp_path, RunRecord())
    keep(store, evidence("g/one"))
    keep(store, evidence("g/two", code=1), b"\xff no KTAP\x00\n", b"\xfe\n")
    one, two = load(tmp_path).probes
    assert (one.status, one.directory) == ("PASS", "probes/g+one")
    assert (two.status, two.directory) == ("FAIL", "probes/g+two")
    assert two.reason == "printed no KTAP: first line '? no KTAP', exit code 1; stderr: ?"


def test_judging_again_finds_the_same(tmp_path: Path) -> None:
    store = RunStore(tmp_path, RunRecord())
    quiet = "[    0.500000] Run /init as init process\n"
    (tmp_path / "serial.log").write_text(quiet + WARNING)
    first = evidence("g/one", begin=0, end=len(quiet))
    second = evidence("g/two", begin=len(quiet), end=len(quiet + WARNING))
    for item in (second, first):
        keep(store, item)
    store = RunStore(tmp_path, RunRecord(probes=store.record.probes[1:]))
    store.add_probe(msgspec.structs.replace(store.record.probes[0], status="CRASH"))
    store.add_probe(ProbeResult(name="g/lost", status="LOST", reason="never ran"))
    judged = judging.rejudge(tmp_path)
    assert [(probe.name, probe.status) for probe in judged.probes] == [
        ("g/one", "PASS"),
        ("g/lost", "LOST"),
        ("g/two", "FAIL"),
    ]
    assert judged.probes[0].directory == "probes/g+one"
    assert judged.probes[2].splats[0].offset == len(quiet)
    assert judged.splats == ()


@pytest.mark.parametrize(
    "banner",
    [
        "[    0.000000] Linux version 6.12.117 (hgm@hgm) (gcc 12)\n",
        "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x000f0510]\n"
        "[    0.000000] Linux version 6.12.118 (hgm@hgm) (gcc 12)\n",
    ],
    ids=["x86-64", "arm64"],
)
def test_a_splat_of_a_guest_that_died_ends_where_the_next_guest_begins(
    tmp_path: Path, banner: str
) -> None:
    store = RunStore(tmp_path, RunRecord())
    panic = (
        "[    1.690000] Kernel panic - not syncing: sysrq triggered crash\n"
        "[    1.690001] CPU: 0 UID: 0 PID: 57 Comm: crash\n"
    )
    (tmp_path / "serial.log").write_text(panic)
    died = msgspec.structs.replace(evidence(end=30), ended="guest-died", exit_code=None)
    keep(store, died, ktap=b"")
    before = store.record.probes
    (tmp_path / "serial.log").write_text(panic + banner + "[    0.000001] BIOS-e820: x\n")
    assert before[0].splats[0].block[0].startswith("Kernel panic")
    assert judging.rejudge(tmp_path).probes == before


def test_judging_again_sees_splats_outside_of_probes(tmp_path: Path) -> None:
    store = RunStore(tmp_path, RunRecord())
    (tmp_path / "serial.log").write_text(WARNING)
    keep(store, evidence(begin=len(WARNING), end=len(WARNING)))
    assert judging.outside_splats(tmp_path).kernel[0].kind == "warning"
    judged = judging.rejudge(tmp_path)
    assert [probe.status for probe in judged.probes] == ["PASS"]
    assert [splat.kind for splat in judged.splats] == ["warning"]


def test_judging_again_reads_the_console_of_another_kernel(tmp_path: Path) -> None:
    store = RunStore(tmp_path, RunRecord())
    boot = "[    0.000000] Linux version 6.12.117 (hgm@hgm) (gcc 12)\n" + WARNING
    (tmp_path / "serial.log").write_text(boot)
    keep(store, evidence(begin=len(boot), end=len(boot)))
    assert [splat.kind for splat in judging.rejudge(tmp_path).splats] == ["warning"]
    (tmp_path / "other-kernel.log").write_text(boot)
    store.end(Outcome.PROBES_RAN, "FAIL", 1, "splat outside of any probe")
    again = judging.judged_again(tmp_path)
    assert [splat.kind for splat in again.machine_splats] == ["warning"]
    assert (again.splats, again.verdict, again.exit_code) == ((), "PASS", 0)


def test_judging_again_knows_when_the_host_was_busy(tmp_path: Path) -> None:
    stall = "[   30.000000] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:\n"
    (tmp_path / "serial.log").write_text(stall + WARNING)
    starved = HostLoad(seconds=100.0, vcpus=(VcpuTime(ran=3.0, waited=97.0),))
    stalled = Stalled(console_from=0, console_to=len(stall + WARNING), host=starved)
    RunStore(tmp_path, RunRecord(stalled=(stalled,)))
    judged = judging.rejudge(tmp_path)
    assert [splat.kind for splat in judged.splats] == ["warning"]
    assert [splat.kind for splat in judged.machine_splats] == ["rcu-stall"]


def test_judging_a_run_that_was_cut_before_its_first_probe(tmp_path: Path) -> None:
    RunStore(tmp_path, RunRecord())
    assert judging.rejudge(tmp_path) == judging.Judged((), (), ())


def test_judging_again_brings_a_new_verdict_to_a_run_that_reached_one(tmp_path: Path) -> None:
    store = RunStore(tmp_path, RunRecord())
    keep(store, evidence(code=1))
    store.end(Outcome.PROBES_RAN, "PASS", 0, "an older judge's")
    again = judging.judged_again(tmp_path)
    assert (again.verdict, again.exit_code) == ("FAIL", 1)
    assert load(tmp_path).verdict == "PASS"


def test_judging_again_does_not_finish_a_run_that_was_cut(tmp_path: Path) -> None:
    store = RunStore(tmp_path, RunRecord())
    keep(store, evidence())
    assert judging.judged_again(tmp_path).verdict == "CUT"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("evidence.json", None, "is missing, yet the record says PASS"),
        ("evidence.json", b"{", "damaged"),
        ("evidence.json", b'{"name": "a/b"}', "damaged"),
        ("ktap", None, "cannot read .*ktap"),
        ("stderr", None, "cannot read .*stderr"),
    ],
)
def test_evidence_that_cannot_be_read(
    tmp_path: Path, name: str, data: bytes | None, words: str
) -> None:
    store = RunStore(tmp_path, RunRecord())
    path = keep(store, evidence()) / name
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(RecordError, match=words):
        judging.rejudge(tmp_path)


def test_a_checkpoint_is_judged_again_from_its_files(tmp_path: Path) -> None:
    store = RunStore(tmp_path, RunRecord())
    path = store.probe_directory("a/b")
    seen = CheckpointEvidence(number=1, line="checkpoint x", problem="it was not found")
    keep_checkpoint(path, seen, {})
    keep(store, evidence(), b"KTAP version 1\n1..1\n# checkpoint x\nok 1 one\n")
    (probe,) = judging.rejudge(tmp_path).probes
    assert probe == store.record.probes[0]
    assert (probe.status, len(probe.checkpoints)) == ("FAIL", 1)
    assert "checkpoint 1: the checkpoint line is damaged" in probe.reason


def test_a_run_without_checkpoints_has_nothing_to_draw(tmp_path: Path) -> None:
    store = RunStore(tmp_path, RunRecord())
    keep(store, evidence())
    with pytest.raises(RecordError, match="'a/x' has a checkpoint 3 to draw"):
        judging.walks(tmp_path, "a/x", 3)


def test_guests_at_the_same_time_have_a_console_each(tmp_path: Path) -> None:
    store = RunStore(tmp_path, RunRecord())
    other = tmp_path / "guests" / "2"
    other.mkdir(parents=True)
    quiet = "[    0.500000] Run /init as init process\n"
    (tmp_path / "serial.log").write_text(quiet)
    (other / "serial.log").write_text(quiet + WARNING + WARNING.replace("hugetlb", "memory"))
    end = len(quiet + WARNING)
    second = msgspec.structs.replace(
        evidence("g/two", begin=len(quiet), end=end), console="guests/2/serial.log"
    )
    keep(store, evidence("g/one", begin=0, end=len(quiet)))
    keep(store, second)
    one, two = load(tmp_path).probes
    assert not one.splats
    assert [(splat.console, splat.offset) for splat in two.splats] == [
        ("guests/2/serial.log", len(quiet))
    ]
    assert judging.rejudge(tmp_path).probes == (one, two)
    (outside,) = judging.outside_splats(tmp_path).kernel
    assert (outside.console, outside.offset) == ("guests/2/serial.log", end)
