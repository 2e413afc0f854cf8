# SPDX-License-Identifier: GPL-2.0-only
"""fork() of a half filled split mapping: what child and parent see; twin of ``fork.c``."""

import os

import hgm_probe as hgm

FILLING, REFILLING = 1, 2
FILLED = 16  # base pages

fd = -1


def fill_file() -> None:
    global fd
    fd = hgm.filled_memfd(FILLING, FILLED)


def in_child(primary: hgm.mmap.mmap) -> int:
    """Run in the child; return its exit code."""
    try:
        hgm.check_pages(primary, 0, FILLED, FILLING)
        hgm.fill_pages(primary, 6, 1, REFILLING)
    except hgm.Fail as why:
        print(f"# the child: {why}", flush=True)
        return 1
    return 0


def half_filled() -> None:
    primary, uffd = hgm.map_registered(fd, is_split=True)
    start = hgm.address_of(primary)
    hgm.assert_continue(uffd, start, 4 * hgm.BASE_PAGE, 0, 4 * hgm.BASE_PAGE)
    child = os.fork()
    if child == 0:
        os._exit(in_child(primary))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    hgm.assert_that(code == 0, f"the child ended with {code}")
    hgm.assert_no_fault(uffd)
    hgm.assert_mapped(primary, pte=4 * hgm.BASE_PAGE)
    hgm.assert_continue(uffd, start + 6 * hgm.BASE_PAGE, hgm.BASE_PAGE, 0, hgm.BASE_PAGE)
    hgm.check_pages(primary, 6, 1, REFILLING)
    hgm.check_pages(primary, 0, 4, FILLING)


hgm.run(
    [
        hgm.Test(
            "fork in minor mode: the child sees the whole file, the parent keeps its entries",
            half_filled,
        )
    ],
    needs_hgm=True,
    setup=fill_file,
)
