# SPDX-License-Identifier: GPL-2.0-only
"""Pre-copy and post-copy of split and of whole huge pages, in one guest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.kernel.conftest import Run

MIB = 2**20


def test_a_split_page_moves_what_is_touched_and_a_whole_one_moves_all(
    hgm: Callable[..., Run], tmp_path: Path
) -> None:
    words = ("--series", "hgm-6.12", "--hugepages", "1G:1,2M:8", "--runs-dir", str(tmp_path))
    run = hgm("study", "postcopy", *words, "--json")
    assert run.code == 0, run.err
    found = {
        (row["probe"], row["figures"]["pattern"]): row["figures"] for row in run.record["rows"]
    }
    patterns = ("sequential", "uniform", "zipf", "moving")
    for size in ("1G", "2M"):
        for pattern in patterns:
            split = found[f"hgm/postcopy/{size}", pattern]
            assert split["unit"] == 4096
            assert split["moved"] == split["touched"]
        assert found[f"hgm/postcopy/{size}", "uniform+push"]["moved"] >= 8 * MIB
    for row in run.record["rows"]:
        if row["probe"].startswith("hgm/postcopy/") and "push" in row["figures"]["pattern"]:
            assert row["collapse_ns"] > 0
            assert [each["mapping"] for each in row["afterwards"]] == ["base", "collapsed", "huge"]
            assert row["residence"][-1]["moved"] == row["figures"]["moved"]
    guarantees = {each["memory"]: each for each in run.record["guarantees"]}
    split = guarantees["hugetlb 2M, split"]
    assert (split["reserved"], split["fragmented"]) == ("4 of 4", "4 of 4")
    assert (split["faults"], split["tracking"]) == ("yes", "yes: async, sync")
    assert split["collapse"] == "MADV_COLLAPSE"
    assert guarantees["hugetlb 2M, whole"]["faults"] == "no, 2 MiB"
    assert guarantees["shmem THP, mlock"]["fragmented"] == "0 of 4"
    assert guarantees["hugetlb 2M, added at run time"]["fragmented"] == "0 of 4"
    assert found["baseline/postcopy-whole/1G", "sequential"]["moved"] == 1024 * MIB
    for pattern in patterns:
        assert found["baseline/postcopy/2M", pattern]["moved"] % (2 * MIB) == 0
        shmem = found["baseline/postcopy-shmem/2M", pattern]
        assert shmem["moved"] == shmem["touched"]
    tracked = {
        (row["probe"], row["figures"]["method"], row["figures"]["pattern"]): row["figures"]
        for row in run.record["precopy"]
    }
    for method in ("async", "sync"):
        for pattern in patterns:
            for size in ("1G", "2M"):
                split = tracked[f"hgm/precopy/{size}", method, pattern]
                assert split["reported"] == split["written"]
            whole = tracked["baseline/precopy/1G", method, pattern]
            assert whole["reported"] == whole["rounds"] * 1024 * MIB


def test_each_of_two_userfaultfds_gets_the_faults_of_its_part(
    hgm: Callable[..., Run], tmp_path: Path
) -> None:
    options = "--uffds 2 --threads 8 --readers 1"
    names = ("hgm/postcopy", "baseline/postcopy/2M", "baseline/postcopy-shmem")
    run = hgm(
        *("run", "--series", "hgm-6.12", "--hugepages", "1G:2,2M:8", "--runs-dir", str(tmp_path)),
        *(word for name in names for word in ("--probe", f"{name} {options}")),
        "--json",
    )
    assert run.code == 0, run.err
    study = hgm("study", "postcopy", "--read", run.record["run_dir"], "--json").record
    assert {row["probe"] for row in study["rows"]} == {
        *("hgm/postcopy/1G", "hgm/postcopy/2M"),
        *("baseline/postcopy/2M", "baseline/postcopy-shmem/2M"),
    }
    for row in study["rows"]:
        figures = row["figures"]
        assert (figures["threads"], figures["readers"], figures["uffds"]) == (8, 1, 2)
        if figures["unit"] == 4096 and "push" not in figures["pattern"]:
            assert figures["moved"] == figures["touched"]
    (gigantic,) = {row["figures"]["memory"] for row in study["rows"] if "1G" in row["probe"]}
    assert gigantic == 2048 * MIB
