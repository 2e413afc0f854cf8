# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's ``info mtree -f``."""

from pathlib import Path

from harness.vm.memory import ram_ranges

DATA = Path(__file__).parents[2] / "data" / "qemu"


def test_ram_is_what_the_cpus_see_as_ram() -> None:
    text = (DATA / "info-mtree-f.txt").read_text()
    assert ram_ranges(text) == (
        (0x0, 0xC0000),
        (0x100000, 0x80000000),
        (0x100000000, 0x200000000),
    )


def test_any_other_text_has_no_ram() -> None:
    assert ram_ranges("") == ()
    assert ram_ranges('FlatView #0\n AS "I/O", root: io\n  0-1 (prio 0, ram): x\n') == ()
