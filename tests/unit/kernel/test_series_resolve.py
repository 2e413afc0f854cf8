# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import SeriesError
from harness.kernel.series.patch import Patch
from harness.kernel.series.resolve import match

MAILED = [Patch(name=f"[PATCH v2 {n}/3] mm/hugetlb: {w}", data=b"") for n, w in enumerate("abc", 1)]
COMMITS = [Patch(name=f"0123456789a{w} mm/hugetlb: {w}", data=b"") for w in "abc"]
FILES = [Patch(name=f"000{n}-mm-{w}.patch", data=b"") for n, w in enumerate("abc", 1)]


@pytest.mark.parametrize(
    ("file", "patches", "index"),
    [
        ("0002-ported.patch", MAILED, 1),
        ("2.patch", MAILED, 1),
        ("02_x.diff", MAILED, 1),
        ("mm-hugetlb-b.patch", MAILED, 1),
        ("0002-mm-b.patch", FILES, 1),
        ("mm-hugetlb-b.patch", COMMITS, 1),
    ],
)
def test_file_replaces_a_patch(file: str, patches: list[Patch], index: int) -> None:
    assert match([file], patches, Path("/r")) == {index: file}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["0004-x.patch"], r"0004-x\.patch matches none of the 3 patches"),
        (["0000-x.patch"], "matches none"),
        (["other.patch"], "matches none"),
        (["2.patch", "0002-x.patch"], r"2\.patch and 0002-x\.patch both match patch 2"),
    ],
)
def test_file_that_matches_no_patch_or_two(files: list[str], expected: str) -> None:
    with pytest.raises(SeriesError, match=expected):
        match(files, MAILED, Path("/r"))
