# SPDX-License-Identifier: GPL-2.0-only
"""``info registers`` of QEMU 7.2, recorded from guests whose probe ran in user mode."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.arch import Arch, arch
from harness.vm import registers

X86, ARM64 = arch("x86_64"), arch("arm64")

DATA = Path(__file__).parents[2] / "data"
ALL = (DATA / "hang" / "registers.txt").read_text()


def test_one_vcpu() -> None:
    found = registers.parse((DATA / "qemu" / "info-registers.txt").read_text(), X86)
    assert found is not None
    assert (found.root, found.levels) == (0x1003BC000, 5)
    assert found.user
    assert not found.halted


def test_all_vcpus() -> None:
    first, _, later = ALL.partition("0.25 s later:")
    for text in (first, later):
        vcpus = registers.parse_all(text, X86)
        assert list(vcpus) == [0, 1]
        user = [vcpu for vcpu in vcpus.values() if vcpu.user]
        idle = [vcpu for vcpu in vcpus.values() if vcpu.halted]
        assert len(user) == len(idle) == 1
        assert user[0].pc < 2**47
        assert idle[0].pc > 2**63


def test_a_vcpu_in_a_timer_tick_is_in_user_mode_if_the_other_reading_says_so() -> None:
    first, _, later = ALL.partition("0.25 s later:")
    readings = registers.parse_all(first, X86), registers.parse_all(later, X86)
    (number,) = (number for number, vcpu in readings[0].items() if vcpu.user)
    in_user_mode = readings[1][number]
    assert in_user_mode.user
    tick = {number: in_user_mode._replace(user=False, pc=2**63)}
    assert registers.of_readings(tick, readings[1]) == {number: in_user_mode}
    assert registers.of_readings(readings[0], tick) == readings[0]
    assert registers.of_readings(tick, {}) == registers.of_readings(tick, tick) == tick


@pytest.mark.parametrize(
    ("guest", "shown", "levels"),
    [
        (X86, "RIP=1 CR3=0 CR4=00351ef0\n", 5),
        (X86, "RIP=1 CR3=0 CR4=00350ef0\n", 4),
        (ARM64, " PC=1 \nTTBR0_EL1=0\nTCR_EL1=95001f6b54c350c", 5),
        (ARM64, " PC=1 \nTTBR0_EL1=0\nTCR_EL1=f5b5503510", 4),
        (ARM64, " PC=1 \nTTBR0_EL1=0\nTCR_EL1=f5b5503519", None),
        (ARM64, " PC=1 \nTTBR0_EL1=0\nTCR_EL1=f5b550750c", 3),
        (ARM64, " PC=1 \nTTBR0_EL1=0\nTCR_EL1=f5b5507510", 3),
        (ARM64, " PC=1 \nTTBR0_EL1=0\nTCR_EL1=f5b550b510", None),
        (ARM64, " PC=1 \n", None),
    ],
)
def test_levels_of_page_tables(guest: Arch, shown: str, levels: int | None) -> None:
    found = registers.parse(shown, guest)
    assert found is not None
    assert found.levels == levels


def test_a_vcpu_of_arm64() -> None:
    """A probe that loops, and a CPU that has nothing to do."""
    vcpus = registers.parse_all((DATA / "qemu" / "info-registers-arm64.txt").read_text(), ARM64)
    assert [vcpu.user for vcpu in vcpus.values()] == [False, True]
    assert [vcpu.pc for vcpu in vcpus.values()] == [0xFFFF9C8920DDABC8, 0x4009A0]
    assert [vcpu.link for vcpu in vcpus.values()] == [0xFFFF9C8920DDABE0, 0x400694]
    # CNP in bit 0, an ASID from bit 48 on.
    text = " PC=1 \nTTBR0_EL1=2a000041a91041\n"
    assert (found := registers.parse(text, ARM64)) is not None
    assert found.root == 0x41A91040


def test_a_vcpu_that_is_cut_short_is_left_out() -> None:
    second = ALL.index("CPU#1")
    assert list(registers.parse_all(ALL[: second + 40], X86)) == [0]


@pytest.mark.parametrize("text", ["", "PC=0 CPL=0"])
def test_any_other_text_has_no_registers(text: str) -> None:
    assert registers.parse(text, X86) is None


@given(st.text())
def test_never_raises(text: str) -> None:
    found = registers.parse_all(text + "\nCPU#0\n" + text, X86)
    assert all(vcpu.pc >= 0 for vcpu in found.values())
