# SPDX-License-Identifier: GPL-2.0-only
"""Kernels that are wrong on purpose where only the second judges look: the books, and the walk."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import data
from harness.arch import host_arch
from harness.context import Context
from harness.deadline import Deadline
from harness.kernel import faults
from harness.kernel.faults import Fault
from harness.kernel.obtain import KernelRequest, check_series
from harness.progress import Silent
from harness.workspace import Workspace
from tests.kernel.conftest import STOCK, Run

Hgm = Callable[..., Run]

PATCHES = data.directory("kernel-patches")


def with_fault(directory: Path, fault: str, base: str = "") -> str:
    """Return the spec of a series that is ``base``, if there is one, with a fault on top."""
    names = (PATCHES / base / "series").read_text().split() if base else []
    directory.mkdir()
    for name in names:
        shutil.copy(PATCHES / base / name, directory)
    shutil.copy(PATCHES / "faults" / f"{fault}.patch", directory)
    (directory / "series").write_text("\n".join([*names, f"{fault}.patch", ""]))
    return f"dir:{directory}"


@pytest.mark.parametrize("fault", faults.load(), ids=lambda fault: str(fault.name))
def test_a_fault_fits_what_it_stands_on_to_the_line(fault: Fault) -> None:
    checked = check_series(
        KernelRequest(
            source=fault.kernel or STOCK, series=f"fault:{fault.name}", arch=host_arch().name
        ),
        context=Context(Workspace.default(), Deadline.after(120, "the series"), Silent()),
    )
    # A store that has the blobs merges three ways what others would have to refuse.
    assert {patch.end for patch in checked.patches} == {"exact"}


def test_a_leaked_page_of_1_gib_is_found_by_the_books(hgm: Hgm, tmp_path: Path) -> None:
    series = with_fault(tmp_path / "series", "page-lost-with-its-file")
    probes = ("--probe", "baseline/memfd-map/*", "--probe", "baseline/smaps/2M")
    run = hgm("run", "--kernel", STOCK, "--series", series, *probes, "--json")
    assert run.code == 1, run.err
    assert run.statuses() == {
        "baseline/memfd-map/1G": "FAIL",
        "baseline/memfd-map/2M": "PASS",
        "baseline/smaps/2M": "PASS",
    }
    lost = run.record["probes"][0]
    assert lost["reason"].startswith("leak: pool.1G.node0.free 2 -> ")
    # The probe itself saw nothing, and neither did the kernel.
    assert {each["status"] for each in lost["subtests"]} == {"PASS"}
    assert lost["splats"] == []
    changed = {each["what"]: each["after"] - each["before"] for each in lost["leaks"]}
    pages = -changed["pool.1G.node0.free"]
    assert pages >= 1
    assert changed == {"pool.1G.node0.free": -pages, "cgroup.1G.used": pages << 30}
    serial = Path(run.record["run_dir"], "serial.log").read_text()
    assert serial.count("Linux version") == 2  # nobody else got its guest


def test_a_wrong_subpage_is_found_from_outside_though_smaps_and_pagemap_look_right(
    hgm: Hgm, tmp_path: Path
) -> None:
    series = with_fault(tmp_path / "series", "wrong-subpage-hidden-in-pagemap", "hgm-6.12")
    assert_wrong_subpage_is_found(hgm, "--series", series)


def assert_wrong_subpage_is_found(hgm: Hgm, *kernel: str) -> None:
    words = (*kernel, "--probe", "hgm/continue-4k", "--probe", "hgm/smaps")
    run = hgm("run", "--kernel", STOCK, *words, "--json")
    assert run.code == 1, run.err
    statuses = run.statuses()
    # What asks the kernel alone is content; what shows contents and the walk are not.
    assert {statuses["hgm/smaps/1G"], statuses["hgm/smaps/2M"]} == {"PASS"}
    for size in ("1G", "2M"):
        assert statuses[f"hgm/continue-4k/{size}"] == "FAIL"
    for probe in run.record["probes"]:
        if not probe["name"].startswith("hgm/continue-4k"):
            continue
        problems = {look["name"]: look["problems"] for look in probe["checkpoints"]}
        lie, wrong = problems[
            "UFFDIO_CONTINUE of 4 KiB maps that base page only, with its contents"
        ]
        assert lie.startswith("page 3 is present at 0x")
        assert wrong.startswith("wrong subpage: 0x")
        assert "(page 3 of its huge page)" in wrong
        assert not any("smaps" in each for each in (lie, wrong))
        # One entry, and the right one.
        assert problems["UFFDIO_CONTINUE of the whole huge page maps all of it"] == []
    again = hgm("judge", run.record["run_dir"], "--json")
    assert json.loads(again.out)["probes"] == run.record["probes"]
