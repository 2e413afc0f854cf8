# SPDX-License-Identifier: GPL-2.0-only
"""The benchmark of the site, with few runs."""

from __future__ import annotations

from pathlib import Path

from harness.context import Context
from harness.deadline import Deadline
from harness.progress import Silent
from harness.selfcheck import bench_report
from harness.workspace import Workspace


def test_it_builds_a_site_with_what_a_real_run_has(tmp_path: Path) -> None:
    context = Context(Workspace(tmp_path / "cache"), Deadline.after(600, "the test"), Silent())
    found = bench_report.report(3, 4, tmp_path / "bench", context)
    whole, unchanged, one_more = found.builds
    assert unchanged.written == 0
    assert 0 < one_more.written < whole.written
    site = tmp_path / "bench" / "site"
    maps = list(site.glob("run/*/map-*.svg"))
    assert len(maps) == 4 * 4
    assert "256 PMD" in (maps[0].parent / "index.html").read_text()
    *_, one_more = bench_report.report(2, 4, tmp_path / "bench", context).builds
    assert one_more.written > 0, "the run was there already"
