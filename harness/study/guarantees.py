# SPDX-License-Identifier: GPL-2.0-only
"""What each memory guarantees, as the tests of one run have shown. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.records.base import Record
from harness.records.study import (
    FragmentedFigures,
    Guarantee,
    PostcopyFigures,
    PostcopyRow,
    PrecopyFigures,
)
from harness.report import study as report

NOT_TESTED = "not tested"
_NO_HUGE = "no huge pages"
_BASE_PAGE = 4096

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
    """

    backing: str
    size: int
    postcopy: tuple[PostcopyRow, ...] = ()
    precopy: tuple[PrecopyFigures, ...] = ()
    postcopy_ended: str = ""
    precopy_ended: str = ""


def table(
    memories: Mapping[str, Tested], fragmented: Sequence[FragmentedFigures]
) -> Iterator[Guarantee]:
    """Yield a line for each memory; each cell is from a result, or says that there is none.

    Args:
        memories: by what they are called.
        fragmented: what could be had in fragmented memory.
    """
    for name, tested in memories.items():
        kind = _FRAGMENTED.get(tested.backing, tested.backing)
        these = [each for each in fragmented if (each.memory, each.size) == (kind, tested.size)]
        huge = tested.backing != "shmem"
        yield Guarantee(
            memory=name,
            reserved=_had(these, "before") if huge else _NO_HUGE,
            fragmented=_had(these, "after") if huge else _NO_HUGE,
            faults=tested.postcopy_ended or _faults([row.figures for row in tested.postcopy]),
            tracking=tested.precopy_ended or _tracking(tested.precopy),
            collapse=_collapse(tested),
        )
    for one in fragmented:
        if one.mapped == "after" and one.memory in ("run-time", "thp"):
            these = [
                each for each in fragmented if (each.memory, each.size) == (one.memory, one.size)
            ]
            of_pool = one.memory == "run-time"
            yield Guarantee(
                memory=f"hugetlb {report.size(one.size)}, added at run time"
                if of_pool
                else "anonymous THP",
                reserved="no" if of_pool else _had(these, "before"),
                fragmented=_had(these, "after"),
                faults="as hugetlb" if of_pool else NOT_TESTED,
                tracking="as hugetlb" if of_pool else NOT_TESTED,
                collapse="as hugetlb" if of_pool else NOT_TESTED,
            )


def _had(these: Sequence[FragmentedFigures], mapped: str) -> str:
    """Return how many huge pages could be had; where none is pinned too, if that differs."""
    by_mapped = {each.mapped: each for each in these}
    one, movable = by_mapped.get(mapped), by_mapped.get("movable")
    if one is None:
        return NOT_TESTED
    words = f"{one.got} of {one.wanted}"
    if mapped == "after" and movable is not None and movable.got != one.got:
        return f"{words}; {movable.got} while nothing is pinned"
    return words


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
