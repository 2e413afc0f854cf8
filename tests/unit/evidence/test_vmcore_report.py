# SPDX-License-Identifier: GPL-2.0-only
"""What needs no dump; the dump itself is in tests/long/test_crashes.py."""

import pytest

from harness.evidence import vmcore_report


@pytest.mark.parametrize("end", [b"", b"\0"])
def test_flags_have_the_kernels_names(end: bytes) -> None:
    names = {0: b"rd", 1: b"wr", 3: b"sh", 22: b"ht", 41: b"hm"}
    letters = b"".join(names.get(bit, b"??") + end for bit in range(64))
    assert vmcore_report.flag_names(1 << 41 | 0x40000B, letters) == ["rd", "wr", "sh", "ht", "hm"]
    assert vmcore_report.flag_names(1 << 63 | 5, letters) == ["rd", "bit 2", "bit 63"]
    assert vmcore_report.flag_names(0, letters) == []


def test_flags_without_names_are_numbers() -> None:
    assert vmcore_report.flag_names(0x400008, b"") == ["bit 3", "bit 22"]


def test_an_error_in_a_section_is_printed_after_what_came_before(capsys: object) -> None:
    def broken(prog: object) -> object:
        yield "one line"
        raise LookupError("no such symbol")

    vmcore_report._section("a part", broken, None)  # type: ignore[arg-type]
    out = capsys.readouterr().out  # type: ignore[attr-defined]
    assert out == (
        "==== a part\none line\nthe rest cannot be read: LookupError: no such symbol\n\n"
    )
