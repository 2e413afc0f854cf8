# SPDX-License-Identifier: GPL-2.0-only
"""What makes two runs comparable from night to night."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.kernel import specs
from harness.kernel.obtain import KernelRequest
from harness.records.history import Cell
from harness.records.machine import AccelChoice, HugePages
from harness.records.outcome import Outcome
from harness.records.run import RequestSummary, RunRecord
from harness.run.request import RunRequest
from harness.run.subject import Subject
from harness.store import rundir
from harness.store.history.cell import cell_id, cell_of, run_id
from tests.unit.store.pasts import MACHINE, asking, night

CELL = Cell(
    kernel="debian:linux-source-6.12",
    series="hgm-6.12",
    config="base",
    machine="1G:2, 2 CPUs, 1 node, 4 GiB",
    accel="tcg",
    probes="all",
)


def test_the_cell_of_a_run() -> None:
    assert cell_of(night(1)) == CELL


@pytest.mark.parametrize(
    ("request_", "differs"),
    [
        (asking(series="none"), {"series": "none"}),
        (asking(first=3), {"series": "hgm-6.12 first 3"}),
        (asking(extra=("/p/x.patch", "4")), {"series": "hgm-6.12 with /p/x.patch with 4"}),
        (asking(features=("debug", "kasan")), {"config": "base+debug+kasan"}),
        (asking(probes=("b/*", "a/*")), {"probes": "a/*, b/*"}),
        (asking(probes=("a/*",), kselftests=("mm",)), {"probes": "a/*, kselftest mm"}),
        (asking(touched="hgm-6.12"), {"probes": "touched by hgm-6.12"}),
        (asking(build_only=True), {"machine": "", "accel": "", "probes": ""}),
    ],
)
def test_what_was_asked_for_makes_the_cell(
    request_: RequestSummary, differs: dict[str, str]
) -> None:
    assert cell_of(night(1, request=request_)) == msgspec.structs.replace(CELL, **differs)


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"cpus": 1, "nodes": 2}, "1G:2, 1 CPU, 2 nodes, 4 GiB"),
        ({"hvo": True, "hugetlb_cma": True}, "1G:2, 2 CPUs, 1 node, 4 GiB, HVO, hugetlb_cma"),
        ({"hugepages": (), "memory": 3 * 2**29}, "no huge pages, 2 CPUs, 1 node, 1.5 GiB"),
        (
            {"hugepages": (HugePages(size=2**21, count=8),), "arch": "aarch64"},
            "2M:8, 2 CPUs, 1 node, 4 GiB, aarch64",
        ),
    ],
)
def test_the_machine_is_part_of_the_cell(machine: dict[str, object], words: str) -> None:
    record = msgspec.structs.replace(night(1), machine=msgspec.structs.replace(MACHINE, **machine))
    assert cell_of(record) == msgspec.structs.replace(CELL, machine=words)


def test_another_night_is_the_same_cell_and_another_accelerator_is_not() -> None:
    kvm = msgspec.structs.replace(night(1), accel=AccelChoice(name="kvm", reason="", cpu="host"))
    cells = [cell_of(each) for each in (night(1), night(2), kvm)]
    assert cells[0] == cells[1] != cells[2]
    assert None not in cells
    assert len({cell_id(cell) for cell in cells if cell}) == 2


def test_a_kernel_that_was_not_built_is_compared_as_a_build() -> None:
    assert cell_of(night(1, outcome=Outcome.NOT_COMPILED)) == CELL.line


def test_a_replay_and_an_old_record_have_no_cell() -> None:
    assert cell_of(night(1, request=None)) is None


def test_the_id_of_a_run_stays_when_its_directory_is_moved() -> None:
    moved = msgspec.structs.replace(night(1), run_dir="/elsewhere/20261102-020000-debian-0001")
    assert run_id(night(1)) == run_id(moved) != run_id(night(2))


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("debian:linux-source-6.12=6.12.118-1", "debian:linux-source-6.12"),
        ("debian:linux-source-6.12@sid", "debian:linux-source-6.12"),
        ("tree:/src/linux", "tree:/src/linux"),
        ("git:/src/linux@next", "git:/src/linux@next"),
        ("git:/src/linux@v6.12.3", "git:/src/linux@v6.12"),
        ("git:/src/linux@v7.0-rc2", "git:/src/linux@v7.0"),
        ("git:https://x.org/l@v6.12.3-mine", "git:https://x.org/l@v6.12.3-mine"),
        ("git:/src/linux@0123456789ab", "git:/src/linux"),
        (f"tar:/x/linux.tar.xz#sha256={'0' * 64}", "tar:/x/linux.tar.xz"),
    ],
)
def test_the_version_of_a_source_is_not_part_of_its_line(spec: str, line: str) -> None:
    assert specs.parse_source(spec).line == line


def test_a_local_path_is_absolute_in_what_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kernel = KernelRequest(source="tree:linux", series="git:mine@v1..v2", first=2, arch="x86_64")
    asked = RunRequest(subject=Subject(kernel=kernel, machine=MACHINE), probes=("a/*",)).summary
    assert (asked.kernel, asked.series) == (f"tree:{tmp_path}/linux", f"git:{tmp_path}/mine")
    assert (asked.first, asked.probes) == (2, ("a/*",))


@pytest.mark.parametrize(
    ("path", "runs", "kind"),
    [
        ("/r/20261101-a-1f2e", "/r", ""),
        ("/r/bisect-hgm-6.12-0123abcd/0003/20261101-a-1f2e", "/r", "bisect"),
        ("/r/matrix-nightly-0123abcd/c1/20261101-a-1f2e", "/r", "matrix"),
        ("/r/bisect-notes/0003/20261101-a-1f2e", "/r/bisect-notes/0003", ""),
    ],
)
def test_a_path_says_which_campaign_a_run_is_part_of(path: str, runs: str, kind: str) -> None:
    assert rundir.campaign_of(Path(path)) == (Path(runs), kind)


def test_a_campaign_is_told_by_the_name_that_it_is_given() -> None:
    for kind in rundir.CAMPAIGNS:
        directory = rundir.campaign_directory(Path("/r"), kind, "git:x y", "0123abcd")
        assert rundir.campaign_of(directory / "step" / "run") == (Path("/r"), kind)


def test_run_directories_are_found_wherever_they_are(tmp_path: Path) -> None:
    for name in ("b", "a", "bisect-x-0123abcd/1/c", "a/probes/x"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "result.json").write_text("{}")
    (tmp_path / "latest").symlink_to("b")
    found = [str(each.relative_to(tmp_path)) for each in rundir.find_runs(tmp_path)]
    assert found == ["a", "b", "bisect-x-0123abcd/1/c"]
    assert list(rundir.find_runs(tmp_path / "b")) == [tmp_path / "b"]


def test_a_record_keeps_the_request(tmp_path: Path) -> None:
    store = rundir.RunStore(tmp_path, RunRecord(request=asking(first=1)))
    assert rundir.load(tmp_path).request == store.record.request == asking(first=1)
