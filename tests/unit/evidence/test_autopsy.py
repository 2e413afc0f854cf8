# SPDX-License-Identifier: GPL-2.0-only
"""What needs no dump; the dump itself is in tests/long/test_crashes.py."""

from harness.evidence import autopsy


def test_flag_names() -> None:
    assert autopsy.flag_names(0x4000FB) == ["read", "write", "shared", "hugetlb"]
    assert autopsy.flag_names(0) == []
    assert autopsy.flag_names(0x400200 | 1 << 38) == ["uffd-missing", "hugetlb"]


def test_a_section_that_cannot_be_read_says_so_and_keeps_what_came_before(capsys: object) -> None:
    def broken(prog: object) -> object:
        yield "one line"
        raise LookupError("no such symbol")

    autopsy._section("a part", broken, None)  # type: ignore[arg-type]
    out = capsys.readouterr().out  # type: ignore[attr-defined]
    assert out == (
        "==== a part\none line\nthe rest cannot be read: LookupError: no such symbol\n\n"
    )
