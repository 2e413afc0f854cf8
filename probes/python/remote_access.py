# SPDX-License-Identifier: GPL-2.0-only
"""The kernel reads and writes base pages of a split mapping; twin of ``remote_access.c``."""

import ctypes
import os

import hgm_probe as hgm

FILLING = 1
FILLED = 16  # base pages

fd = -1


class Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def fill_file() -> None:
    global fd
    fd = hgm.filled_memfd(FILLING, FILLED)


def map_four() -> tuple[hgm.mmap.mmap, int]:
    """Return a mapping with base pages 2 to 5 continued, and where it starts."""
    primary, uffd = hgm.map_registered(fd, is_split=True)
    start = hgm.address_of(primary)
    hgm.assert_continue(uffd, start + 2 * hgm.BASE_PAGE, 4 * hgm.BASE_PAGE, 0, 4 * hgm.BASE_PAGE)
    return primary, start


def vm_readv() -> None:
    primary, start = map_four()
    length = 4 * hgm.BASE_PAGE
    buffer = hgm.mmap.mmap(-1, length)
    local = Iovec(hgm.address_of(buffer), length)
    remote = Iovec(start + 2 * hgm.BASE_PAGE, length)
    one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
    libc, here, there = hgm.libc, ctypes.byref(local), ctypes.byref(remote)
    done = libc.process_vm_readv(os.getpid(), here, one, there, one, none)
    hgm.assert_that(done == length, f"{done} bytes: {hgm.error_name(ctypes.get_errno())}")
    seen = memoryview(buffer).cast("B").cast("Q")[:: hgm.BASE_PAGE // 8].tolist()
    wanted = hgm.stamps(2, 4, FILLING).tolist()
    hgm.assert_that(seen == wanted, f"read {[hgm.describe(value) for value in seen]}")
    hgm.assert_mapped(primary, pte=length)


def proc_mem() -> None:
    primary, start = map_four()
    mem = os.open("/proc/self/mem", os.O_RDWR)
    at = 3 * hgm.BASE_PAGE - 3 + 0x400
    hgm.assert_that(os.pwrite(mem, b"hugetlb", start + at) == 7, "a short write")
    hgm.assert_that(os.pread(mem, 7, start + at) == b"hugetlb", "it reads something else")
    alias = hgm.map_shared(fd, hgm.huge_size())
    hgm.assert_that(alias[at : at + 7] == b"hugetlb", "the other mapping does not show it")
    hgm.check_pages(primary, 2, 4, FILLING)


hgm.run(
    [
        hgm.Test("process_vm_readv reads four base pages of a split huge page", vm_readv),
        hgm.Test(
            "/proc/self/mem writes and reads across base pages of a split huge page", proc_mem
        ),
    ],
    needs_hgm=True,
    setup=fill_file,
)
