# SPDX-License-Identifier: GPL-2.0-only
"""smaps, pagemap and mincore agree about a split mapping."""

import hgm_probe as hgm

FILLING = 1

fd = -1


def fill_file() -> None:
    global fd
    fd = hgm.filled_memfd(FILLING, 1)


COUNT = hgm.PMD_PAGE // hgm.BASE_PAGE


def assert_mapped_pages(memory: hgm.mmap.mmap, pages: list[int], **by_level: int) -> None:
    """Fail unless of the first 2 MiB just these pages are mapped, and smaps counts these bytes."""
    present = hgm.pagemap_pages(memory, hgm.PAGEMAP_PRESENT, COUNT)
    hgm.assert_that(present == pages, f"pagemap: pages {present} are present, expected {pages}")
    hgm.assert_mapped(memory, **by_level)


def assert_views(memory: hgm.mmap.mmap, pages: list[int], **by_level: int) -> None:
    """The same, and that mincore shows just these."""
    assert_mapped_pages(memory, pages, **by_level)
    in_core = hgm.mincore_pages(memory, COUNT)
    hgm.assert_that(in_core == pages, f"mincore: pages {in_core} are resident, expected {pages}")


def as_it_fills() -> None:
    primary, uffd = hgm.map_registered(fd, is_split=True)
    start = hgm.address_of(primary)
    # Where no page table is yet, mincore() says whether the file has the page.
    assert_mapped_pages(primary, [])
    hgm.assert_continue(uffd, start + 3 * hgm.BASE_PAGE, hgm.BASE_PAGE, 0, hgm.BASE_PAGE)
    assert_views(primary, [3], pte=hgm.BASE_PAGE)
    hgm.assert_continue(uffd, start + 5 * hgm.BASE_PAGE, 8192, 0, 8192)
    assert_views(primary, [3, 5, 6], pte=3 * hgm.BASE_PAGE)
    hgm.checkpoint(primary, "pmd:0,pte:3,present:3")
    hgm.collapse(primary)
    assert_views(primary, [*range(512)], **{hgm.whole_level(): hgm.huge_size()})
    error = hgm.advise(primary, hgm.mmap.MADV_DONTNEED)
    hgm.assert_that(error == 0, f"MADV_DONTNEED: expected success, got {hgm.error_name(error)}")
    assert_views(primary, [])


def in_one_step() -> None:
    primary, uffd = hgm.map_registered(fd, is_split=True)
    length = hgm.PMD_PAGE
    hgm.assert_continue(uffd, hgm.address_of(primary), length, 0, length)
    assert_views(primary, [*range(512)], pmd=length)


hgm.run(
    [
        hgm.Test(
            "smaps, pagemap and mincore agree as a huge page fills, collapses and goes", as_it_fills
        ),
        hgm.Test(
            "smaps, pagemap and mincore show 2 MiB that were continued in one call", in_one_step
        ),
    ],
    needs_hgm=True,
    pages=1,
    setup=fill_file,
)
