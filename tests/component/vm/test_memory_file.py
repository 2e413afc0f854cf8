# SPDX-License-Identifier: GPL-2.0-only
"""Copies of sparse files, in memory."""

import contextlib
import os
from pathlib import Path

from harness.vm import memory_file

MIB = 1 << 20


def test_a_copy_has_the_content_and_the_holes_of_a_sparse_file(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    parts = {0: b"begin" * 2000, 5 * MIB + 17: os.urandom(3 * MIB), 64 * MIB - 1: b"e"}
    with path.open("wb") as file:
        for start, data in parts.items():
            file.seek(start)
            file.write(data)
    with contextlib.ExitStack() as stack:
        copy = memory_file.copy(path, stack)
        assert os.fstat(copy).st_size == 64 * MIB
        assert os.pread(copy, 65 * MIB, 0) == path.read_bytes()
        assert os.fstat(copy).st_blocks * 512 < 4 * MIB
        os.pwrite(copy, b"other", 0)
    assert path.read_bytes().startswith(b"begin")


def test_a_file_of_holes_has_no_extents(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.touch()
    os.truncate(path, MIB)
    with path.open("rb") as file:
        assert list(memory_file.extents(file.fileno())) == []
