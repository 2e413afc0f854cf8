# SPDX-License-Identifier: GPL-2.0-only
"""``info registers`` of QEMU 7.2, recorded from guests whose probe ran in user mode."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.vm import registers

DATA = Path(__file__).parents[2] / "data"
ALL = (DATA / "hang" / "registers.txt").read_text()


def test_one_vcpu() -> None:
    found = registers.parse((DATA / "qemu" / "info-registers.txt").read_text())
    assert found is not None
    assert (found.cr3, found.cr4, found.cpl) == (0x1003BC000, 0x351EF0, 3)
    assert found.five_levels
    assert not found.halted


def test_all_vcpus() -> None:
    first, _, later = ALL.partition("0.25 s later:")
    for text in (first, later):
        vcpus = registers.parse_all(text)
        assert list(vcpus) == [0, 1]
        user = [vcpu for vcpu in vcpus.values() if vcpu.cpl == 3]
        idle = [vcpu for vcpu in vcpus.values() if vcpu.halted]
        assert len(user) == len(idle) == 1
        assert user[0].rip < 2**47
        assert idle[0].rip > 2**63


@pytest.mark.parametrize(("cr4", "five"), [("00351ef0", True), ("00350ef0", False)])
def test_levels_of_page_tables(cr4: str, five: bool) -> None:
    found = registers.parse(f"RIP=1 CPL=0 HLT=0 CR3=0 CR4={cr4}\n")
    assert found is not None
    assert found.five_levels is five


def test_a_vcpu_that_is_cut_short_is_left_out() -> None:
    second = ALL.index("CPU#1")
    assert list(registers.parse_all(ALL[: second + 40])) == [0]


@pytest.mark.parametrize("text", ["", "PC=0 CPL=0"])
def test_any_other_text_has_no_registers(text: str) -> None:
    assert registers.parse(text) is None


@given(st.text())
def test_never_raises(text: str) -> None:
    found = registers.parse_all(text + "\nCPU#0\n" + text)
    assert all(vcpu.rip >= 0 for vcpu in found.values())
