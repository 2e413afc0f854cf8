# SPDX-License-Identifier: GPL-2.0-only
"""A minor fault on an unsplit huge page, and its continue."""

import errno

import hgm_probe as hgm

FILLING = 1

fd = -1  # one huge page, filled


def fill_file() -> None:
    global fd
    fd = hgm.filled_memfd(FILLING)


def fault_is_answered() -> None:
    primary, uffd = hgm.map_registered(fd)
    start = hgm.address_of(primary)
    touch = hgm.Touch(start + 5 * hgm.BASE_PAGE)
    hgm.assert_fault(uffd, start, hgm.UFFD_PAGEFAULT_FLAG_MINOR)
    hgm.assert_continue(uffd, start, hgm.huge_size(), 0, hgm.huge_size())
    hgm.assert_that(
        touch.end() == hgm.stamp(5, FILLING), "the blocked read gave another word than the page has"
    )
    hgm.check_pages(primary, 0, hgm.huge_pages(), FILLING)


def mapped_twice() -> None:
    primary, uffd = hgm.map_registered(fd)
    start = hgm.address_of(primary)
    hgm.assert_continue(uffd, start, hgm.huge_size(), 0, hgm.huge_size())
    hgm.assert_continue(uffd, start, hgm.huge_size(), errno.EEXIST, -errno.EEXIST)


def part_is_refused() -> None:
    primary, uffd = hgm.map_registered(fd)
    start = hgm.address_of(primary)
    hgm.assert_continue(uffd, start, hgm.BASE_PAGE, errno.EINVAL, -errno.EINVAL)


hgm.run(
    [
        hgm.Test(
            "a minor fault of a read reports the huge page's address; UFFDIO_CONTINUE ends it",
            fault_is_answered,
        ),
        hgm.Test("UFFDIO_CONTINUE of a mapped huge page is EEXIST", mapped_twice),
        hgm.Test("UFFDIO_CONTINUE of part of an unsplit huge page is EINVAL", part_is_refused),
    ],
    pages=1,
    setup=fill_file,
)
