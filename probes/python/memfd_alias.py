# SPDX-License-Identifier: GPL-2.0-only
"""Two shared mappings of one memfd show each other's contents; the twin of ``memfd_alias.c``."""

import hgm_probe as hgm

FILLING, REFILLING = 1, 2


def both_directions() -> None:
    fd = hgm.filled_memfd(FILLING)
    primary = hgm.map_shared(fd, hgm.huge_size())
    alias = hgm.map_shared(fd, hgm.huge_size())
    hgm.check_pages(alias, 0, hgm.huge_pages(), FILLING)
    hgm.fill_pages(alias, 0, hgm.huge_pages(), REFILLING)
    hgm.check_pages(primary, 0, hgm.huge_pages(), REFILLING)


hgm.run(
    [hgm.Test("two shared mappings of a hugetlb memfd show each other's writes", both_directions)]
)
