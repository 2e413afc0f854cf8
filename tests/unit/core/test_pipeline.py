# SPDX-License-Identifier: GPL-2.0-only
"""What a record says of a run that ended early."""

import errno
from pathlib import Path

import pytest

from harness import recording
from harness.errors import (
    INTERNAL,
    CompileError,
    ConfigError,
    GuestLost,
    GuestPanicked,
    KernelCompileError,
    PoolShort,
    QemuError,
    SeriesError,
    SourceError,
)
from harness.progress import Silent
from harness.records.outcome import Outcome
from harness.records.run import REPORT, RunRecord
from harness.store import rundir
from harness.vm import spec


def ended(runs: Path, error: BaseException) -> RunRecord:
    """Return the record of a run that was ended so; it is on disk as well."""
    first = recording.first_record(("run",), spec.machine((), arch_name="x86_64"), REPORT, ())
    with recording.recorded(runs, "test", first, Silent()):
        raise error
    return rundir.load((runs / "latest").resolve())


def lost_in_boot() -> GuestLost:
    error = GuestLost("the guest died")
    error.outcome = Outcome.NOT_BOOTED  # as `harness.run.guests` does
    return error


ENDS: list[tuple[BaseException, str, int, Outcome, str]] = [
    (KeyboardInterrupt(), "INTERRUPTED", 130, Outcome.INTERRUPTED, "interrupted"),
    (SourceError("it is gone"), "ERROR", 2, Outcome.USER_MISTAKE, "it is gone"),
    (SeriesError("patch 1"), "ERROR", 2, Outcome.PATCH_REFUSED, "patch 1"),
    (ConfigError("CONFIG_X"), "ERROR", 2, Outcome.CONFIG_REFUSED, "CONFIG_X"),
    (KernelCompileError("a.c:1"), "ERROR", 2, Outcome.NOT_COMPILED, "a.c:1"),
    (CompileError("probe.c:1"), "ERROR", 2, Outcome.USER_MISTAKE, "probe.c:1"),
    (GuestPanicked("no init"), "ERROR", 3, Outcome.NOT_BOOTED, "no init"),
    (lost_in_boot(), "ERROR", 3, Outcome.NOT_BOOTED, "the guest died"),
    (GuestLost("later"), "ERROR", 3, Outcome.INFRASTRUCTURE, "later"),
    (QemuError("no QEMU"), "ERROR", 3, Outcome.INFRASTRUCTURE, "no QEMU"),
    (PoolShort("1 of 3"), "ERROR", 3, Outcome.INFRASTRUCTURE, "1 of 3"),
    (OSError(errno.ENOSPC, "full"), "ERROR", 3, Outcome.INFRASTRUCTURE, "no space left"),
    (OSError(errno.EDQUOT, "full"), "ERROR", 3, Outcome.INFRASTRUCTURE, "no space left"),
]


@pytest.mark.parametrize(("error", "verdict", "code", "outcome", "reason"), ENDS)
def test_what_ends_a_run_is_its_verdict_and_outcome(
    tmp_path: Path, error: BaseException, verdict: str, code: int, outcome: Outcome, reason: str
) -> None:
    ended(tmp_path, error)
    record = rundir.load((tmp_path / "latest").resolve())
    assert (record.verdict, record.exit_code, record.outcome) == (verdict, code, outcome)
    assert reason in record.reason
    assert record.command[-1] == "run"
    for name in ("reproduce.sh", "junit.xml"):
        assert (tmp_path / "latest" / name).exists()


@pytest.mark.parametrize("error", [EOFError(), OSError(errno.EIO, "I/O error"), ValueError("odd")])
def test_a_defect_of_ours_is_recorded_and_goes_on(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)):
        ended(tmp_path, error)
    record = rundir.load((tmp_path / "latest").resolve())
    assert (record.verdict, record.exit_code) == ("ERROR", 3)
    assert record.outcome is Outcome.INFRASTRUCTURE
    assert record.reason == f"{INTERNAL}: {error!r}"
