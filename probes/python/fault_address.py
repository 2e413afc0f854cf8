# SPDX-License-Identifier: GPL-2.0-only
"""After MADV_SPLIT a fault message has the base page's address; twin of ``fault_address.c``."""

import hgm_probe as hgm

FILLING = 1
FILLED = 16  # base pages

fd = -1


def fill_file() -> None:
    global fd
    fd = hgm.filled_memfd(FILLING, FILLED)


def fault_at(features: int, page: int, offset: int, seen: int) -> None:
    """Read byte ``offset`` of a page; the message must carry byte ``seen`` of it."""
    primary, uffd = hgm.map_registered(fd, is_split=True, features=features)
    start = hgm.address_of(primary) + page * hgm.BASE_PAGE
    touch = hgm.Touch(start + offset)
    hgm.assert_fault(uffd, start + seen, hgm.UFFD_PAGEFAULT_FLAG_MINOR)
    hgm.assert_continue(uffd, start, hgm.BASE_PAGE, 0, hgm.BASE_PAGE)
    touch.end()
    hgm.assert_no_fault(uffd)
    hgm.assert_that(
        hgm.pagemap_pages(primary, hgm.PAGEMAP_PRESENT, FILLED) == [page], "other pages"
    )


def base_page() -> None:
    fault_at(0, 5, 0x128, 0)


def exact() -> None:
    fault_at(hgm.UFFD_FEATURE_EXACT_ADDRESS, 7, 0x128, 0x128)


def write_fault() -> None:
    primary, uffd = hgm.map_registered(fd, is_split=True)
    start = hgm.address_of(primary) + 6 * hgm.BASE_PAGE
    touch = hgm.Touch(start + 0x40, 0x1234)
    flags = hgm.UFFD_PAGEFAULT_FLAG_MINOR | hgm.UFFD_PAGEFAULT_FLAG_WRITE
    hgm.assert_fault(uffd, start, flags)
    hgm.assert_that(touch.is_held(), "the writer was not held")
    hgm.assert_continue(uffd, start, hgm.BASE_PAGE, 0, hgm.BASE_PAGE)
    touch.end()
    hgm.check_pages(primary, 6, 1, FILLING)
    alias = hgm.map_shared(fd, hgm.huge_size())
    at = 6 * hgm.BASE_PAGE + 0x40
    hgm.assert_that(alias[at : at + 2] == b"\x34\x12", "the other mapping does not show the write")


hgm.run(
    [
        hgm.Test(
            "a minor fault in a split mapping reports the address of the base page", base_page
        ),
        hgm.Test(
            "with UFFD_FEATURE_EXACT_ADDRESS a minor fault reports the accessed address", exact
        ),
        hgm.Test("a write fault in a split mapping has UFFD_PAGEFAULT_FLAG_WRITE", write_fault),
    ],
    needs_hgm=True,
    setup=fill_file,
)
