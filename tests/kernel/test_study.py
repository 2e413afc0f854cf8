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
