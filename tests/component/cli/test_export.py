# SPDX-License-Identifier: GPL-2.0-only
"""`hgm export`, and `hgm submit` against a server of our own."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import msgspec
import pytest
from kcidb_io.schema import V5_3

from harness.records.base import to_json
from harness.records.campaign import Bisection, Candidate
from harness.records.probe import ProbeResult
from harness.records.run import RunRecord
from harness.store import rundir
from tests.component.cli.test_cli import hgm
from tests.component.kcidb_server import Kcidb, serve
from tests.unit.report.records import PASSED, RUN
from tests.unit.study.test_postcopy import FIGURES


def keep(directory: Path, record: RunRecord) -> Path:
    """Write a record as a run leaves it."""
    directory.mkdir(parents=True)
    record = msgspec.structs.replace(record, run_dir=str(directory))
    (directory / "result.json").write_bytes(to_json(record))
    return directory


server = pytest.fixture(serve)


def test_every_format_of_a_run(tmp_path: Path) -> None:
    run = keep(tmp_path / "runs" / "one", RUN)
    said = {}
    for style in ("jsonl", "junit", "kcidb", "ktap", "markdown"):
        done = hgm(tmp_path, "export", str(run), "--format", style)
        assert (done.returncode, done.stderr) == (0, "")
        said[style] = done.stdout
    assert len(said["jsonl"].splitlines()) == 1 + len(RUN.probes)
    assert ElementTree.fromstring(said["junit"]).get("failures") == "2"  # noqa: S314 - our own
    assert V5_3.is_valid_exactly(json.loads(said["kcidb"]))
    assert said["ktap"].startswith("KTAP version 1\n1..7\n")
    assert said["markdown"].startswith("### hgm: FAIL\n")
    assert [path.name for path in run.iterdir()] == ["result.json"]


def test_kcidb_has_the_figures_of_a_study_whose_output_is_here(tmp_path: Path) -> None:
    where = rundir.directory_for("hgm/postcopy/1G")
    probe = ProbeResult(name="hgm/postcopy/1G", status="PASS", directory=where)
    run = keep(tmp_path / "one", msgspec.structs.replace(PASSED, probes=(probe,)))
    (run / where).mkdir(parents=True)
    (run / where / rundir.KTAP).write_text(f"KTAP version 1\n1..1\n# {FIGURES}\nok 1 one\n")
    (run / where / rundir.STDERR).touch()

    def numbers() -> list[str]:
        done = hgm(tmp_path, "export", str(run), "--format", "kcidb")
        assert (done.returncode, done.stderr) == (0, "")
        return [test["path"] for test in json.loads(done.stdout)["tests"] if "number" in test]

    assert numbers() == ["hgm.postcopy.1G.uniform.amplification"]
    (run / where / rundir.KTAP).unlink()
    assert numbers() == []


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    run = keep(tmp_path / "one", RUN)
    out = tmp_path / "out.ktap"
    done = hgm(tmp_path, "export", str(run), "--format", "ktap", "-o", str(out))
    assert (done.returncode, done.stdout) == (0, "")
    assert out.read_text().startswith("KTAP version 1\n")
    done = hgm(tmp_path, "export", str(run), "--format", "ktap", "-o", str(tmp_path / "no" / "x"))
    assert done.returncode == 2
    assert "cannot write" in done.stderr


def test_a_campaign_stands_for_its_runs_and_what_it_found(tmp_path: Path) -> None:
    campaign = tmp_path / "bisect-x"
    keep(campaign / "0001" / "a", PASSED)
    keep(campaign / "0002" / "b", RUN)
    (campaign / "0002" / "latest").symlink_to("b")
    suspects = (Candidate(id="0002", name="mm: break it"),)
    found = Bisection(predicate="bad", result="found", suspects=suspects, evaluations=())
    (campaign / "bisect.json").write_bytes(to_json(found))
    done = hgm(tmp_path, "export", str(campaign), "--format", "kcidb", "--origin", "me")
    data = json.loads(done.stdout)
    assert len([test for test in data["tests"] if test["path"] == ""]) == 2
    assert "introduced by 0002 mm: break it" in done.stdout
    assert {each["origin"] for each in data["issues"]} == {"me"}
    done = hgm(tmp_path, "export", str(campaign), "--format", "junit")
    assert done.returncode == 2
    assert "takes one run, and these are 2" in done.stderr


MISTAKES = [
    (("--format", "kcidb", "nowhere"), "nowhere"),
    (("--format", "yaml", "one"), "yaml"),
    (("--format", "kcidb", "--origin", "Me!", "one"), "Me!"),
    (("one",), "--format"),
]


@pytest.mark.parametrize(("words", "named"), MISTAKES)
def test_a_mistake_is_one_line(tmp_path: Path, words: tuple[str, ...], named: str) -> None:
    keep(tmp_path / "one", RUN)
    done = hgm(tmp_path, "export", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_run_is_posted_with_the_token_as_it_is_exported(tmp_path: Path, server: str) -> None:
    Kcidb.answers = [200]
    run = keep(tmp_path / "one", RUN)
    (tmp_path / "token").write_text("s3cret\n")
    words = ("--url", server, "--token-file", str(tmp_path / "token"), str(run))
    done = hgm(tmp_path, "submit", "kcidb", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"1 runs posted to {server}: stored [2J\n"
    ((path, authorization, data),) = Kcidb.posted
    assert (path, authorization) == ("/submit", "Bearer s3cret")
    exported = hgm(tmp_path, "export", "--format", "kcidb", str(run))
    assert json.loads(data) == json.loads(exported.stdout)
