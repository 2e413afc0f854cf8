# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import pytest

from harness.errors import SeriesError
from harness.kernel.series.applying import leaves
from harness.kernel.series.check import numstat
from harness.kernel.series.directory import is_cover_letter, quilt_series


@pytest.mark.parametrize(
    ("path", "target", "out"),
    [
        ("a", "b", False),
        ("d/a", "../b", False),
        ("scripts/dtc/include-prefixes/arm", "../../../arch/arm/boot/dts", False),
        ("d/a", "./../b", False),
        ("a", "/etc/passwd", True),
        ("a", "../b", True),
        ("d/a", "../../b", True),
        ("d/e/a", "../x/../../../b", True),
        ("a", "b/../../c", True),
        ("d/a", "b/../c", True),
        ("a", "", True),
    ],
)
def test_link_that_leaves_the_tree(path: str, target: str, out: bool) -> None:
    assert leaves(path, target) == out


def test_numstat() -> None:
    changes = numstat("3\t0\tmm/a b.c\x00-\t-\tlogo.png\x00")
    assert [(c.path, c.added, c.removed) for c in changes] == [
        ("mm/a b.c", 3, 0),
        ("logo.png", None, None),
    ]


def test_quilt_series_has_comments_and_levels() -> None:
    text = "# head\n\none.patch\n  two.patch -p0 # why\nthree#3.patch -p2\n"
    assert quilt_series(text, "series") == (
        ("one.patch", 1),
        ("two.patch", 0),
        ("three#3.patch", 2),
    )


def test_reversed_patch_is_refused() -> None:
    with pytest.raises(SeriesError, match="series:1: unknown option '-R'"):
        quilt_series("one.patch -R\n", "series")


def test_cover_letter() -> None:
    assert is_cover_letter(b"From: a\nSubject: [PATCH 0/3] x\n\n")
    assert not is_cover_letter(b"From: a\nSubject: [PATCH 1/3] x\n\nSubject: [PATCH 0/3]")
