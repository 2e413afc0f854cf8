# SPDX-License-Identifier: GPL-2.0-only
"""What the interface is for: a huge page is fetched by 4 KiB on demand, then collapsed.

One thread uses the memory as a guest would, the other is the migration's handler. Each page is
written through the alias just before it is continued, so that a thread that sees it earlier, or
sees another page, reads wrong contents.
"""

import ctypes
import threading

import hgm_probe as hgm

FILLING = 1
PAGES = 32

fd = -1


def make_file() -> None:
    global fd
    fd = hgm.huge_memfd(1)


def order() -> list[int]:
    """Return the pages in the order of their use: spread over the huge page, each once."""
    step = hgm.huge_pages() // PAGES
    return [(page * 13 % PAGES) * step + page % step for page in range(PAGES)]


class Guest(threading.Thread):
    """Reads the first word of each page in a foreign call, which a fault may block."""

    def __init__(self, start: int) -> None:
        super().__init__(daemon=True)
        self.seen: list[int] = []
        self._start_address = start

    def run(self) -> None:
        word = ctypes.c_uint64()
        for page in order():
            address = ctypes.c_void_p(self._start_address + page * hgm.BASE_PAGE)
            hgm.libc.memcpy(ctypes.byref(word), address, ctypes.c_size_t(8))
            self.seen.append(word.value)


def on_demand() -> None:
    alias = hgm.map_shared(fd, hgm.huge_size())
    alias[0] = 0  # the file has the huge page now, all zero
    primary, uffd = hgm.map_registered(fd, is_split=True)
    start = hgm.address_of(primary)
    guest = Guest(start)
    guest.start()
    for page in order():
        address = start + page * hgm.BASE_PAGE
        hgm.assert_fault(uffd, address, hgm.UFFD_PAGEFAULT_FLAG_MINOR)
        hgm.fill_pages(alias, page, 1, FILLING)
        hgm.assert_continue(uffd, address, hgm.BASE_PAGE, 0, hgm.BASE_PAGE)
    guest.join(hgm.scaled(hgm.EVENT_SECONDS))
    hgm.assert_that(
        not guest.is_alive(), "the guest's thread is still blocked after the last UFFDIO_CONTINUE"
    )
    for page, value in zip(order(), guest.seen, strict=True):
        seen, wanted = hgm.describe(value), hgm.describe(hgm.stamp(page, FILLING))
        hgm.assert_that(seen == wanted, f"the guest read {seen} in page {page}, expected {wanted}")
    hgm.assert_mapped(primary, pte=PAGES * hgm.BASE_PAGE)
    hgm.collapse(primary)
    hgm.assert_mapped(primary, **{hgm.whole_level(): hgm.huge_size()})
    for page in order():
        hgm.check_pages(primary, page, 1, FILLING)
    hgm.assert_no_fault(uffd)


hgm.run(
    [
        hgm.Test(
            "post-copy: 32 base pages arrive on demand, then MADV_COLLAPSE maps the huge page",
            on_demand,
        )
    ],
    needs_hgm=True,
    pages=1,
    setup=make_file,
)
