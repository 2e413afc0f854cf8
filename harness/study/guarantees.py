# SPDX-License-Identifier: GPL-2.0-only
"""What each memory guarantees, as the tests of one run have shown. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.records.base import Record
from harness.records.machine import size_name
from harness.records.study import (
    FragmentedFigures,
    Guarantee,
    PostcopyFigures,
    PostcopyRow,
    PrecopyFigures,
    ReclaimedFigures,
)
from harness.report import study as report

NOT_TESTED = "not tested"
_NO_HUGE = "no huge pages"
_AS_HUGETLB = "as hugetlb"
_BASE_PAGE, _GIB = 4096, 2**30

#: What `fragmented` calls the memory of a backing.
_FRAGMENTED = {"huge": "pool", "split": "pool"}


class Tested(Record, frozen=True, kw_only=True):
    """What one run says of one memory.

    Attributes:
        backing: as in `PostcopyFigures`.
        size: bytes of the huge pages that its probes are about.
        postcopy: rows of post-copy.
        precopy: figures of dirty tracking.
        postcopy_ended: how its probe of post-copy ended; empty where it passed or did not run.
        precopy_ended: the same of dirty tracking.
        reclaimed: what reclaim left.
        reclaimed_ended: the same of the probe of reclaim.
    """

    backing: str
    size: int
    postcopy: tuple[PostcopyRow, ...] = ()
    precopy: tuple[PrecopyFigures, ...] = ()
    postcopy_ended: str = ""
    precopy_ended: str = ""
    reclaimed: tuple[ReclaimedFigures, ...] = ()
    reclaimed_ended: str = ""


def table(
    memories: Mapping[str, Tested], fragmented: Sequence[FragmentedFigures], *, cma: bool
) -> Iterator[Guarantee]:
    """Yield a line for each memory; each cell is from a result, or says that there is none.

    Args:
        memories: by what they are called.
        fragmented: what could be had in fragmented memory.
        cma: whether pages of 1 GiB come out of CMA.
    """
    for name, tested in memories.items():
        kind = _FRAGMENTED.get(tested.backing, tested.backing)
        known = tested.postcopy or tested.precopy  # else the kernel has no such memory
        these = _of(fragmented, kind, tested.size) if known else []
        huge = tested.backing != "shmem"
        yield Guarantee(
            memory=name,
            reserved=_had(these, "before") if huge else _NO_HUGE,
            fragmented=_had(these, "after") if huge else _NO_HUGE,
            reclaim=tested.reclaimed_ended or _reclaim(tested.reclaimed),
            faults=tested.postcopy_ended or _faults([row.figures for row in tested.postcopy]),
            tracking=tested.precopy_ended or _tracking(tested.precopy),
            collapse=_collapse(tested),
        )
    for one in fragmented:
        if one.mapped == "after" and one.memory == "run-time":
            out_of = ", CMA" if cma and one.size == _GIB else ""
            yield Guarantee(
                memory=f"hugetlb {size_name(one.size)}, added at run time{out_of}",
                reserved="no",
                fragmented=_had(_of(fragmented, one.memory, one.size), "after"),
                reclaim=_AS_HUGETLB,
                faults=_AS_HUGETLB,
                tracking=_AS_HUGETLB,
                collapse=_AS_HUGETLB,
            )


def _of(fragmented: Sequence[FragmentedFigures], memory: str, size: int) -> list[FragmentedFigures]:
    return [each for each in fragmented if (each.memory, each.size) == (memory, size)]


def _had(these: Sequence[FragmentedFigures], mapped: str) -> str:
    """Return how many huge pages could be had, by what memory was fragmented by."""
    by_mapped = {each.mapped: each for each in these}
    one = by_mapped.get(mapped)
    if one is None:
        return NOT_TESTED
    words = f"{one.got} of {one.wanted}"
    others = [
        f"{by_mapped[other].got} beside {what}"
        for other, what in (("unmovable", "kernel pages"), ("movable", "movable pages"))
        if mapped == "after" and other in by_mapped
    ]
    return "; ".join([words, *others])


def _reclaim(figures: Sequence[ReclaimedFigures]) -> str:
    """Return whether reclaim leaves the memory where it is, or what takes it."""
    if not figures:
        return NOT_TESTED
    takers = [each.by for each in figures if each.resident < each.memory]
    return f"taken by {', '.join(takers)}" if takers else "stays"


def _faults(figures: Sequence[PostcopyFigures]) -> str:
    """Return whether a fault moves a base page and no more."""
    if not figures:
        return NOT_TESTED
    unit = max(each.unit for each in figures)
    if unit > _BASE_PAGE:
        return f"no, {report.size(unit)}"
    demand = (each for each in figures if "+" not in each.pattern)
    return "yes" if all(each.moved == each.touched for each in demand) else "no"


def _tracking(figures: Sequence[PrecopyFigures]) -> str:
    """Return the methods that report just the base pages written."""
    exact: dict[str, bool] = {}
    for each in figures:
        if "+" not in each.pattern:
            exact[each.method] = exact.get(each.method, True) and each.reported == each.written
    if not exact:
        return NOT_TESTED
    if not any(exact.values()):
        grain = max(each.grain for each in figures)
        return f"no, {report.size(grain)}" if grain > _BASE_PAGE else "no, more than was written"
    coarse = [method for method, fine in exact.items() if not fine]
    words = ", ".join(method for method, fine in exact.items() if fine)
    return f"yes: {words}" + (f"; no: {', '.join(coarse)}" if coarse else "")


def _collapse(tested: Tested) -> str:
    if tested.postcopy_ended:
        return tested.postcopy_ended
    if any(row.collapse_ns for row in tested.postcopy):
        return "MADV_COLLAPSE"
    if tested.backing == "shmem":
        return _NO_HUGE
    if tested.backing == "huge" and tested.postcopy:
        return "stays huge"
    return NOT_TESTED
