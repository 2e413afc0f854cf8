# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import pytest

from harness.image import cpio, tree
from harness.image.tree import Entry


def test_the_bytes_of_one_file() -> None:
    # Documentation/driver-api/early-userspace/buffer-format.rst: magic, then 13 fields of 8 digits.
    wanted = (
        b"070701"
        b"00000001" b"000081A4" b"00000000" b"00000000" b"00000001" b"00000000" b"00000003"
        b"00000000" b"00000000" b"00000000" b"00000000" b"00000005" b"00000000"
        b"init\0" b"\0"
        b"abc\0"
    )  # fmt: skip
    assert cpio.archive([tree.file("init", b"abc")]).startswith(wanted)


def test_a_device_has_its_numbers_and_the_trailer_ends_it() -> None:
    data = cpio.archive([tree.character_device("dev/console", 5, 1)])
    assert data[6 + 9 * 8 : 6 + 11 * 8] == b"0000000500000001"
    assert data.rstrip(b"\0").endswith(b"TRAILER!!!")


@pytest.mark.parametrize("size", range(9))
def test_archives_can_follow_one_another(size: int) -> None:
    assert len(cpio.archive([tree.file("x" * (size + 1), b"y" * size)])) % 4 == 0


def test_a_name_that_the_kernel_cannot_take() -> None:
    with pytest.raises(ValueError, match="too long"):
        cpio.archive([Entry("x" * 4095, 0o100644)])
