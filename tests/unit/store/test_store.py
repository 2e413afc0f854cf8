# SPDX-License-Identifier: GPL-2.0-only
"""The run directory: what is written, what is read back, and what is refused."""

from __future__ import annotations

import errno
import json
import typing
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import NoSpace, RecordError, SpecError
from harness.records.base import to_json
from harness.records.kernel import (
    ConfigIdentity,
    KernelSummary,
    SeriesIdentity,
    SourceIdentity,
)
from harness.records.machine import PoolSummary
from harness.records.outcome import Outcome
from harness.records.probe import CheckpointEvidence, ProbeEvidence, ProbeResult
from harness.records.run import SCHEMA, Known, RunRecord, StageTime
from harness.report import files
from harness.store import schema
from harness.store.rundir import (
    RunStore,
    directory_for,
    keep_checkpoint,
    load,
    new_run_directory,
    read_checkpoints,
)
from tests.unit.report.records import PASSED, PROBES, RUN

DOCS = Path(__file__).parents[3] / "docs" / "reference"

POOLS = PoolSummary(asked={"2M": 1}, got={"2M": 1})
KERNEL = KernelSummary(
    release="6.12",
    key="k",
    source=SourceIdentity(spec="tree:/src", kind="tree", origin="x"),
    series=SeriesIdentity(spec="none"),
    config=ConfigIdentity(),
)

EVIDENCE = ProbeEvidence(
    name="a/b",
    ended="exit",
    exit_code=0,
    seconds=1.0,
    budget=30.0,
    console_from=0,
    console_to=0,
)


def test_a_record_lies_there_from_the_first_moment_and_says_cut(tmp_path: Path) -> None:
    RunStore(tmp_path, RunRecord(started="now"))
    record = load(tmp_path)
    assert (record.verdict, record.exit_code, record.started) == ("CUT", 3, "now")
    assert record.outcome is Outcome.CUT
    assert record.run_dir == str(tmp_path)


def test_everything_that_becomes_known_is_a_field_of_the_record() -> None:
    fields = typing.get_type_hints(RunRecord)
    for name, kind in typing.get_type_hints(Known).items():
        assert fields[name] in (kind, kind | None)


BOOTED = StageTime(name="boot", seconds=2.0)

UPDATES: dict[str, tuple[Callable[[RunStore], None], dict[str, object]]] = {
    "stage": (lambda store: store.know(stage="boot"), {"stage": "boot"}),
    "time": (
        lambda store: store.know(stages=(BOOTED,), seconds=3.0),
        {"stages": (BOOTED,), "seconds": 3.0},
    ),
    "kernel": (lambda store: store.know(kernel=KERNEL), {"kernel": KERNEL}),
    "qemu": (
        lambda store: store.know(qemu=("qemu",), qemu_version="7.2", hugepages=POOLS),
        {"qemu": ("qemu",), "qemu_version": "7.2", "hugepages": POOLS},
    ),
    "scale": (lambda store: store.know_timeout_scale(2.0), {"timeout_scale": 2.0}),
    "notes": (lambda store: store.note(["one"]), {"notes": ("one",)}),
    "probe": (lambda store: store.add_probe(PROBES[0]), {"probes": PROBES[:1]}),
    "end": (
        lambda store: store.end(Outcome.PROBES_RAN, "PASS", 0, "well"),
        {
            "outcome": Outcome.PROBES_RAN,
            "verdict": "PASS",
            "exit_code": 0,
            "reason": "well",
            "stage": "done",
        },
    ),
}


@pytest.mark.parametrize("name", UPDATES)
def test_what_becomes_known_is_on_disk_and_nothing_else_changes(tmp_path: Path, name: str) -> None:
    update, fields = UPDATES[name]
    store = RunStore(tmp_path, RunRecord(started="now"))
    before = store.record
    update(store)
    assert load(tmp_path) == store.record == msgspec.structs.replace(before, **fields)
    assert store.record != before


def test_the_timeout_scale_is_the_slowest_guests(tmp_path: Path) -> None:
    store = RunStore(tmp_path, RunRecord())
    for scale in (2.0, 3.5, 1.0):
        store.know_timeout_scale(scale)
    assert load(tmp_path).timeout_scale == 3.5


def test_everything_is_read_back(tmp_path: Path) -> None:
    store = RunStore(tmp_path, RUN)
    assert load(tmp_path) == store.record == msgspec.structs.replace(RUN, run_dir=str(tmp_path))


def test_a_failed_rename_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(tmp_path, RunRecord())
    before = load(tmp_path)

    def killed(path: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        store.know(stage="boot")
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
    store = RunStore(tmp_path, RunRecord())

    def refuse(path: Path, target: Path) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(error, match=words):
        store.know(stage="boot")
    with pytest.raises(error, match=words):
        store.keep(EVIDENCE)
    assert store.record.stage == "start"


def test_a_run_directory_that_vanished(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    store = RunStore(run, RunRecord())
    (run / "result.json").unlink()
    run.rmdir()
    with pytest.raises(RecordError, match=r"cannot write .*No such file"):
        store.know(stage="boot")


def test_run_directories_are_new_and_the_latest_is_linked(tmp_path: Path) -> None:
    first = new_run_directory(tmp_path / "runs", "6.12")
    second = new_run_directory(tmp_path / "runs", "6.12")
    assert first != second
    assert (tmp_path / "runs" / "latest").resolve() == second


@pytest.mark.parametrize("where", ["/proc/nope", "/dev/null", "/dev/null/runs"])
def test_a_place_that_can_hold_no_run_directory_is_the_users_mistake(where: str) -> None:
    with pytest.raises(SpecError, match=f"--runs-dir: cannot make {where}") as caught:
        new_run_directory(Path(where), "6.12")
    assert caught.value.exit_code == 2


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


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "damaged, or not the record of a run"),
        (b'{"schema": 1, "verdict"', "damaged, or not the record of a run"),
        (b"[1, 2]", "damaged, or not the record of a run"),
        (b'{"verdict": "PASS"}', "damaged, or not the record of a run"),
        (b'{"schema": 1, "verdict": "GOOD"}', "damaged"),
        (b'{"schema": 2, "outcome": "odd"}', "damaged"),
        (b'{"schema": 1, "probes": 3}', "damaged"),
        (b'{"schema": 1, "probes": [3]}', "damaged"),
        (b'{"schema": 0}', "has schema 0"),
        (b'{"schema": 7, "all": "new"}', f"has schema 7, and this program reads 1 to {SCHEMA}"),
        (b"\xff\xfe", "damaged, or not the record of a run"),
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
