# SPDX-License-Identifier: GPL-2.0-only
"""What a campaign remembers, and what it does again."""

from pathlib import Path

import pytest

from harness import pipeline
from harness.campaign import state
from harness.campaign.state import CampaignState
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import CampaignStopped, HarnessError, SpecError
from harness.kernel.obtain import KernelRequest
from harness.progress import Silent
from harness.records.base import to_json
from harness.records.outcome import Outcome
from harness.records.run import RunRecord
from harness.run.request import RunRequest
from harness.run.subject import Subject
from harness.vm import spec
from harness.workspace import Workspace
from tests.unit.campaign.records import NO_BOOT, NO_BUILD, NO_SERIES, ended, probed

REQUEST = RunRequest(
    subject=Subject(
        kernel=KernelRequest(source="tree:/src", arch="x86_64"),
        machine=spec.machine(spec.parse_hugepages("2M:1", "x86_64"), arch_name="x86_64"),
    )
)
CUT = RunRecord()


class Pipeline:
    """Stands in for the pipeline: leaves the records it is given, one a run, and `latest`."""

    def __init__(self, *records: RunRecord) -> None:
        self.left = list(records)

    def run(self, request: RunRequest, runs: Path, context: Context) -> RunRecord:
        record = self.left.pop(0)
        directory = runs / f"{len(list(runs.glob('*'))):03}"
        directory.mkdir(parents=True)
        (directory / "result.json").write_bytes(to_json(record))
        (runs / "latest").unlink(missing_ok=True)
        (runs / "latest").symlink_to(directory.name)
        return record


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Workspace(tmp_path / "cache"), Deadline.after(60, "a test"), Silent())


@pytest.mark.parametrize(
    "record", [probed(a_x="PASS"), probed(a_x="FAIL"), NO_SERIES, NO_BUILD, NO_BOOT]
)
def test_a_finished_run_is_not_repeated(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch, record: RunRecord
) -> None:
    monkeypatch.setattr(pipeline, "run", Pipeline(record).run)
    first = CampaignState(tmp_path / "try", context).once("0001", REQUEST)
    again = CampaignState(tmp_path / "try", context).once("0001", REQUEST)
    assert first == again == record


def test_a_run_that_was_cut_is_repeated(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = CampaignState(tmp_path / "try", context)
    cut = tmp_path / "try" / "0001" / "000"
    cut.mkdir(parents=True)
    (cut / "result.json").write_bytes(to_json(CUT))
    monkeypatch.setattr(pipeline, "run", Pipeline(probed(a_x="PASS")).run)
    assert memory.runs("0001") == ()
    assert memory.once("0001", REQUEST).verdict == "PASS"
    assert (tmp_path / "try" / "0001" / "latest").is_symlink()  # and is no second run
    assert len(memory.runs("0001")) == 1


def test_an_interrupted_run_ends_the_campaign(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted = RunRecord(verdict="INTERRUPTED", exit_code=130, outcome=Outcome.INTERRUPTED)
    monkeypatch.setattr(pipeline, "run", Pipeline(interrupted).run)
    memory = CampaignState(tmp_path / "try", context)
    with pytest.raises(KeyboardInterrupt):
        memory.once("0001", REQUEST)
    assert memory.runs("0001") == ()


@pytest.mark.parametrize(
    ("outcome", "code", "error"),
    [
        (Outcome.INFRASTRUCTURE, 3, CampaignStopped),
        (Outcome.USER_MISTAKE, 2, SpecError),
    ],
)
def test_a_run_that_says_nothing_about_its_kernel_ends_the_campaign(
    tmp_path: Path,
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
    outcome: Outcome,
    code: int,
    error: type[HarnessError],
) -> None:
    monkeypatch.setattr(pipeline, "run", Pipeline(ended(outcome, code)).run)
    memory = CampaignState(tmp_path / "try", context)
    with pytest.raises(error, match="step 0001: why"):
        memory.once("0001", REQUEST)
    assert memory.runs("0001") == ()


@pytest.mark.parametrize("where", ["/proc/nope", "/dev/null/x", "/dev/null"])
def test_a_directory_that_cannot_be_created_is_an_error(context: Context, where: str) -> None:
    with pytest.raises(SpecError, match=f"--runs-dir: cannot make {where}"):
        CampaignState(Path(where), context)


def test_a_damaged_record_does_not_count(tmp_path: Path, context: Context) -> None:
    memory = CampaignState(tmp_path / "try", context)
    (tmp_path / "try" / "0001" / "000").mkdir(parents=True)
    (tmp_path / "try" / "0001" / "000" / "result.json").write_text('{"schema": 1, "verd')
    assert memory.runs("0001") == ()


def test_a_campaign_with_the_same_identity_has_the_same_directory(
    tmp_path: Path, context: Context
) -> None:
    seen = []
    for what in ("a", "a", "b"):
        with state.campaign("try", "dir:/p/q", (what,), tmp_path, context) as memory:
            seen.append(memory.directory)
    assert seen[0] == seen[1] != seen[2]
    assert seen[0].name.startswith("try-dir-p-q-")
