# SPDX-License-Identifier: GPL-2.0-only
"""The reference series on arm64, with a fault on top. One kernel is built."""

from collections.abc import Callable

from tests.kernel.conftest import Run, hgm
from tests.kernel.test_seeded import PATCHES, assert_wrong_subpage_is_found

__all__ = ["hgm"]

Hgm = Callable[..., Run]


def test_a_wrong_subpage_is_found_from_outside_on_arm64(hgm: Hgm) -> None:
    fault = PATCHES / "faults" / "wrong-subpage-hidden-in-pagemap.patch"
    kernel = ("--arch", "arm64", "--series", "hgm-6.12-arm64", "--with", str(fault))
    assert_wrong_subpage_is_found(hgm, *kernel)
