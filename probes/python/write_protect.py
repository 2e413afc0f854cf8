# SPDX-License-Identifier: GPL-2.0-only
"""UFFDIO_WRITEPROTECT of base pages in a split huge page; twin of ``write_protect.c``."""

import hgm_probe as hgm

FILLING, REFILLING = 1, 2
FILLED = 16  # base pages

fd = -1


def fill_file() -> None:
    global fd
    fd = hgm.filled_memfd(FILLING, FILLED)


def map_both_modes() -> tuple[hgm.mmap.mmap, int, int]:
    """Return a mapping with eight pages continued, its userfaultfd, and where it starts."""
    features, modes = hgm.UFFD_FEATURE_WP_HUGETLBFS_SHMEM, hgm.UFFDIO_REGISTER_MODE_WP
    primary, uffd = hgm.map_registered(fd, is_split=True, features=features, modes=modes)
    start = hgm.address_of(primary)
    hgm.assert_continue(uffd, start, 8 * hgm.BASE_PAGE, 0, 8 * hgm.BASE_PAGE)
    return primary, uffd, start


def protect(uffd: int, start: int, pages: int, *, on: bool = True) -> None:
    error = hgm.uffd_protect(uffd, start, pages * hgm.BASE_PAGE, on=on)
    hgm.assert_that(error == 0, f"UFFDIO_WRITEPROTECT: {hgm.error_name(error)}")


def one_page() -> None:
    primary, uffd, start = map_both_modes()
    protect(uffd, start + 3 * hgm.BASE_PAGE, 1)
    hgm.check_pages(primary, 0, 8, FILLING)
    hgm.fill_pages(primary, 0, 3, REFILLING)
    hgm.fill_pages(primary, 4, 4, REFILLING)
    hgm.assert_no_fault(uffd)
    touch = hgm.Touch(start + 3 * hgm.BASE_PAGE + 0x40, 1)
    flags = hgm.UFFD_PAGEFAULT_FLAG_WP | hgm.UFFD_PAGEFAULT_FLAG_WRITE
    hgm.assert_fault(uffd, start + 3 * hgm.BASE_PAGE, flags)
    hgm.assert_that(touch.is_held(), "the writer was not held")
    protect(uffd, start + 3 * hgm.BASE_PAGE, 1, on=False)
    touch.end()
    hgm.check_pages(primary, 3, 1, FILLING)
    hgm.fill_pages(primary, 0, 8, FILLING)


def marks_of_holes() -> None:
    primary, uffd, start = map_both_modes()
    protect(uffd, start + 6 * hgm.BASE_PAGE, 4)
    marked = hgm.pagemap_pages(primary, hgm.PAGEMAP_UFFD_WP, FILLED)
    hgm.assert_that(marked == [6, 7, 8, 9], f"marks on {marked}")
    present = hgm.pagemap_pages(primary, hgm.PAGEMAP_PRESENT, FILLED)
    hgm.assert_that(present == [*range(8)], f"present are {present}")
    page = start + 8 * hgm.BASE_PAGE
    hgm.assert_continue(uffd, page, hgm.BASE_PAGE, 0, hgm.BASE_PAGE)
    marked = hgm.pagemap_pages(primary, hgm.PAGEMAP_UFFD_WP, FILLED)
    hgm.assert_that({6, 7, 9} <= set(marked), f"after the continue marks are on {marked}")


hgm.run(
    [
        hgm.Test(
            "a write to a write-protected base page blocks, writes to its neighbours do not",
            one_page,
        ),
        hgm.Test(
            "UFFDIO_WRITEPROTECT protects holes; UFFDIO_CONTINUE of one leaves the others so",
            marks_of_holes,
        ),
    ],
    needs_hgm=True,
    setup=fill_file,
)
