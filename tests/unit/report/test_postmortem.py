# SPDX-License-Identifier: GPL-2.0-only
"""Which memory dumps a run has, and why it has none."""

from pathlib import Path

import pytest

from harness.errors import RecordError
from harness.evidence import postmortem
from harness.records.base import to_json
from harness.records.probe import Capture, CaptureStep, ProbeEvidence, ProbeResult
from harness.records.run import RunRecord
from harness.store.rundir import RunStore
from harness.workspace import Workspace


def run_with(directory: Path, *names: str) -> Path:
    probes = tuple(
        ProbeResult(name=name, status="HANG", reason="x", directory="x") for name in names
    )
    RunStore(directory, RunRecord(probes=probes))
    return directory


def keep(run_dir: Path, name: str, outcome: str, *, vmcore: bool) -> None:
    directory = RunStore(run_dir, RunRecord()).probe_directory(name)
    evidence = ProbeEvidence(
        name=name,
        ended="budget",
        exit_code=None,
        seconds=1.0,
        budget=1.0,
        console_from=0,
        console_to=0,
        program="probe",
    )
    (directory / "evidence.json").write_bytes(to_json(evidence))
    steps = (CaptureStep(name="vmcore", result=outcome),)
    (directory / "capture.json").write_bytes(to_json(Capture(why="hang", steps=steps)))
    if vmcore:
        (directory / "vmcore").write_bytes(b"x")


def test_dumps(tmp_path: Path) -> None:
    keep(tmp_path, "a/b/2M", "ok", vmcore=True)
    keep(tmp_path, "a/c/2M", "ok", vmcore=True)
    run_with(tmp_path, "a/b/2M", "a/c/2M", "a/d/2M")
    found = postmortem.dumps(tmp_path)
    assert [dump.probe for dump in found] == ["a/b/2M", "a/c/2M"]
    assert [dump.probe for dump in postmortem.dumps(tmp_path, ["a/c*"])] == ["a/c/2M"]


@pytest.mark.parametrize(
    ("outcome", "said"),
    [("ok", "a/b/2M: it has been removed"), ("HGM_VMCORES is 0", "a/b/2M: HGM_VMCORES is 0")],
)
def test_a_run_without_a_dump_says_why(tmp_path: Path, outcome: str, said: str) -> None:
    keep(tmp_path, "a/b/2M", outcome, vmcore=False)
    run_with(tmp_path, "a/b/2M")
    with pytest.raises(RecordError, match=said):
        postmortem.dumps(tmp_path)


def test_a_missing_vmlinux_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="not in the cache"):
        postmortem.vmlinux(RunRecord(), Workspace(tmp_path))
