# SPDX-License-Identifier: GPL-2.0-only
"""Which kernel a bisection tests next, by what has to be compiled to get there. Pure.

Make compiles what depends on the files that differ from the kernel it built last. A patch to a
header under ``include/`` costs hundreds of objects whenever the bisection crosses it, in either
direction. So all orders that need few enough tests are compared by the objects that they compile
on average, the culprit being any suspect with the same probability.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Collection, Iterable, Sequence

#: More tests than halving needs, where they save compiling.
EXTRA_TESTS = 2

#: The link and the guest of a test, in objects that could be compiled in that time.
_TEST = 20

#: Objects of a kernel, and which share of them a file is part of; the first expression that matches
#: counts. From make's dependency files of 6.12.118 with the base fragment: the headers that patches
#: touch most are part of 0.55 to 0.9. An order only costs time where they are wrong.
_OBJECTS = 1300
_SHARES: tuple[tuple[re.Pattern[str], float], ...] = (
    (re.compile(r"Documentation/|tools/|samples/|.*\.(?:rst|txt)$|MAINTAINERS$"), 0.0),
    (
        re.compile(
            r"include/linux/(?:hugetlb|khugepaged|ksm|leafops|mempolicy|migrate|mm_inline|mman"
            r"|pagewalk|rmap|shmem_fs|swapops|userfaultfd)\w*\.h$"
        ),
        0.05,
    ),
    (re.compile(r"(?:arch/[^/]+/)?include/.*\.h$"), 0.6),
    (re.compile(r".*\.h$"), 0.03),
    (re.compile(r""), 1 / _OBJECTS),
)

# Comparing all orders takes time that grows with the cube of the suspects: 0.5 s for so many.
_MOST_SUSPECTS = 64

_FILE = re.compile(r"^(?:---|\+\+\+) [^/\s]+/([^\t\n]+)", re.MULTILINE)


def files(patch: str) -> frozenset[str]:
    """Return the files that a patch names, as its text has them."""
    return frozenset(_FILE.findall(patch))


def _share(path: str) -> float:
    return next(share for pattern, share in _SHARES if pattern.match(path))


class Distances:
    """What it costs to go from one kernel of a series to another.

    Args:
        patches: the files that each patch changes, in the order of the series.
    """

    def __init__(self, patches: Iterable[Collection[str]]) -> None:
        self._patches = tuple(patches)

    def __call__(self, one: int, other: int) -> int:
        """Return about how many objects differ between the kernels after two patches.

        Wide headers share most of their objects, so a second one costs little more.
        """
        first, last = sorted((one, other))
        changed = frozenset().union(*self._patches[first:last])
        return round(_OBJECTS * (1 - math.prod(1 - _share(path) for path in changed)))


def cheapest(
    suspects: Sequence[int],
    testable: Collection[int],
    held: int,
    tests: int,
    distances: Distances,
) -> int | None:
    """Return the kernel to test next, so that the least is compiled on average.

    Args:
        suspects: those that are left, adjacent, oldest first; the last one is bad.
        testable: those that may be tested.
        held: the kernel that was compiled last.
        tests: how many more tests the answer may take.
        distances: between the kernels.

    Returns:
        None where no order needs so few tests, or there are too many suspects to compare all.
    """
    if len(suspects) > _MOST_SUSPECTS:
        return None
    cost = functools.cache(distances)
    unreachable = float("inf")

    @functools.cache
    def best(before: int, bad: int, held: int, tests: int) -> tuple[float, int | None]:
        """Return the mean cost of the best order between two kernels, and its first one."""
        found: tuple[float, int | None] = (unreachable, None)
        middles = [number for number in range(before + 1, bad) if number in testable]
        if not middles:
            return 0.0, None
        if len(middles) >= 2**tests:
            return found
        for middle in middles:
            older = (middle - before) * best(before, middle, middle, tests - 1)[0]
            newer = (bad - middle) * best(middle, bad, middle, tests - 1)[0]
            total = _TEST + cost(held, middle) + (older + newer) / (bad - before)
            if total < found[0]:
                found = total, middle
        return found

    return best(suspects[0] - 1, suspects[-1], held, tests)[1]
