# SPDX-License-Identifier: GPL-2.0-only
"""Nothing decides by the name of an exception's class: one that is renamed changes no answer."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness import recording
from harness.campaign import compare, predicate, replay, series_try, state
from harness.campaign.predicate import Predicate
from harness.errors import (
    AcceleratorError,
    CompileError,
    ConfigError,
    DeadlineExpired,
    GuestLost,
    GuestPanicked,
    GuestSilent,
    HarnessError,
    KernelCompileError,
    NoSpace,
    PoolShort,
    QemuError,
    RecordError,
    SeriesError,
    SourceError,
    SpecError,
    SshUnreachable,
    ToolMissing,
)
from harness.progress import Silent
from harness.records.run import REPORT, RunRecord
from harness.report import text
from harness.store import rundir
from harness.vm import spec
from tests.unit.campaign.records import probed

ERRORS: tuple[type[HarnessError], ...] = (
    *(SpecError, SourceError, SeriesError, ConfigError, CompileError, KernelCompileError),
    *(RecordError, ToolMissing, DeadlineExpired, NoSpace, AcceleratorError, QemuError, PoolShort),
    *(GuestSilent, GuestPanicked, SshUnreachable, GuestLost),
)

PREDICATES = [
    Predicate(about="probe", probes=("a/x",)),
    Predicate(about="splat"),
    Predicate(about="build"),
    Predicate(about="boot"),
]


def record_of(error: HarnessError, runs: Path) -> RunRecord:
    """Return the record, read from its file, of a run that an error ended in its first stage."""
    first = recording.first_record(("run",), spec.machine((), arch_name="x86_64"), REPORT, ())
    with recording.recorded(runs, "test", first, Silent()) as run:
        run.begin("kernel")
        raise error
    return rundir.load((runs / "latest").resolve())


def answers(record: RunRecord) -> dict[str, object]:
    """Return all that is decided by a record, but for where and when it was made."""
    plain = {"run_dir": "", "started": "", "seconds": 0.0, "stages": ()}
    record = msgspec.structs.replace(record, **plain)
    base = probed(a_x="PASS")
    found: dict[str, object] = {
        "record": record,
        "counts": state.counts(record),
        "decided": state.decided(record),
        "lack": state.lack(record),
        "bisect": [predicate.evaluate(each, record) for each in PREDICATES],
        "try": series_try.step(1, "0001.patch", record),
        "report": text.plain(record),
        "replay": replay.Replay(base, record, (), ()).exit_code,
    }
    try:
        found["compare"] = compare.compare(base, record)
    except RecordError as error:
        found["compare"] = error.line()
    return found


@pytest.mark.parametrize("kind", ERRORS)
def test_a_renamed_exception_changes_no_answer(kind: type[HarnessError], tmp_path: Path) -> None:
    before = answers(record_of(kind("why"), tmp_path / "before"))
    subclass = type("Subclass", (kind,), {})
    assert answers(record_of(subclass("why"), tmp_path / "subclass")) == before
    name, kind.__name__ = kind.__name__, "Renamed"
    try:
        assert answers(record_of(kind("why"), tmp_path / "renamed")) == before
    finally:
        kind.__name__ = name


def test_the_errors_tell_all_kinds_of_end_apart(tmp_path: Path) -> None:
    records = {kind: record_of(kind("why"), tmp_path / kind.__name__) for kind in ERRORS}
    lacks = {kind.__name__: state.lack(record) for kind, record in records.items()}
    assert {name for name, lack in lacks.items() if lack == "no build"} == {
        *("SeriesError", "ConfigError", "KernelCompileError"),
    }
    assert {name for name, lack in lacks.items() if lack == "no boot"} == {
        *("GuestSilent", "GuestPanicked", "SshUnreachable"),
    }
