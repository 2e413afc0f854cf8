# SPDX-License-Identifier: GPL-2.0-only
"""UFFDIO_CONTINUE installs single base pages of a split huge page; twin of ``continue_4k.c``."""

import errno

import hgm_probe as hgm

FILLING = 1

fd = -1  # one huge page, filled


def fill_file() -> None:
    global fd
    fd = hgm.filled_memfd(FILLING)


def held_reader() -> None:
    primary, uffd = hgm.map_registered(fd, is_split=True)
    for page in (9, 10, hgm.huge_pages() - 1):
        start = hgm.address_of(primary) + page * hgm.BASE_PAGE
        touch = hgm.Touch(start)
        hgm.assert_fault(uffd, start, hgm.UFFD_PAGEFAULT_FLAG_MINOR)
        hgm.assert_continue(uffd, start, hgm.BASE_PAGE, 0, hgm.BASE_PAGE)
        hgm.assert_that(touch.end() == hgm.stamp(page, FILLING), f"page {page} showed another's")
    hgm.checkpoint(primary, "pmd:0,pte:3,present:3")


def whole_page() -> None:
    primary, uffd = hgm.map_registered(fd, is_split=True)
    start = hgm.address_of(primary)
    hgm.assert_continue(uffd, start, hgm.huge_size(), 0, hgm.huge_size())
    hgm.check_pages(primary, 0, hgm.huge_pages(), FILLING)


def mapped_twice() -> None:
    primary, uffd = hgm.map_registered(fd, is_split=True)
    start = hgm.address_of(primary) + 2 * hgm.BASE_PAGE
    hgm.assert_continue(uffd, start, hgm.BASE_PAGE, 0, hgm.BASE_PAGE)
    hgm.assert_continue(uffd, start, hgm.BASE_PAGE, errno.EEXIST, -errno.EEXIST)


hgm.run(
    [
        hgm.Test(
            "UFFDIO_CONTINUE of 4 KiB wakes the reader blocked on that base page", held_reader
        ),
        hgm.Test("UFFDIO_CONTINUE of the whole huge page maps all of it", whole_page),
        hgm.Test("UFFDIO_CONTINUE of a mapped base page is EEXIST", mapped_twice),
    ],
    needs_hgm=True,
    setup=fill_file,
)
