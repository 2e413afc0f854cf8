# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.kernel.interrupted import half_written
from harness.kernel.make import first_error

COMPILER = """\
  CC      mm/vma.o
mm/vma.c:3:1: warning: unused variable 'x' [-Wunused-variable]
make[3]: *** [scripts/Makefile.build:229: mm/vma.o] Error 1
mm/hugetlb.c: In function 'hugetlb_fault':
mm/hugetlb.c:812:9: error: 'foo' undeclared (first use in this function)
mm/hugetlb.c:900:9: error: 'bar' undeclared (first use in this function)
"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (COMPILER, "mm/hugetlb.c:812:9: error: 'foo' undeclared (first use in this function)"),
        ("a.c:1:1: fatal error: no x.h\n", "a.c:1:1: fatal error: no x.h"),
        (
            "ld: mm/hugetlb.o: in function `f':\n"
            "hugetlb.c:(.text+0x1): undefined reference to `g'\n"
            "make: *** [Makefile:1: vmlinux] Error 1\n",
            "hugetlb.c:(.text+0x1): undefined reference to `g'",
        ),
        ("mm/Kconfig:12: syntax error\nmake: *** x\n", "mm/Kconfig:12: syntax error"),
        ('ERROR: modpost: "x" undefined!\n', 'ERROR: modpost: "x" undefined!'),
        (
            "make[1]: *** No rule to make target 'mm/x.o', needed by 'mm/built-in.a'.  Stop.\n",
            "make[1]: *** No rule to make target 'mm/x.o', needed by 'mm/built-in.a'.  Stop.",
        ),
        ("  CC  a.o\nall is well\n", ""),
    ],
)
def test_first_real_error(log: str, expected: str) -> None:
    assert first_error(log.splitlines()) == expected


def test_half_written_files(tmp_path: Path) -> None:
    since = 1_000_000_000

    def file(name: str, age: int) -> None:
        path = tmp_path / name
        path.write_text("")
        os.utime(path, ns=(since + age, since + age))

    for name, object_at, record_at in (
        ("old.o", -9, -8),
        ("whole.o", 10, 11),
        ("partial.o", 20, -5),
        ("recording.o", 30, 31),
    ):
        file(name, object_at)
        file(f".{name}.cmd", record_at)
    file(".recording.o.d", 29)
    file("unrecorded.o", 5)
    file("autoconf.h", 5)
    found = {path.name for path in half_written(tmp_path, since)}
    assert found == {"partial.o", "recording.o", "unrecorded.o"}
