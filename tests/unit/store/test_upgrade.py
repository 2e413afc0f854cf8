# SPDX-License-Identifier: GPL-2.0-only
"""Run directories of schema 1, as the harness of commit bb4f5c3 wrote them.

``tests/data/runs-schema1`` has their README.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from harness.campaign import compare, state
from harness.campaign.predicate import Predicate, evaluate
from harness.deadline import Deadline
from harness.errors import RecordError
from harness.judge import accounting
from harness.records.outcome import Outcome
from harness.records.probe import ProbeResult
from harness.records.run import SCHEMA, RunRecord
from harness.report import junit, text
from harness.run import judging
from harness.store import bundle, rundir, upgrade
from harness.workspace import Workspace, file_digest

OLD = Path(__file__).parents[2] / "data" / "runs-schema1"
RUNS = ("probed", "refused", "cut")


def probe(record: RunRecord, name: str) -> ProbeResult:
    return next(each for each in record.probes if each.name == name)


def written(run: str) -> dict[str, object]:
    found = json.loads((OLD / run / "result.json").read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("run", RUNS)
def test_an_old_record_is_loaded_whole(run: str) -> None:
    record, old = rundir.load(OLD / run), written(run)
    assert old["schema"] == 1
    assert record.schema == SCHEMA
    assert (record.verdict, record.reason) == (old["verdict"], old["reason"])
    assert record.timeout_scale == old["slowness"]
    assert [(each.name, each.status, each.blame) for each in record.probes] == [
        (each["name"], each["status"], each["place"])
        for each in old["probes"]  # type: ignore[attr-defined]
    ]


@pytest.mark.parametrize(
    ("run", "outcome"),
    [
        ("probed", Outcome.PROBES_RAN),
        ("refused", Outcome.PATCH_REFUSED),
        ("cut", Outcome.CUT),
    ],
)
def test_the_outcome_of_an_old_run(run: str, outcome: Outcome) -> None:
    assert rundir.load(OLD / run).outcome is outcome


@pytest.mark.parametrize(
    ("stage", "error", "code", "outcome"),
    [
        ("kernel", "SeriesError", 2, Outcome.PATCH_REFUSED),
        ("kernel", "ConfigError", 2, Outcome.CONFIG_REFUSED),
        ("kernel", "CompileError", 2, Outcome.NOT_COMPILED),
        ("probes", "CompileError", 2, Outcome.USER_MISTAKE),
        ("kernel", "SourceError", 2, Outcome.USER_MISTAKE),
        ("kernel", "NoSpace", 3, Outcome.INFRASTRUCTURE),
        ("kernel", "DeadlineExpired", 3, Outcome.INFRASTRUCTURE),
        ("kernel", "ValueError", 3, Outcome.INFRASTRUCTURE),
        ("guest", "GuestPanicked", 3, Outcome.NOT_BOOTED),
        ("guest", "GuestSilent", 3, Outcome.NOT_BOOTED),
        ("guest", "SshUnreachable", 3, Outcome.NOT_BOOTED),
        ("guest", "GuestLost", 3, Outcome.NOT_BOOTED),
        ("accel", "GuestLost", 3, Outcome.INFRASTRUCTURE),
        ("guest", "QemuError", 3, Outcome.INFRASTRUCTURE),
        ("guest", "PoolShort", 3, Outcome.INFRASTRUCTURE),
        ("done", "", 3, Outcome.PROBES_RAN),  # all that was wrong was LOST
    ],
)
def test_an_error_of_schema_1_has_its_outcome(
    stage: str, error: str, code: int, outcome: Outcome
) -> None:
    old = {"schema": 1, "verdict": "ERROR", "stage": stage, "error": error, "exit_code": code}
    assert msgspec.convert(upgrade.record(old), RunRecord).outcome is outcome


@pytest.mark.parametrize(
    ("verdict", "stage", "outcome"),
    [
        ("PASS", "done", Outcome.PROBES_RAN),
        ("FAIL", "done", Outcome.PROBES_RAN),
        ("PASS", "kernel", Outcome.BUILT_ONLY),
        ("INTERRUPTED", "guest", Outcome.INTERRUPTED),
        ("CUT", "kernel", Outcome.CUT),
    ],
)
def test_another_end_of_schema_1_has_its_outcome(
    verdict: str, stage: str, outcome: Outcome
) -> None:
    old = {"schema": 1, "verdict": verdict, "stage": stage, "error": ""}
    assert msgspec.convert(upgrade.record(old), RunRecord).outcome is outcome


@pytest.mark.parametrize("run", RUNS)
def test_an_old_run_is_judged_again(run: str) -> None:
    record, again = rundir.load(OLD / run), judging.judged_again(OLD / run)
    for old, new in zip(record.probes, again.probes, strict=True):
        assert (old.name, old.status, old.reason) == (new.name, new.status, new.reason)
        assert (old.blame, old.splats, old.leaks) == (new.blame, new.splats, new.leaks)
        assert (old.checkpoints, old.without_series) == (new.checkpoints, new.without_series)
    assert (again.verdict, again.reason) == (record.verdict, record.reason)


def test_old_evidence_has_its_accounting() -> None:
    directory = OLD / "probed" / "probes" / "baseline+memfd-alias+2M"
    evidence = rundir.read_evidence(directory)
    assert evidence is not None
    assert evidence.accounting is not None
    assert accounting.differences(evidence.accounting.before, evidence.accounting.after) == ()
    assert evidence.timeout_scale == 1.21
    changed = json.loads((directory / "evidence.json").read_text())
    changed["ledger"]["after"]["pool.2M.node0.free"] -= 1
    changed |= {"spoils": True, "on_base": ["FAIL"]}
    upgraded = upgrade.evidence(changed)
    assert upgraded["accounting"] == changed["ledger"]
    assert (upgraded["taints_guest"], upgraded["without_series"]) == (True, ["FAIL"])


def test_an_old_capture_says_why() -> None:
    splat = rundir.read_capture(OLD / "probed" / "probes" / "crash+memory")
    crash = rundir.read_capture(OLD / "probed" / "probes" / "crash+panic")
    assert splat is not None
    assert crash is not None
    assert (splat.why, crash.why) == ("splat", "crash")
    assert {step.name: step.result for step in crash.steps}["registers"] == "ok"


def test_todays_files_pass_unchanged() -> None:
    evidence = {"name": "a", "timeout_scale": 2.0, "accounting": None, "taints_guest": True}
    assert upgrade.evidence(evidence) == evidence
    capture = {"why": "splat", "steps": [{"name": "nmi", "result": "ok"}]}
    assert upgrade.capture(capture) == capture
    made_of = {"specs": [evidence], "programs": {"counters": "/x"}, "digests": {"counters": "0"}}
    assert upgrade.ingredients(made_of) == made_of


def test_an_old_run_and_a_new_one_are_compared() -> None:
    old = judging.judged_again(OLD / "probed")
    worse = ProbeResult(name="baseline/memfd-map/2M", status="FAIL", reason="now")
    new = msgspec.structs.replace(
        old, probes=tuple(worse if each.name == worse.name else each for each in old.probes)
    )
    found = compare.compare(old, new)
    assert [(each.name, each.kind) for each in found.changes] == [
        ("baseline/memfd-map/2M", "newly failing")
    ]
    assert compare.compare(new, old).exit_code == 0
    with pytest.raises(RecordError, match="no verdict to compare"):
        compare.compare(old, rundir.load(OLD / "cut"))


def test_a_campaign_decides_by_an_old_record_as_by_a_new_one() -> None:
    probed, refused, cut = (rundir.load(OLD / run) for run in RUNS)
    assert [state.decided(each) for each in (probed, refused, cut)] == [True, True, False]
    assert [state.counts(each) for each in (probed, refused, cut)] == [True, False, False]
    assert evaluate(Predicate(probes=("crash/panic",)), probed).term == "bad"
    assert evaluate(Predicate(probes=("hgm/split",)), probed).term == "absent"
    assert evaluate(Predicate(probes=("hgm/split",)), refused).term == "untestable"


def test_an_old_run_is_drawn_and_reported() -> None:
    (walked,) = judging.walks(OLD / "probed", "baseline/memfd-alias", None)
    assert (walked.result.length, walked.result.problems) == (2**21, ())
    assert walked.runs
    record = rundir.load(OLD / "probed")
    assert "crash/panic" in text.plain(record)
    assert b"crash" in junit.render(record)


def test_an_old_run_is_bundled_and_its_bundle_is_todays(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    made_of = rundir.load_ingredients(OLD / "probed")
    assert "counters" in made_of.programs  # which was called ledger
    for path in sorted((OLD / "probed").rglob("*")):
        if path.is_file():
            target = run_dir / path.relative_to(OLD / "probed")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    old = (run_dir / "ingredients.json").read_text()
    parts = [*made_of.programs.values(), made_of.kernel.image, made_of.kernel.config]
    for number, part in enumerate([*parts, made_of.image.manifest]):
        stand_in = tmp_path / f"part-{number}"
        stand_in.write_text(part)
        old = old.replace(json.dumps(part), json.dumps(str(stand_in)))
    changed = json.loads(old)
    changed["digests"] = {n: file_digest(Path(p)) for n, p in changed["programs"].items()}
    (run_dir / "ingredients.json").write_text(json.dumps(changed))
    target = tmp_path / "b.tar.xz"
    deadline = Deadline.after(60, "the test")
    bundle.write(run_dir, target, Workspace(tmp_path / "cache"), deadline, vmcores=False)
    shutil.unpack_archive(target, tmp_path / "elsewhere")
    again = rundir.load_ingredients(tmp_path / "elsewhere" / "b")
    assert again.programs["counters"] == "programs/counters"
    assert [spec.name for spec in again.specs] == [spec.name for spec in made_of.specs]
    assert rundir.load(tmp_path / "elsewhere" / "b") == rundir.load(run_dir)
