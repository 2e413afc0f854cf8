# SPDX-License-Identifier: GPL-2.0-only
"""Whether a page of 1 GiB can be had again at run time, in CMA and in ordinary memory.

`./hgm test long -k cma`: two guests, and the build of a kernel with CMA.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.conftest import STOCK, Run, hgm

__all__ = ["hgm"]


@pytest.mark.parametrize(
    ("options", "memory", "cell"),
    [
        ((), "hugetlb 1G, added at run time", "0 of 1; 0 beside kernel pages; "),
        (
            ("--config", "cma", "--hugetlb-cma"),
            "hugetlb 1G, added at run time, CMA",
            "0 of 1; 1 beside kernel pages; 1 beside movable pages",
        ),
    ],
)
def test_cma_keeps_kernel_pages_out_and_pins_not(
    hgm: Callable[..., Run], tmp_path: Path, options: tuple[str, ...], memory: str, cell: str
) -> None:
    run = hgm(
        *("run", "--kernel", STOCK, "--series", "none", *options, "--hugepages", "1G:2"),
        *("--memory", "5G", "--probe", "baseline/fragmented/1G", "--runs-dir", str(tmp_path)),
        "--json",
    )
    assert run.code == 0, run.err
    study = hgm("study", "postcopy", "--read", run.record["run_dir"], "--json").record
    (found,) = study["guarantees"]
    assert found["memory"] == memory
    # Ordinary memory may have pages of the kernel in each GiB, or not.
    assert found["fragmented"].startswith(cell)
    assert [each["got"] for each in study["fragmented"] if each["memory"] == "pool"] == [1, 1]
