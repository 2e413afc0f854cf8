# SPDX-License-Identifier: GPL-2.0-only
"""`info registers -a` of QEMU 7.2, recorded from a guest whose probe ran for ever in user mode."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.evidence import registers

RECORDED = Path(__file__).parents[2] / "data" / "hang" / "registers.txt"


def test_recorded_registers() -> None:
    first, _, later = RECORDED.read_text().partition("0.25 s later:")
    for text in (first, later):
        vcpus = registers.parse(text)
        assert [vcpu.number for vcpu in vcpus] == [0, 1]
        user = [vcpu for vcpu in vcpus if vcpu.level == 3]
        idle = [vcpu for vcpu in vcpus if vcpu.halted]
        assert len(user) == len(idle) == 1
        assert user[0].pc < 2**47
        assert idle[0].pc > 2**63


def test_a_cpu_that_is_cut_short_is_left_out() -> None:
    text = RECORDED.read_text()
    second = text.index("CPU#1")
    assert [vcpu.number for vcpu in registers.parse(text[: second + 40])] == [0]


@given(st.text())
def test_never_raises(text: str) -> None:
    assert all(vcpu.pc >= 0 for vcpu in registers.parse(text + "\nCPU#0\n" + text))
