# SPDX-License-Identifier: GPL-2.0-only
"""What QEMU says about its guest's memory and registers."""

from pathlib import Path

from harness.vm.memory import Registers, parse_registers, ram_ranges

DATA = Path(__file__).parents[2] / "data" / "qemu"


def test_ram_is_what_the_cpus_see_as_ram() -> None:
    text = (DATA / "info-mtree-f.txt").read_text()
    assert ram_ranges(text) == (
        (0x0, 0xC0000),
        (0x100000, 0x80000000),
        (0x100000000, 0x200000000),
    )


def test_what_is_no_memory_tree_has_no_ram() -> None:
    assert ram_ranges("") == ()
    assert ram_ranges('FlatView #0\n AS "I/O", root: io\n  0-1 (prio 0, ram): x\n') == ()


def test_registers_in_user_mode() -> None:
    text = (DATA / "info-registers.txt").read_text()
    assert parse_registers(text) == Registers(0x1003BC000, 0x351EF0, 3)


def test_what_are_no_registers() -> None:
    assert parse_registers("") is None
    assert parse_registers("PC=0 CPL=0") is None
