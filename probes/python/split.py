# SPDX-License-Identifier: GPL-2.0-only
"""MADV_SPLIT is accepted on shared hugetlb and refused elsewhere; twin of ``split.c``."""

import errno
import mmap

import hgm_probe as hgm


def assert_refused(memory: mmap.mmap) -> None:
    error = hgm.advise(memory, hgm.MADV_SPLIT)
    hgm.assert_that(error == errno.EINVAL, f"MADV_SPLIT: {hgm.error_name(error)}, expected EINVAL")


def shared_memfd() -> None:
    hgm.split(hgm.map_shared(hgm.huge_memfd(1), hgm.huge_size()))


def private_memfd() -> None:
    flags = mmap.MAP_PRIVATE | hgm.MAP_NORESERVE
    assert_refused(mmap.mmap(hgm.huge_memfd(1), hgm.huge_size(), flags=flags))


def anonymous() -> None:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | hgm.MAP_NORESERVE
    assert_refused(mmap.mmap(-1, hgm.huge_size(), flags=flags))


hgm.run(
    [
        hgm.Test("MADV_SPLIT of a shared memfd succeeds", shared_memfd),
        hgm.Test("MADV_SPLIT of a private mapping of a hugetlb file is EINVAL", private_memfd),
        hgm.Test("MADV_SPLIT of ordinary anonymous memory is EINVAL", anonymous),
    ],
    needs_hgm=True,
)
