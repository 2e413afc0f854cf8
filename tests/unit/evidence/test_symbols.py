# SPDX-License-Identifier: GPL-2.0-only
"""A text of the kernel with files and lines; where they come from: tests/component/evidence."""

from harness.evidence import symbols


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
