# SPDX-License-Identifier: GPL-2.0-only
"""MADV_COLLAPSE makes one entry of many, and maps the holes; twin of ``collapse.c``."""

import errno

import hgm_probe as hgm

FILLING = 1
FILLED = 64  # base pages; the others are zero

fd = -1


def fill_file() -> None:
    global fd
    fd = hgm.filled_memfd(FILLING, FILLED)


def holes_become_mapped() -> None:
    primary, uffd = hgm.map_registered(fd, is_split=True)
    start = hgm.address_of(primary)
    for page in (0, 3, FILLED - 1):
        hgm.assert_continue(uffd, start + page * hgm.BASE_PAGE, hgm.BASE_PAGE, 0, hgm.BASE_PAGE)
    hgm.assert_mapped(primary, pte=3 * hgm.BASE_PAGE)
    hgm.collapse(primary)
    hgm.assert_mapped(primary, **{hgm.whole_level(): hgm.huge_size()})
    hgm.check_pages(primary, 0, FILLED, FILLING)
    zeroes = primary[FILLED * hgm.BASE_PAGE : (FILLED + 16) * hgm.BASE_PAGE]
    hgm.assert_that(not any(zeroes), "what was never written is not zero")
    hgm.assert_no_fault(uffd)


def interface_stays() -> None:
    primary, uffd = hgm.map_registered(fd, is_split=True)
    start = hgm.address_of(primary)
    hgm.collapse(primary)
    hgm.assert_continue(uffd, start, hgm.BASE_PAGE, errno.EEXIST, -errno.EEXIST)


def marks_go() -> None:
    features, modes = hgm.UFFD_FEATURE_WP_HUGETLBFS_SHMEM, hgm.UFFDIO_REGISTER_MODE_WP
    primary, uffd = hgm.map_registered(fd, is_split=True, features=features, modes=modes)
    start = hgm.address_of(primary)
    hgm.assert_that(hgm.uffd_protect(uffd, start, 8 * hgm.BASE_PAGE, on=True) == 0, "not protected")
    hgm.assert_that(hgm.pagemap_pages(primary, hgm.PAGEMAP_UFFD_WP, 16) == [*range(8)], "no marks")
    hgm.collapse(primary)
    hgm.assert_that(hgm.pagemap_pages(primary, hgm.PAGEMAP_UFFD_WP, 16) == [], "marks are left")
    hgm.fill_pages(primary, 0, 8, FILLING)
    hgm.assert_no_fault(uffd)


hgm.run(
    [
        hgm.Test(
            "MADV_COLLAPSE maps the unmapped base pages, zero where never written",
            holes_become_mapped,
        ),
        hgm.Test(
            "after MADV_COLLAPSE the mapping is still split: UFFDIO_CONTINUE of 4 KiB is EEXIST",
            interface_stays,
        ),
        hgm.Test("MADV_COLLAPSE clears write protection of its range", marks_go),
    ],
    needs_hgm=True,
    setup=fill_file,
)
