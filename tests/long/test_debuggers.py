# SPDX-License-Identifier: GPL-2.0-only
"""gdb and drgn look at the kernel of a guest. Two are built, with debug information.

Debian's packages gdb and gdb-multiarch must be installed.
"""

import re
from collections.abc import Callable

import pexpect
import pytest

from tests.kernel.conftest import STOCK, Run, hgm, terminal

__all__ = ["hgm"]

Hgm = Callable[..., Run]

_STOCK = ("--kernel", STOCK, "--series", "none")
_KERNEL = (*_STOCK, "--config", "debuginfo", "--no-disk")

_on_each_arch = pytest.mark.parametrize(
    "kernel", [_KERNEL, (*_KERNEL, "--arch", "arm64")], ids=["x86", "arm64"]
)

_DRGN = """
from drgn.helpers.linux.hugetlb import for_each_hstate, huge_page_size

print(prog["init_task"].comm.string_().decode())
for hstate in for_each_hstate(prog):
    print(int(huge_page_size(hstate)) >> 20, int(hstate.nr_huge_pages))
"""


@_on_each_arch
def test_drgn_reads_a_kernel_that_runs(hgm: Hgm, kernel: tuple[str, ...]) -> None:
    run = hgm("guest", "drgn", *kernel, "--hugepages", "1G:1,2M:7", "--", "-q", "-e", _DRGN)
    assert run.code == 0, run.err
    assert run.out.splitlines()[0] == "swapper/0"
    sizes = set(run.out.splitlines()[1:])  # arm64 has two more, without pages
    assert {each for each in sizes if not each.endswith(" 0")} == {"1024 1", "2 7"}


@_on_each_arch
def test_gdb_stops_a_kernel_and_knows_its_lines(hgm: Hgm, kernel: tuple[str, ...]) -> None:
    # Not `info line`: the first line of a function may be of one that was inlined into it.
    words = ("-nx", "-batch", "-ex", "info threads", "-ex", "info functions ^hugetlb_fault$")
    run = hgm("guest", "gdb", *kernel, "--", *words, "-ex", "p hstates[0].nr_huge_pages")
    assert run.code == 0, run.err
    assert "(CPU#1" in run.out
    assert re.search(r"mm/hugetlb\.c:\n\d+:.* hugetlb_fault\(", run.out)
    assert "$1 = " in run.out


def test_a_break_on_the_console_makes_sysrq_of_the_next_key() -> None:
    with terminal("guest", "shell", "--console", *_KERNEL) as shell:
        shell.expect("hgm: init done.*/ # ")
        shell.send("\x01bh")
        shell.expect("sysrq: HELP : ")
        shell.send("\x01x")
        shell.expect(pexpect.EOF)
    assert shell.exitstatus == 0


def test_what_a_debugger_lacks_is_said_before_anything_is_built(hgm: Hgm) -> None:
    run = hgm("guest", "drgn", *_STOCK)
    assert run.code == 2
    assert "drgn needs a kernel that has types and tells QEMU where it is; add --config" in run.err
