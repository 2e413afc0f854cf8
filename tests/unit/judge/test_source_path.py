# SPDX-License-Identifier: GPL-2.0-only
import pytest

from harness.judge.source_path import below_tree


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/build/src/mm/hugetlb.c", "mm/hugetlb.c"),
        ("mm/hugetlb.c", "mm/hugetlb.c"),
        ("/home/mm/trees/x/src/fs/userfaultfd.c", "fs/userfaultfd.c"),
        ("/home/mm/trees/x/src/.build-0a/../fs/userfaultfd.c", "fs/userfaultfd.c"),
        ("./arch/x86/include/asm/pgtable.h", "arch/x86/include/asm/pgtable.h"),
        ("../kernel/fork.c", "kernel/fork.c"),
        ("/elsewhere/x.c", "/elsewhere/x.c"),
    ],
)
def test_below_tree(path: str, shown: str) -> None:
    assert below_tree(path) == shown
