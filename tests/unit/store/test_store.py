# SPDX-License-Identifier: GPL-2.0-only
"""The run directory: what is written, what is read back, and what is refused."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import NoSpace, RecordError
from harness.records.base import to_json
from harness.records.probe import CheckpointEvidence, ProbeEvidence, ProbeResult
from harness.records.run import SCHEMA, RunRecord
from harness.report import files
from harness.store import schema
from harness.store.rundir import (
    RunStore,
    directory_for,
    judged_again,
    keep_checkpoint,
    load,
    read_checkpoints,
    rejudge,
    walks,
)
from tests.unit.report.records import PASSED, RUN

DOCS = Path(__file__).parents[3] / "docs" / "reference"

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
    """Leave behind what a probe's run leaves behind, and return its directory."""
    path = store.probe_directory(item.name)
    (path / "ktap").write_bytes(ktap)
    (path / "stderr").write_bytes(stderr)
    store.conclude(item)
    return path


def test_a_record_lies_there_from_the_first_moment_and_says_cut(tmp_path: Path) -> None:
    RunStore(tmp_path, RunRecord(started="now"))
    record = load(tmp_path)
    assert (record.verdict, record.exit_code, record.started) == ("CUT", 3, "now")
    assert record.run_dir == str(tmp_path)


def test_every_update_is_on_disk(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    returned = store.update(stage="boot", notes=("one",))
    assert returned == store.record == load(tmp_path)
    assert load(tmp_path).notes == ("one",)
    assert load(tmp_path).verdict == "CUT"


@pytest.mark.parametrize("fields", [{"stgae": "x"}, {"seconds": "ten"}, {"verdict": "GOOD"}])
def test_a_field_that_could_not_be_read_back_is_not_written(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    store = RunStore(tmp_path)
    before = (tmp_path / "result.json").read_bytes()
    with pytest.raises(TypeError):
        store.update(**fields)
    assert (tmp_path / "result.json").read_bytes() == before
    assert store.record.verdict == "CUT"


def test_everything_is_read_back(tmp_path: Path) -> None:
    store = RunStore(tmp_path, RUN)
    assert load(tmp_path) == store.record == msgspec.structs.replace(RUN, run_dir=str(tmp_path))


def test_a_failed_rename_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(tmp_path)
    before = load(tmp_path)

    def killed(path: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        store.update(stage="boot")
    monkeypatch.undo()
    assert load(tmp_path) == before == store.record
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (errno.ENOSPC, NoSpace, "no space left to write"),
        (errno.EDQUOT, NoSpace, "no space left to write"),
        (errno.EACCES, RecordError, "cannot write"),
    ],
)
def test_what_the_file_system_refuses(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[Exception],
    words: str,
) -> None:
    store = RunStore(tmp_path)

    def refuse(path: Path, target: Path) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(error, match=words):
        store.update(stage="boot")
    with pytest.raises(error, match=words):
        store.conclude(evidence())
    assert store.record.stage == "start"


def test_a_run_directory_that_vanished(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    store = RunStore(run)
    (run / "result.json").unlink()
    run.rmdir()
    with pytest.raises(RecordError, match=r"cannot write .*No such file"):
        store.update(stage="boot")


def test_probe_results_keep_their_place(tmp_path: Path) -> None:
    lost = [ProbeResult(name=name, status="LOST", reason="never ran") for name in "ab"]
    store = RunStore(tmp_path, RunRecord(probes=tuple(lost)))
    store.add_probe(ProbeResult(name="a", status="PASS"))
    store.add_probe(ProbeResult(name="c", status="PASS"))
    found = [(probe.name, probe.status) for probe in load(tmp_path).probes]
    assert found == [("a", "PASS"), ("b", "LOST"), ("c", "PASS")]


@pytest.mark.parametrize(
    ("name", "directory"),
    [
        ("hgm/continue-4k/1G", "probes/hgm+continue-4k+1G"),
        ("a+b", "probes/a%2Bb"),
        ("../../etc/passwd", "probes/%2E.+..+etc+passwd"),
        ("/", "probes/+"),
        ("a~b", "probes/a%7Eb"),
        ("a b%ü", "probes/a%20b%25%C3%BC"),
    ],
)
def test_directory(name: str, directory: str) -> None:
    assert directory_for(name) == directory


def test_a_probe_needs_a_name() -> None:
    with pytest.raises(ValueError, match="without a name"):
        directory_for("")


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=2, unique=True))
def test_no_two_names_share_a_directory_and_none_leaves_it(names: list[str]) -> None:
    found = [directory_for(name) for name in names]
    assert len(set(found)) == len(names)
    for directory in found:
        room, _, leaf = directory.partition("/")
        assert room == "probes"
        assert leaf not in ("", ".", "..")
        assert not set(leaf) & set("/\x00\n ")


def test_a_concluded_probe_is_judged_and_recorded(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    keep(store, evidence("g/one"))
    keep(store, evidence("g/two", code=1), b"\xff no KTAP\x00\n", b"\xfe\n")
    one, two = load(tmp_path).probes
    assert (one.status, one.directory) == ("PASS", "probes/g+one")
    assert (two.status, two.directory) == ("FAIL", "probes/g+two")
    assert two.reason == "printed no KTAP: first line '? no KTAP', exit code 1; stderr: ?"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "damaged or no record of a run"),
        (b'{"schema": 1, "verdict"', "damaged or no record of a run"),
        (b"[1, 2]", "damaged or no record of a run"),
        (b'{"verdict": "PASS"}', "damaged or no record of a run"),
        (b'{"schema": 1, "verdict": "GOOD"}', "damaged"),
        (b'{"schema": 7, "all": "new"}', f"has schema 7, and this program reads {SCHEMA}"),
        (b"\xff\xfe", "damaged or no record of a run"),
    ],
)
def test_a_record_that_cannot_be_read(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "result.json").write_bytes(data)
    with pytest.raises(RecordError, match=words) as caught:
        load(tmp_path)
    assert str(tmp_path) in caught.value.line()
    assert "\n" not in caught.value.line()


def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no run directory"):
        load(tmp_path / "nowhere")
    with pytest.raises(RecordError, match=r"cannot read .*result\.json: No such file"):
        load(tmp_path)


def test_judging_again_finds_the_same(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    quiet = "[    0.500000] Run /init as init process\n"
    (tmp_path / "serial.log").write_text(quiet + WARNING)
    first = evidence("g/one", begin=0, end=len(quiet))
    second = evidence("g/two", begin=len(quiet), end=len(quiet + WARNING))
    for item in (second, first):
        keep(store, item)
    store.update(probes=(msgspec.structs.replace(store.record.probes[1], status="CRASH"),))
    store.add_probe(ProbeResult(name="g/lost", status="LOST", reason="never ran"))
    judged = rejudge(tmp_path)
    assert [(probe.name, probe.status) for probe in judged.probes] == [
        ("g/one", "PASS"),
        ("g/lost", "LOST"),
        ("g/two", "FAIL"),
    ]
    assert judged.probes[0].directory == "probes/g+one"
    assert judged.probes[2].splats[0].offset == len(quiet)
    assert judged.splats == ()


def test_a_complaint_of_a_guest_that_died_ends_where_the_next_guest_begins(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    panic = (
        "[    1.690000] Kernel panic - not syncing: sysrq triggered crash\n"
        "[    1.690001] CPU: 0 UID: 0 PID: 57 Comm: crash\n"
    )
    (tmp_path / "serial.log").write_text(panic)
    died = msgspec.structs.replace(evidence(end=30), ended="guest-died", exit_code=None)
    keep(store, died, ktap=b"")
    before = store.record.probes
    banner = "[    0.000000] Linux version 6.12.117 (hgm@hgm) (gcc 12)\n"
    (tmp_path / "serial.log").write_text(panic + banner + "[    0.000001] BIOS-e820: x\n")
    assert before[0].splats[0].block[0].startswith("Kernel panic")
    assert rejudge(tmp_path).probes == before


def test_judging_again_sees_complaints_outside_of_probes(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    (tmp_path / "serial.log").write_text(WARNING)
    keep(store, evidence(begin=len(WARNING), end=len(WARNING)))
    assert store.keep_outside_splats().splats[0].kind == "warning"
    judged = rejudge(tmp_path)
    assert [probe.status for probe in judged.probes] == ["PASS"]
    assert [splat.kind for splat in judged.splats] == ["warning"]


def test_judging_a_run_that_was_cut_before_its_first_probe(tmp_path: Path) -> None:
    RunStore(tmp_path)
    assert rejudge(tmp_path) == ((), ())


def test_judging_again_brings_a_new_verdict_to_a_run_that_reached_one(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    keep(store, evidence(code=1))
    store.update(stage="done", verdict="PASS", exit_code=0, reason="an older judge's")
    again = judged_again(tmp_path)
    assert (again.verdict, again.exit_code) == ("FAIL", 1)
    assert load(tmp_path).verdict == "PASS"


def test_judging_again_does_not_finish_a_run_that_was_cut(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    keep(store, evidence())
    assert judged_again(tmp_path).verdict == "CUT"


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
    store = RunStore(tmp_path)
    path = keep(store, evidence()) / name
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(RecordError, match=words):
        rejudge(tmp_path)


def test_the_published_schema_is_current() -> None:
    assert (DOCS / "result.schema.json").read_bytes() == schema.json_schema(), (
        "run: python -m harness.store.schema > docs/reference/result.schema.json"
    )


def test_the_schema_names_what_every_reader_may_rely_on() -> None:
    promised = {
        "schema",
        "verdict",
        "exit_code",
        "kernel",
        "accel",
        "hugepages",
        "run_dir",
        "probes",
    }
    written = json.loads(to_json(PASSED))
    assert promised <= set(written)
    assert {"release", "source", "series", "config"} <= set(written["kernel"])
    assert {"name", "reason"} <= set(written["accel"])
    assert {"asked", "got"} <= set(written["hugepages"])
    assert {"name", "status", "reason", "seconds"} <= set(written["probes"][0])


def test_every_field_of_the_record_is_in_the_documentation() -> None:
    said = (DOCS / "result-schema.md").read_text()
    missing = [name for name in RunRecord.__struct_fields__ if f"`{name}`" not in said]
    assert missing == []
    assert f"schema {SCHEMA}" in said


def test_reports_beside_the_record(tmp_path: Path) -> None:
    store = RunStore(tmp_path, RUN)
    files.write_junit(store)
    files.write_reproduce(store)
    assert (tmp_path / "junit.xml").read_bytes().startswith(b"<?xml")
    assert (tmp_path / "reproduce.sh").stat().st_mode & 0o777 == 0o755


PAGES = {0x1000: bytes(range(256)) * 16, 0x14_0000_0000: b"\xff" * 4096}


def test_checkpoints_are_read_back_in_their_order(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        keep_checkpoint(tmp_path, CheckpointEvidence(number=number, line="x"), PAGES)
    found = list(read_checkpoints(tmp_path))
    assert [evidence.number for evidence, _ in found] == [1, 2, 10]
    assert found[0][1] == PAGES


def test_a_checkpoint_is_judged_again_from_its_files(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    path = store.probe_directory("a/b")
    seen = CheckpointEvidence(number=1, line="checkpoint x", problem="it was not found")
    keep_checkpoint(path, seen, {})
    keep(store, evidence(), b"KTAP version 1\n1..1\n# checkpoint x\nok 1 one\n")
    (probe,) = rejudge(tmp_path).probes
    assert probe == store.record.probes[0]
    assert (probe.status, len(probe.checkpoints)) == ("FAIL", 1)
    assert "checkpoint 1: the checkpoint line is damaged" in probe.reason


@pytest.mark.parametrize("name", ["checkpoint-1.json", "checkpoint-1.pages"])
@pytest.mark.parametrize("data", [b"", b"x\x9c damaged", None])
def test_a_damaged_checkpoint_is_an_error(tmp_path: Path, name: str, data: bytes | None) -> None:
    keep_checkpoint(tmp_path, CheckpointEvidence(number=1, line="x"), PAGES)
    if data is None:
        (tmp_path / name).unlink()
        if name.endswith(".json"):
            return  # the pages were written first; without the evidence nothing was kept yet
    else:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(RecordError):
        list(read_checkpoints(tmp_path))


def test_a_run_without_checkpoints_has_nothing_to_draw(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    keep(store, evidence())
    with pytest.raises(RecordError, match="'a/x' has a checkpoint 3 to draw"):
        walks(tmp_path, "a/x", 3)
