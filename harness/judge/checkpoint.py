# SPDX-License-Identifier: GPL-2.0-only
"""Compare page tables at a checkpoint of a probe with what the kernel reports of them. Pure.

At a checkpoint a probe prints a line and spins until the host has read its page tables
(``docs/howto/writing-a-probe.md``)::

    # checkpoint cpu=1 start=0x7f3ec0000000 length=0x40000000 page=0x40000000 beacon=0x7f3f00021000
      token=0x5bd1e995a2c3d4e7 pagemap=0x7f3eb0000000 smaps=pud:0,pmd:0,pte:12288,all:12288
      want=pte:3 name=UFFDIO_CONTINUE of 8 KiB maps two base pages

``pagemap`` is the address in its own memory of a copy of /proc/self/pagemap for the range, eight
bytes a base page. ``smaps`` has the bytes mapped, by the size of the entries and in all, where the
kernel has such fields. ``want`` has what the probe expects: numbers of entries by level, and of
base pages that are ``present`` or write-protected (``wp``).
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence

from harness.arch import arch
from harness.judge import pagetable
from harness.judge.pagetable import LEAF_LEVELS, PAGE, ReadPage, Run
from harness.records.base import Record
from harness.records.probe import CheckpointEvidence, CheckpointResult, LevelCount

#: How the line begins, after the ``# `` of a diagnostic.
PREFIX = "checkpoint "

#: Longest range that is walked, so that a guest cannot make the host read and keep more.
MAX_LENGTH = 4 << 30

# Documentation/admin-guide/mm/pagemap.rst
_PM_PRESENT = 1 << 63
_PM_UFFD_WP = 1 << 57
_PM_PFN = (1 << 55) - 1

_NUMBERS = ("cpu", "start", "length", "page", "beacon", "token", "pagemap")
_LINE = re.compile(
    "checkpoint "
    + " ".join(rf"{name}=(?P<{name}>0x[0-9a-f]{{1,16}}|[0-9]{{1,9}})" for name in _NUMBERS)
    + r" smaps=(?P<smaps>[a-z:0-9,-]*) want=(?P<want>[a-z:0-9,]*) name=(?P<name>.*)"
)
_PAIR = re.compile(r"([a-z]+):(-?[0-9]{1,18})")

_WANTS = frozenset(("pud", "pmd", "pte", "present", "wp"))
_SMAPS = frozenset(("pud", "pmd", "pte", "all"))


class Checkpoint(Record, frozen=True, kw_only=True):
    """What a probe prints at a checkpoint.

    Attributes:
        cpu: the CPU that it has pinned itself to.
        start: first virtual address of the range.
        length: bytes of it.
        page: bytes of a huge page there; those of a base page for ordinary memory.
        beacon: address of a page of its memory whose first eight bytes are ``token``, and whose
            next eight the host sets to let it go on.
        token: a random number, so that no other process is taken for the probe.
        pagemap: address of the copy of pagemap; 0 for none.
        smaps: bytes that smaps reports as mapped by entries of a level, and by ``all``.
        want: what the probe expects.
        name: the test that is running.
    """

    cpu: int
    start: int
    length: int
    page: int
    beacon: int
    token: int
    pagemap: int
    smaps: dict[str, int]
    want: dict[str, int]
    name: str

    @property
    def end(self) -> int:
        """Return the first address after the range."""
        return self.start + self.length


def parse(line: str) -> Checkpoint:
    """Return the checkpoint in a line of a probe's output.

    Raises:
        ValueError: if it is damaged, or a value is out of bounds; with the reason.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("the checkpoint line is damaged")
    numbers = {name: int(match[name], 0) for name in _NUMBERS}
    asked = Checkpoint(
        **numbers,
        smaps=_pairs(match["smaps"], _SMAPS),
        want=_pairs(match["want"], _WANTS),
        name=match["name"],
    )
    aligned = (asked.start | asked.length | asked.beacon | asked.pagemap) % PAGE == 0
    if not aligned or asked.page not in (1 << shift for shift in range(12, 31)):
        raise ValueError("the checkpoint's range or page size is not one of whole pages")
    if not 0 < asked.length <= MAX_LENGTH or asked.end > 1 << 56:
        raise ValueError(f"the checkpoint's range is empty or longer than {MAX_LENGTH >> 30} GiB")
    return asked


def _pairs(text: str, known: frozenset[str]) -> dict[str, int]:
    pairs = {}
    for item in filter(None, text.split(",")):
        match = _PAIR.fullmatch(item)
        if match is None or match[1] not in known:
            raise ValueError(f"the checkpoint line has an unknown field {item!r}")
        if int(match[2]) >= 0:  # -1: this kernel has no such field
            pairs[match[1]] = int(match[2])
    return pairs


def top(evidence: CheckpointEvidence) -> pagetable.Top:
    """Return where the page tables of a checkpoint begin."""
    decoder = pagetable.decoder(evidence.arch)
    if evidence.levels:
        return pagetable.Top(decoder, evidence.root, evidence.levels)
    tables = arch(evidence.arch).page_tables
    levels = tables.levels_by_value[evidence.cr4 & tables.levels_mask]
    return pagetable.Top(decoder, evidence.cr3 & tables.root_mask, levels)


def beacon_is_lit(read: ReadPage, tables: pagetable.Top, asked: Checkpoint) -> int | None:
    """Return the physical address of the beacon if these are the probe's page tables, else None."""
    physical = pagetable.translate(read, tables, asked.beacon)
    if physical is None:
        return None
    token, released = struct.unpack_from("<2Q", read(physical))
    return physical if token == asked.token and not released else None


def gather(evidence: CheckpointEvidence, read: ReadPage) -> None:
    """Read every page that `judge` needs, while the guest is stopped.

    Raises:
        KeyError: where a table entry points outside the guest's memory; `judge` reports that.
    """
    asked, tables = parse(evidence.line), top(evidence)
    pagetable.read_tables(read, tables, asked.start, asked.end)
    if asked.pagemap:
        for physical in _pages_of_pagemap(asked, tables, read):
            read(physical)


def judge(evidence: CheckpointEvidence, read: ReadPage) -> CheckpointResult:
    """Return the result of one checkpoint.

    Args:
        evidence: what the host recorded.
        read: reads a page of the guest's memory as it was then; raises KeyError for a page that
            was not kept. The host kept all that it read, so such a page is outside the memory.
    """
    try:
        asked = parse(evidence.line)
        if evidence.problem:
            raise ValueError(evidence.problem)
        return _compare(evidence, asked, read)
    except ValueError as error:
        problem = str(error)
    except KeyError as error:
        problem = f"a page-table entry points to {error.args[0]:#x}, outside the guest's memory"
    return CheckpointResult(number=evidence.number, problems=(problem,))


def walk(evidence: CheckpointEvidence, read: ReadPage) -> pagetable.Walk:
    """Return the walk of a checkpoint's range; raises what `parse` and ``read`` do."""
    asked = parse(evidence.line)
    return pagetable.walk(read, top(evidence), asked.start, asked.end)


def _compare(evidence: CheckpointEvidence, asked: Checkpoint, read: ReadPage) -> CheckpointResult:
    tables = top(evidence)
    if beacon_is_lit(read, tables, asked) is None:
        raise ValueError("the page tables that were walked are not the probe's")
    if (asked.start | asked.length) % tables.page:
        raise ValueError("the checkpoint's range is not one of whole pages")
    found = pagetable.walk(read, tables, asked.start, asked.end)
    levels = pagetable.count(found.runs)
    problems = [
        *found.odd,
        *_against_pagemap(asked, found.runs, tables, read),
        *_against_smaps(asked, levels, tables),
        *_against_frames(asked, found.runs, tables.page),
        *_against_size(asked, found.runs, tables),
        *_against_want(asked, levels, found.runs, tables.page),
    ]
    return CheckpointResult(
        number=evidence.number,
        name=asked.name,
        start=asked.start,
        length=asked.length,
        page=asked.page,
        levels=levels,
        problems=tuple(problems),
    )


def _against_pagemap(
    asked: Checkpoint, runs: Sequence[Run], tables: pagetable.Top, read: ReadPage
) -> Iterator[str]:
    """Compare presence, write protection and frame of every base page; yield the first mismatch."""
    if not asked.pagemap:
        return
    page = tables.page
    count = asked.length // page
    claims = b"".join(map(read, _pages_of_pagemap(asked, tables, read)))
    if len(claims) < count * 8:
        raise ValueError("the probe's copy of pagemap is not in its memory")
    claimed = array("Q", claims[: count * 8])
    if sys.byteorder == "big":
        claimed.byteswap()
    expected = _as_pagemap(asked, runs, page)
    mask = _PM_PRESENT | _PM_UFFD_WP
    if any(claim & _PM_PFN for claim in claimed):  # it was read with CAP_SYS_ADMIN
        mask |= _PM_PFN
    pairs = enumerate(zip(claimed, expected, strict=True))
    wrong = [index for index, (claim, entry) in pairs if (claim ^ entry) & mask]
    if wrong:
        index = wrong[0]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        yield (
            f"page {index} is {_describe(claimed[index], page)} in pagemap, "
            f"{_describe(expected[index], page)} in the page tables{more}"
        )


def _as_pagemap(asked: Checkpoint, runs: Sequence[Run], page: int) -> array[int]:
    """Return the entries that pagemap should have, as far as page tables determine them.

    An array, for a gigabyte has a quarter of a million of them, and a list takes 40 bytes for each.
    """
    expected = array("Q", bytes(asked.length // page * 8))
    for run in runs:
        mark = _PM_UFFD_WP if run.uffd_wp else 0
        if run.entries == 1 and run.size == page and run.present:  # there can be very many
            pfn = run.frame // page
            expected[(run.address - asked.start) // page] = _PM_PRESENT | mark | pfn
            continue
        first = max(run.address, asked.start)
        low = (first - asked.start) // page
        high = (min(run.end, asked.end) - asked.start) // page
        if run.present:
            pfn = (run.frame + first - run.address) // page
            base = _PM_PRESENT | mark | pfn
            expected[low:high] = array("Q", range(base, base + high - low))
        elif mark:
            expected[low:high] = array("Q", [mark]) * (high - low)
    return expected


def _describe(entry: int, page: int) -> str:
    if not entry & _PM_PRESENT:
        return "absent and protected" if entry & _PM_UFFD_WP else "absent"
    where = f" at {(entry & _PM_PFN) * page:#x}" if entry & _PM_PFN else ""
    return f"present{' and protected' if entry & _PM_UFFD_WP else ''}{where}"


def _pages_of_pagemap(asked: Checkpoint, tables: pagetable.Top, read: ReadPage) -> tuple[int, ...]:
    """Return the physical address of each page of the probe's copy of pagemap."""
    end = asked.pagemap + -(-asked.length // tables.page * 8 // PAGE) * PAGE
    found = pagetable.walk(read, tables, asked.pagemap, end)
    return tuple(
        run.frame + page - run.address
        for run in found.runs
        if run.present
        for page in range(max(run.address, asked.pagemap), min(run.end, end), PAGE)
    )


def _against_smaps(
    asked: Checkpoint, levels: Sequence[LevelCount], tables: pagetable.Top
) -> Iterator[str]:
    """Compare the bytes mapped by entries of each size, where smaps has the field."""
    sizes = {name: 1 << shift for shift, name in tables.names.items()}
    expected = dict.fromkeys(pagetable.LEAF_LEVELS, 0)
    expected |= {each.level: each.present * sizes[each.level] for each in levels}
    # smaps counts pages under migration and poisoned ones; it does not count markers.
    away = sum(each.swap * sizes[each.level] for each in levels)
    expected["all"] = sum(expected.values()) + away
    for name, claimed in asked.smaps.items():
        if claimed != expected[name]:
            what = "in all" if name == "all" else f"by {name.upper()} entries"
            yield (
                f"smaps reports {claimed >> 10} kB mapped {what}, "
                f"the page tables map {expected[name] >> 10} kB"
            )


def _against_frames(asked: Checkpoint, runs: Sequence[Run], page: int) -> Iterator[str]:
    if asked.page == page:
        return
    first = asked.start & -asked.page
    pages = -(-(asked.end - first) // asked.page)
    for line in pagetable.wrong_frames(runs, first, asked.page, pages):
        yield f"wrong subpage: {line}"


def _against_size(asked: Checkpoint, runs: Sequence[Run], tables: pagetable.Top) -> Iterator[str]:
    """Yield the first entry of a huge page that is not one of a contiguous set, and should be.

    Linux maps a hugetlb page of a size between those of two levels by such a set, and all of it
    says so (``arch_make_huge_pte()``).
    """
    decoder = tables.decoder
    size = asked.page // decoder.contiguous_entries.get(min(tables.names), asked.page)
    if size not in (1 << shift for shift, name in tables.names.items() if name in LEAF_LEVELS):
        return
    for run in runs:
        if run.present and (run.size != size or not run.raw & decoder.contiguous):
            yield (
                f"{run.address:#x} is mapped by {run.level.upper()} entries that are not "
                f"contiguous ones, as a page of {asked.page >> 10} KiB has"
            )
            return


def _against_want(
    asked: Checkpoint, levels: Sequence[LevelCount], runs: Sequence[Run], page: int
) -> Iterator[str]:
    counts = {level.level: level.present for level in levels}
    if "present" in asked.want:
        counts["present"] = _pages(asked, [run for run in runs if run.present], page)
    if "wp" in asked.want:
        counts["wp"] = _pages(asked, [run for run in runs if run.uffd_wp], page)
    units = {"present": "base pages present", "wp": "base pages write-protected"}
    for name, wanted in asked.want.items():
        if counts.get(name, 0) != wanted:
            unit = units.get(name, f"{name.upper()} entries")
            yield f"the page tables have {counts.get(name, 0)} {unit}, the probe expected {wanted}"


def _pages(asked: Checkpoint, runs: Sequence[Run], page: int) -> int:
    inside = (min(run.end, asked.end) - max(run.address, asked.start) for run in runs)
    return sum(length // page for length in inside)
