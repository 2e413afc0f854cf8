# SPDX-License-Identifier: GPL-2.0-only
"""A memory dump that QEMU makes, opened with drgn. The machine has not run one instruction."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import drgn

from harness.arch import arch
from harness.deadline import Deadline
from harness.evidence import vmcore, vmcore_report
from harness.records.machine import AccelChoice
from harness.vm import qemu, spec

ARM64 = arch("arm64")
PAGE = 4096
PAGES = 20  # more than QEMU takes for a block

TEXT = 0xFFFF800080000000


def image() -> bytes:
    """Return what QEMU takes for a kernel (Documentation/arch/arm64/booting.rst)."""
    data = bytearray(b"".join(bytes([number]) * PAGE for number in range(1, PAGES + 1)))
    data[8:24] = bytes(8) + len(data).to_bytes(8, "little")  # text_offset, image_size
    at = ARM64.image_magic_at
    data[at : at + 4] = ARM64.image_magic.encode()
    return bytes(data)


def test_a_dump_of_arm64_has_blocks_of_64k_and_is_read_in_pages_of_4k(tmp_path: Path) -> None:
    kernel = tmp_path / "Image"
    kernel.write_bytes(image())
    machine = spec.machine((), memory=2**28, arch_name=ARM64.name)
    tcg = AccelChoice(name="tcg", cpu=ARM64.cpu_tcg, reason="")
    deadline = Deadline.after(60, "a dump")
    with qemu.started(machine, tcg, qemu.BootFiles(str(kernel)), tmp_path, deadline) as paused:
        vmcore.take(paused, tmp_path / vmcore.NAME, 2**26, deadline)
    symbols = SimpleNamespace(symbol=lambda name: SimpleNamespace(address=TEXT))
    info = vmcore_report.vmcoreinfo(cast(drgn.Program, symbols), "6.12.1", ARM64, levels=5)
    prog = vmcore_report.opened(str(tmp_path / vmcore.NAME), ARM64.drgn, info)
    assert prog["PAGE_SIZE"].value_() == PAGE
    assert prog.read(ARM64.drgn.loaded_at, PAGE * PAGES, physical=True) == image()
    assert prog.read(ARM64.drgn.loaded_at + 17 * PAGE, 8, physical=True) == bytes([18]) * 8
