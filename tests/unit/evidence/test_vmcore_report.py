# SPDX-License-Identifier: GPL-2.0-only
"""What needs no dump; the dump itself is in tests/long/test_crashes.py."""

import re
from pathlib import Path

import drgn
import pytest

from harness.arch import arch
from harness.evidence import vmcore_report

DATA = Path(__file__).parents[2] / "data"


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


def test_registers_that_a_dump_lacks_come_from_the_monitor() -> None:
    """The first members of arm64's ``struct pt_regs`` are those of ``struct user_pt_regs``."""
    needs = arch("arm64").drgn
    prog = drgn.Program(drgn.Platform(drgn.Architecture[needs.name]))
    word = prog.int_type("unsigned long", 8, False)
    names = ("regs", "sp", "pc", "pstate", "orig_x0")
    types = (prog.array_type(word, 31), word, word, word, word)
    members = [
        drgn.TypeMember(kind, name, 0 if name == "regs" else 64 * (30 + at))
        for at, (name, kind) in enumerate(zip(names, types, strict=True))
    ]
    kind = prog.struct_type("pt_regs", 280, members)
    prog.register_type_finder("test", lambda *asked: kind, enable_index=0)
    text = (DATA / "qemu" / "info-registers-arm64.txt").read_text()
    found = vmcore_report.saved_registers(prog, needs, text, cpu=0)
    assert found.pc.value_() == int(re.findall(r"PC=([0-9a-f]+)", text)[0], 16)
    assert found.regs[30].value_() == int(re.findall(r"X30=([0-9a-f]+)", text)[0], 16)
    assert found.orig_x0.value_() == 0
    with pytest.raises(LookupError, match="registers of CPU 7"):
        vmcore_report.saved_registers(prog, needs, text, cpu=7)
