# SPDX-License-Identifier: GPL-2.0-only
"""Names to addresses and back, and what addr2line prints, without running it."""

import pytest

from harness.evidence import symbols

NM = """\
ffffffff81000000 T _text
ffffffff81000000 T startup_64
ffffffff81000040 t helper
ffffffff81000060 T hugetlb_fault
ffffffff81000100 t helper
ffffffff81000180 D some_data
ffffffff81000200 T _end
                 U nothing
"""


@pytest.mark.parametrize(
    ("name", "offset", "size", "address"),
    [
        ("hugetlb_fault", 0x12, 0xA0, 0xFFFFFFFF81000072),
        ("helper", 0x4, 0x20, 0xFFFFFFFF81000044),
        ("helper", 0x4, 0x100, 0xFFFFFFFF81000104),
        ("nobody", 0x4, 0x20, None),
    ],
)
def test_address(name: str, offset: int, size: int, address: int | None) -> None:
    assert symbols.Map(NM).address(name, offset, size) == address


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0xFFFFFFFF81000072, "hugetlb_fault+0x12/0xa0"),
        (0xFFFFFFFF81000001, "_text+0x1/0x40"),
        (0xFFFFFFFF80000000, ""),
        (0xFFFFFFFF90000000, ""),
        (0x401000, ""),
    ],
)
def test_name(address: int, name: str) -> None:
    assert symbols.Map(NM).name(address) == name


def test_no_symbols_at_all() -> None:
    assert symbols.Map("").name(1) == ""
    assert symbols.Map("").address("f", 1, 2) is None


def test_addr2line() -> None:
    printed = (
        "0xffffffff81000072\n"
        "huge_pte_lock\n"
        "/cache/trees/x/src/include/linux/hugetlb.h:1234\n"
        "hugetlb_fault\n"
        "/cache/trees/x/src/mm/hugetlb.c:812 (discriminator 3)\n"
        "0xffffffff81000104\n"
        "helper\n"
        "??:?\n"
        "0xffffffff90000000\n"
        "??\n"
        "??:0\n"
    )
    assert symbols.parse_addr2line(printed) == {
        0xFFFFFFFF81000072: (
            ("huge_pte_lock", "include/linux/hugetlb.h:1234"),
            ("hugetlb_fault", "mm/hugetlb.c:812"),
        ),
        0xFFFFFFFF81000104: (("helper", ""),),
        0xFFFFFFFF90000000: (),
    }


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("/build/src/mm/hugetlb.c:12", "mm/hugetlb.c:12"),
        ("mm/hugetlb.c:12", "mm/hugetlb.c:12"),
        ("/home/mm/trees/x/src/fs/userfaultfd.c:7 (discriminator 1)", "fs/userfaultfd.c:7"),
        ("/home/mm/trees/x/src/.build-0a/../fs/userfaultfd.c:7", "fs/userfaultfd.c:7"),
        ("./arch/x86/include/asm/pgtable.h:5", "arch/x86/include/asm/pgtable.h:5"),
        ("../kernel/fork.c:9", "kernel/fork.c:9"),
        ("??:0", ""),
        ("??:?", ""),
        ("x.c:?", ""),
    ],
)
def test_in_tree(where: str, shown: str) -> None:
    assert symbols.in_tree(where) == shown


def test_decoded() -> None:
    names = {
        "hugetlb_fault+0x12/0xa0": (
            "huge_pte_lock at include/linux/hugetlb.h:1234",
            "hugetlb_fault at mm/hugetlb.c:812",
        ),
        "helper+0x4/0x20": ("helper",),
    }
    text = "[    1.0] RIP: 0010:hugetlb_fault+0x12/0xa0\n ? helper+0x4/0x20\n f+0x1/0x2\n"
    assert symbols.decoded(text, names) == (
        "[    1.0] RIP: 0010:hugetlb_fault+0x12/0xa0 (mm/hugetlb.c:812, "
        "inlined huge_pte_lock at include/linux/hugetlb.h:1234)\n"
        " ? helper+0x4/0x20\n f+0x1/0x2\n"
    )
