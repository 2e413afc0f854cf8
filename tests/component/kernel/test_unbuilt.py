# SPDX-License-Identifier: GPL-2.0-only
"""Whole runs of kernels that are not built: their records, mails and KCIDB."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness import pipeline
from harness.campaign.compare import compare
from harness.context import Context
from harness.kernel.obtain import KernelRequest
from harness.records.outcome import Outcome
from harness.records.probe import ProbeResult
from harness.records.run import RunRecord
from harness.report import compare_mail, kcidb
from harness.report.mail import Letter
from harness.run.request import RunRequest
from harness.run.subject import Subject
from harness.store import rundir
from harness.vm import spec
from tests.component.kernel.conftest import run
from tests.unit.report import test_mail as mails

MAIL = """\
From git@z Thu Jan  1 00:00:00 1970
From: A <a@example.org>
Message-ID: <one@example.org>
Subject: [PATCH] mm: edit

---
 mm/hugetlb.c | 2 +-

diff --git a/mm/hugetlb.c b/mm/hugetlb.c
--- a/mm/hugetlb.c
+++ b/mm/hugetlb.c
@@ -1,4 +1,4 @@
-{first};
+int edited;
 int line_2;
 int line_3;
 int line_4;
"""

Run = Callable[[str], RunRecord]


@pytest.fixture
def build(tmp_path: Path, repository: Path, context: Context, make_log: Path) -> Run:
    """Run `hgm run --build-only` on the toy repository with a series."""

    def call(series: str) -> RunRecord:
        source = f"git:{repository}@v1"
        kernel = KernelRequest(source=source, series=series, arch="x86_64")
        machine = spec.machine((), arch_name="x86_64")
        request = RunRequest(subject=Subject(kernel=kernel, machine=machine), build_only=True)
        return pipeline.run(request, tmp_path / "runs", context)

    return call


def series(tmp_path: Path, first: str = "int line_1") -> str:
    (tmp_path / "v1.mbox").write_text(MAIL.replace("{first}", first))
    return f"mbox:{tmp_path}/v1.mbox"


def checkout(record: RunRecord) -> Any:
    (found,) = json.loads(kcidb.encode(kcidb.document([record])))["checkouts"]
    return found


def mail_after(base: RunRecord, broken: RunRecord) -> Letter:
    """Return the mail of a comparison with a run of the base in which a probe passed."""
    passed = (ProbeResult(name="baseline/smaps/2M", status="PASS"),)
    probed = msgspec.structs.replace(base, outcome=Outcome.PROBES_RAN, probes=passed)
    found = compare(probed, broken)
    (letter,) = compare_mail.letters(found, probed, broken, Path(broken.run_dir))
    return letter


def test_a_series_that_does_not_compile(
    build: Run, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = build("none")
    assert base.kernel is not None
    assert base.tried is None
    monkeypatch.setenv("FAKE_MAKE", "compile-error")
    record = build(series(tmp_path))
    assert record.outcome is Outcome.NOT_COMPILED
    assert rundir.load(Path(record.run_dir)) == record
    assert record.kernel is None
    assert record.tried is not None
    assert [each.how for each in record.tried.series.patches] == ["exact"]
    assert record.tried.series.tree != record.tried.source.tree == base.kernel.source.tree
    assert record.tried.config == base.kernel.config
    assert record.tried.toolchain == base.kernel.toolchain
    assert base.is_base_of(record)
    # What the golden mails are made of has what a real record has, and no more.
    fields = {name for name in record.__struct_fields__ if getattr(mails.BROKEN, name)}
    known = {name for name in record.__struct_fields__ if getattr(record, name)}
    assert fields - {"probes"} <= known

    letter = mail_after(base, record)
    assert letter.subject == "Re: [PATCH] mm: edit"
    assert letter.references == ("one@example.org",)
    assert b"CONFIG_" in letter.config
    text = "\n".join(letter.body)
    assert "The kernel without the series could be tested." in text
    commit = run("git", "rev-parse", "v1", cwd=repository).strip()
    for line in (
        f"base       commit {commit}",
        "series     mbox:v1.mbox, 1 patch",
        f"           tree {record.tried.series.tree}",
        "The configuration is attached as config.gz.",
    ):
        assert line in letter.body

    found = checkout(record)
    assert found["git_commit_hash"] == commit
    assert found["message_id"] == "one@example.org"
    assert found["valid"] is True
    monkeypatch.setenv("FAKE_MAKE", "ok")
    assert checkout(build(series(tmp_path)))["id"] == found["id"]


def test_a_series_that_does_not_apply(build: Run, tmp_path: Path) -> None:
    record = build(series(tmp_path, "int nothing_like_it"))
    assert record.outcome is Outcome.PATCH_REFUSED
    assert record.kernel is None
    assert record.tried is not None
    assert record.tried.series.tree == ""
    assert not record.tried.config.known
    (patch,) = record.tried.series.patches
    assert patch.how == "planned"
    found = checkout(record)
    assert found["valid"] is False
    assert found["message_id"] == "one@example.org"
    assert found["patchset_hash"] == hashlib.sha256(f"{patch.digest}\n".encode()).hexdigest()
    assert len(found["git_commit_hash"]) == 40
    assert found["misc"]["run"] == Path(record.run_dir).name
    other = build(series(tmp_path, "int nothing_at_all"))
    assert checkout(other)["id"] != found["id"]


def test_a_configuration_that_the_kernel_cannot_have(
    build: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MAKE_REFUSES", "HUGETLBFS")
    record = build(series(tmp_path))
    assert record.outcome is Outcome.CONFIG_REFUSED
    assert record.tried is not None
    assert record.tried.series.tree
    assert not record.tried.config.known
    assert not (Path(record.run_dir) / rundir.BUILD_CONFIG).exists()
