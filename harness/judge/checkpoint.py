# SPDX-License-Identifier: GPL-2.0-only
"""What a probe's page tables say, against what the kernel under test says of them. Pure.

A probe that wants to be looked at prints a line and spins (``docs/howto/writing-a-probe.md``)::

    # checkpoint cpu=1 start=0x7f3ec0000000 length=0x40000000 page=0x40000000 beacon=0x7f3f00021000
      token=0x5bd1e995a2c3d4e7 pagemap=0x7f3eb0000000 smaps=pud:0,pmd:0,pte:12288,all:12288
      want=pte:3 name=UFFDIO_CONTINUE of 8 KiB maps two base pages

``pagemap`` is where in its own memory it has put what /proc/self/pagemap says of the range, eight
bytes a base page; ``smaps`` are bytes by the size of their entries and all together, as far as the
kernel tells them; ``want`` are numbers of entries by level, and of base pages that are ``present``
or write-protected (``wp``), as the probe believes them to be.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence

from harness.judge import pagetable
from harness.judge.pagetable import PAGE, ReadPage, Run
from harness.records.base import Record
from harness.records.probe import CheckpointEvidence, CheckpointResult, LevelCount

#: How the line begins, behind the ``# `` of a diagnostic.
PREFIX = "checkpoint "

#: Longest range that is walked: it bounds what a guest can make the host read and keep.
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
    """What a probe says when it wants to be looked at.

    Attributes:
        cpu: the CPU that it has pinned itself to.
        start: first virtual address of the range.
        length: bytes of it.
        page: bytes of a huge page there; 4096 for ordinary memory.
        beacon: address of a page of its memory whose first eight bytes are ``token``, and whose
            next eight the host sets to let it go on.
        token: made up for this checkpoint, so that no other process is taken for it.
        pagemap: address of what pagemap says of the range; 0 where it does not say.
        smaps: bytes that smaps says are mapped by entries of a level, and by ``all``.
        want: what the probe believes.
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
        """Return the first address behind the range."""
        return self.start + self.length


def parse(line: str) -> Checkpoint:
    """Return what a line of a probe's output asks for.

    Raises:
        ValueError: if it is damaged, or asks for what no probe may; says why.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("the checkpoint's line is damaged")
    numbers = {name: int(match[name], 0) for name in _NUMBERS}
    said = Checkpoint(
        **numbers,
        smaps=_pairs(match["smaps"], _SMAPS),
        want=_pairs(match["want"], _WANTS),
        name=match["name"],
    )
    aligned = (said.start | said.length | said.beacon | said.pagemap) % PAGE == 0
    if not aligned or said.page not in (1 << shift for shift in pagetable.LEVELS):
        raise ValueError("the checkpoint's range is no range of pages")
    if not 0 < said.length <= MAX_LENGTH or said.end > 1 << 56:
        raise ValueError(f"the checkpoint's range is longer than {MAX_LENGTH >> 30} GiB, or empty")
    return said


def _pairs(text: str, known: frozenset[str]) -> dict[str, int]:
    pairs = {}
    for item in filter(None, text.split(",")):
        match = _PAIR.fullmatch(item)
        if match is None or match[1] not in known:
            raise ValueError(f"the checkpoint says {item!r}, which has no meaning")
        if int(match[2]) >= 0:  # -1: this kernel has no such field
            pairs[match[1]] = int(match[2])
    return pairs


def beacon_is_lit(read: ReadPage, cr3: int, cr4: int, said: Checkpoint) -> int | None:
    """Return the physical address of a checkpoint's beacon if these tables are its process's."""
    physical = pagetable.translate(read, cr3, cr4, said.beacon)
    if physical is None:
        return None
    token, released = struct.unpack_from("<2Q", read(physical))
    return physical if token == said.token and not released else None


def gather(evidence: CheckpointEvidence, read: ReadPage) -> None:
    """Read every page that `judge` will ask for, while the guest stands still.

    Raises:
        KeyError: where tables lead out of memory; `judge` will say so.
    """
    said = parse(evidence.line)
    pagetable.read_tables(read, evidence.cr3, evidence.cr4, said.start, said.end)
    if said.pagemap:
        for physical in _pages_of_pagemap(said, evidence, read):
            read(physical)


def judge(evidence: CheckpointEvidence, read: ReadPage) -> CheckpointResult:
    """Return what one checkpoint shows.

    Args:
        evidence: what the host saw.
        read: reads a page of the guest's memory as it was then; raises KeyError for a page that
            it does not have, which is then no memory of the guest: the host kept all it read.
    """
    try:
        said = parse(evidence.line)
        if evidence.problem:
            raise ValueError(evidence.problem)
        return _look(evidence, said, read)
    except ValueError as error:
        problem = str(error)
    except KeyError as error:
        problem = f"page tables lead to {error.args[0]:#x}, which is no memory of the guest"
    return CheckpointResult(number=evidence.number, problems=(problem,))


def walk(evidence: CheckpointEvidence, read: ReadPage) -> pagetable.Walk:
    """Return the walk of a checkpoint's range; raises what `parse` and ``read`` do."""
    said = parse(evidence.line)
    return pagetable.walk(read, evidence.cr3, evidence.cr4, said.start, said.end)


def _look(evidence: CheckpointEvidence, said: Checkpoint, read: ReadPage) -> CheckpointResult:
    if beacon_is_lit(read, evidence.cr3, evidence.cr4, said) is None:
        raise ValueError("the page tables that were walked are not the probe's")
    found = walk(evidence, read)
    levels = pagetable.count(found.runs)
    problems = [
        *found.odd,
        *_against_pagemap(said, found.runs, evidence, read),
        *_against_smaps(said, levels),
        *_against_frames(said, found.runs),
        *_against_want(said, levels, found.runs),
    ]
    return CheckpointResult(
        number=evidence.number,
        name=said.name,
        start=said.start,
        length=said.length,
        page=said.page,
        levels=levels,
        problems=tuple(problems),
    )


def _against_pagemap(
    said: Checkpoint, runs: Sequence[Run], evidence: CheckpointEvidence, read: ReadPage
) -> Iterator[str]:
    """Compare presence, write protection and frame of every base page; name the first of each."""
    if not said.pagemap:
        return
    count = said.length // PAGE
    claims = b"".join(map(read, _pages_of_pagemap(said, evidence, read)))
    if len(claims) < count * 8:
        raise ValueError("what the probe says of pagemap is not in its memory")
    claimed = struct.unpack_from(f"<{count}Q", claims)
    truth = _as_pagemap(said, runs)
    mask = _PM_PRESENT | _PM_UFFD_WP
    if all(claim & _PM_PFN == 0 for claim in claimed):  # it asked without CAP_SYS_ADMIN
        truth = [entry & mask for entry in truth]
    else:
        mask |= _PM_PFN
    wrong = [index for index in range(count) if claimed[index] & mask != truth[index]]
    if wrong:
        index = wrong[0]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        yield (
            f"pagemap calls page {index} {_describe(claimed[index])}, "
            f"the page tables {_describe(truth[index])}{more}"
        )


def _as_pagemap(said: Checkpoint, runs: Sequence[Run]) -> list[int]:
    """Return the entries that pagemap ought to show, as far as page tables tell."""
    truth = [0] * (said.length // PAGE)
    for run in runs:
        mark = _PM_UFFD_WP if run.uffd_wp else 0
        if run.entries == 1 and run.shift == 12 and run.present:  # of which there can be very many
            pfn = run.frame // PAGE
            truth[(run.address - said.start) // PAGE] = _PM_PRESENT | mark | pfn
            continue
        first = max(run.address, said.start)
        low = (first - said.start) // PAGE
        high = (min(run.end, said.end) - said.start) // PAGE
        if run.present:
            pfn = (run.frame + first - run.address) // PAGE
            base = _PM_PRESENT | mark | pfn
            truth[low:high] = range(base, base + high - low)
        elif mark:
            truth[low:high] = [mark] * (high - low)
    return truth


def _describe(entry: int) -> str:
    if not entry & _PM_PRESENT:
        return "absent and protected" if entry & _PM_UFFD_WP else "absent"
    where = f" at {(entry & _PM_PFN) * PAGE:#x}" if entry & _PM_PFN else ""
    return f"present{' and protected' if entry & _PM_UFFD_WP else ''}{where}"


def _pages_of_pagemap(
    said: Checkpoint, evidence: CheckpointEvidence, read: ReadPage
) -> tuple[int, ...]:
    """Return where in the guest's memory the probe's copy of pagemap lies, a page each."""
    end = said.pagemap + -(-said.length // PAGE * 8 // PAGE) * PAGE
    found = pagetable.walk(read, evidence.cr3, evidence.cr4, said.pagemap, end)
    return tuple(
        run.frame + page - run.address
        for run in found.runs
        if run.present
        for page in range(max(run.address, said.pagemap), min(run.end, end), PAGE)
    )


def _against_smaps(said: Checkpoint, levels: Sequence[LevelCount]) -> Iterator[str]:
    """Compare the bytes by size of their entries, as far as smaps tells them."""
    sizes = {name: 1 << shift for shift, name in pagetable.LEVELS.items()}
    truth = dict.fromkeys(sizes, 0)
    truth |= {each.level: each.present * sizes[each.level] for each in levels}
    # Pages that are being moved, or are poisoned, are still the mapping's; markers are not.
    away = sum(each.swap * sizes[each.level] for each in levels)
    truth["all"] = sum(truth.values()) + away
    for name, claimed in said.smaps.items():
        if claimed != truth[name]:
            what = "in all" if name == "all" else f"by {name.upper()} entries"
            yield (
                f"smaps has {claimed >> 10} kB mapped {what}, "
                f"the page tables {truth[name] >> 10} kB"
            )


def _against_frames(said: Checkpoint, runs: Sequence[Run]) -> Iterator[str]:
    if said.page == PAGE:
        return
    first = said.start & -said.page
    pages = -(-(said.end - first) // said.page)
    for line in pagetable.wrong_frames(runs, first, said.page, pages):
        yield f"wrong subpage: {line}"


def _against_want(
    said: Checkpoint, levels: Sequence[LevelCount], runs: Sequence[Run]
) -> Iterator[str]:
    counts = {level.level: level.present for level in levels}
    if "present" in said.want:
        counts["present"] = _base_pages(said, [run for run in runs if run.present])
    if "wp" in said.want:
        counts["wp"] = _base_pages(said, [run for run in runs if run.uffd_wp])
    units = {"present": "base pages present", "wp": "base pages write-protected"}
    for name, wanted in said.want.items():
        if counts.get(name, 0) != wanted:
            unit = units.get(name, f"{name.upper()} entries")
            yield f"the page tables hold {counts.get(name, 0)} {unit}, the probe expected {wanted}"


def _base_pages(said: Checkpoint, runs: Sequence[Run]) -> int:
    inside = (min(run.end, said.end) - max(run.address, said.start) for run in runs)
    return sum(length // PAGE for length in inside)
