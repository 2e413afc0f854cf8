# SPDX-License-Identifier: GPL-2.0-only
"""What a record says of a run that ended early."""

import errno
from pathlib import Path

import pytest

from harness import pipeline
from harness.errors import INTERNAL, GuestLost
from harness.records.run import RunRecord
from harness.store import rundir
from harness.store.rundir import RunStore


def ended(tmp_path: Path, error: BaseException) -> RunRecord:
    with pipeline._recorded(RunStore(tmp_path, RunRecord(reason="under way"))):
        raise error


@pytest.mark.parametrize(
    ("error", "verdict", "code", "reason"),
    [
        (KeyboardInterrupt(), "INTERRUPTED", 130, "interrupted"),
        (GuestLost("the guest died"), "ERROR", 3, "the guest died"),
        (OSError(errno.ENOSPC, "No space left on device"), "ERROR", 3, "no space left"),
    ],
)
def test_what_ends_a_run_is_its_verdict(
    error: BaseException, verdict: str, code: int, reason: str, tmp_path: Path
) -> None:
    ended(tmp_path, error)
    record = rundir.load(tmp_path)
    assert (record.verdict, record.exit_code) == (verdict, code)
    assert reason in record.reason


@pytest.mark.parametrize("error", [EOFError(), OSError(errno.EIO, "I/O error"), ValueError("odd")])
def test_a_defect_of_ours_is_recorded_and_goes_on(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)):
        ended(tmp_path, error)
    record = rundir.load(tmp_path)
    assert (record.verdict, record.exit_code) == ("ERROR", 3)
    assert record.error == type(error).__name__
    assert record.reason == f"{INTERNAL}: {error!r}"
