# SPDX-License-Identifier: GPL-2.0-only
"""What the post-copy study found."""

from __future__ import annotations

from typing import Annotated

import msgspec

from harness.records.base import Record

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**50)]
_Unit = Annotated[int, msgspec.Meta(ge=4096, le=2**40)]
_Backing = Annotated[str, msgspec.Meta(pattern=r"^[a-z-]{1,20}\Z")]
_Pattern = Annotated[str, msgspec.Meta(pattern=r"^[a-z+]{1,20}\Z")]
_Some = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class PostcopyFigures(Record, frozen=True, kw_only=True):
    """What the guest counted and measured in the post-copy of one memory, touched in one way.

    Attributes:
        backing: ``huge``, ``split``, ``shmem``, ``shmem-thp``, ``shmem-thp-mlock``, or ``thp``,
            which is anonymous.
        pattern: ``sequential``, ``uniform``, ``zipf``, ``moving`` or ``uniform+push``.
        unit: bytes that one fault moves.
        memory: bytes that could be touched.
        touched: bytes of the base pages that were.
        faults: messages that were read from the userfaultfd.
        again: units that faulted once more after they had been mapped.
        moved: bytes that came through the link.
        threads: that touched it.
        readers: threads that answered each userfaultfd.
        uffds: userfaultfds, each of which had a part of the memory.
    """

    backing: _Backing
    pattern: _Pattern
    unit: _Unit
    memory: _Count
    touched: Annotated[int, msgspec.Meta(ge=1, le=2**50)]
    faults: _Count
    again: _Count
    moved: _Count
    threads: _Some = 4
    readers: _Some = 2
    uffds: _Some = 1


class PrecopyFigures(Record, frozen=True, kw_only=True):
    """What dirty tracking reported of one memory, written to in one way.

    Attributes:
        backing: as in `PostcopyFigures`.
        method: ``async`` or ``sync`` write protection, or ``soft-dirty``.
        pattern: ``sequential``, ``uniform``, ``zipf`` or ``moving``; ``+live`` where writes go on.
        grain: bytes that one write makes dirty.
        memory: bytes that could be written.
        rounds: how often what was dirty was taken, and protected again.
        written: bytes of the base pages written, in each round; live, in any.
        reported: bytes reported dirty, in all rounds together.
        messages: of write-protect faults.
        arm_ns: how long the first protection of all took.
        write_ns: how long all writes took, of all threads together.
        scan_ns: how long the rounds took to say what is dirty and to protect it again.
    """

    backing: _Backing
    method: Annotated[str, msgspec.Meta(pattern=r"^[a-z-]{1,20}\Z")]
    pattern: _Pattern
    grain: _Unit
    memory: _Count
    rounds: Annotated[int, msgspec.Meta(ge=1, le=2**30)]
    written: Annotated[int, msgspec.Meta(ge=1, le=2**50)]
    reported: _Count
    messages: _Count
    arm_ns: _Count
    write_ns: _Count
    scan_ns: _Count


class FragmentedFigures(Record, frozen=True, kw_only=True):
    """How many huge pages of a memory could be had when free memory was fragmented.

    Attributes:
        memory: ``pool``, ``run-time``, ``thp``, ``shmem-thp`` or ``shmem-thp-mlock``.
        size: bytes of the huge pages of the probe, which are those of hugetlb.
        mapped: ``before`` memory was fragmented, or ``after``, by pinned pages; the pool also when
            it was fragmented by ``movable`` pages, and by ``unmovable`` ones of the kernel.
        got: huge pages that could be used.
        wanted: of so many.
        probe: the probe that found it.
    """

    memory: _Backing
    size: _Unit
    mapped: Annotated[str, msgspec.Meta(pattern=r"^(before|after|movable|unmovable)\Z")]
    got: _Count
    wanted: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    probe: str = ""


class ReclaimedFigures(Record, frozen=True, kw_only=True):
    """What reclaim left of one memory.

    Attributes:
        backing: as in `PostcopyFigures`.
        size: bytes of the huge pages of the probe, which are those of hugetlb.
        by: ``MADV_PAGEOUT``, or ``memory.high`` of a cgroup.
        error: what the kernel answered: ``success``, or the name of an errno.
        memory: bytes that were resident, and were to be reclaimed.
        resident: bytes that still were, by mincore.
        huge: bytes that were mapped by huge pages then, by smaps.
        read: bytes that were once all had been read again.
        probe: the probe that found it.
    """

    backing: _Backing
    size: _Unit
    by: Annotated[str, msgspec.Meta(pattern=r"^(MADV_PAGEOUT|memory\.high)\Z")]
    error: Annotated[str, msgspec.Meta(pattern=r"^(success|E[A-Z0-9]{1,20})\Z")]
    memory: Annotated[int, msgspec.Meta(ge=4096, le=2**50)]
    resident: _Count
    huge: _Count
    read: _Count
    probe: str = ""


class Guarantee(Record, frozen=True, kw_only=True):
    """What one run has shown that a memory guarantees; ``not tested`` where it has no result.

    Attributes:
        memory: what it is called.
        reserved: huge pages that could be used in fragmented memory, of those mapped before.
        fragmented: the same of those asked for when memory was fragmented.
        reclaim: whether all of it stays resident under reclaim, or which kinds of reclaim take it.
        faults: whether a fault of post-copy moves a base page.
        tracking: which methods of dirty tracking report base pages.
        collapse: by what it is mapped by huge pages again.
    """

    memory: str
    reserved: str
    fragmented: str
    reclaim: str
    faults: str
    tracking: str
    collapse: str


class LinkModel(Record, frozen=True, kw_only=True):
    """The link between source and destination that fetches are computed for.

    Attributes:
        round_trip_us: microseconds from a request to the first byte of its answer.
        gbit: gigabits a second.
    """

    round_trip_us: float = 50.0
    gbit: float = 10.0

    def seconds(self, bytes_moved: int) -> float:
        """Return how long one fetch takes."""
        return self.round_trip_us / 1e6 + bytes_moved * 8 / (self.gbit * 1e9)


class StepTimes(Record, frozen=True, kw_only=True):
    """How long one step of the accesses took that waited for a unit.

    Attributes:
        step: ``read``, from the access until its message was read; ``queue``, until its turn came;
            ``fetch``, until the unit was there; ``install``, UFFDIO_CONTINUE; ``resume``, from
            that call until the thread went on; ``access``, all of it.
        cells: the histogram, as `harness.study.histogram` reads it: cells and counts.
        p50: a time in ns that half of the times do not reach.
        p99: the same for 99 %.
        p99_9: for 99.9 %.
        longest: for all.
    """

    step: str
    cells: tuple[tuple[int, int], ...]
    p50: int
    p99: int
    p99_9: int
    longest: int


class Landing(Record, frozen=True, kw_only=True):
    """How much of a memory had arrived when.

    Attributes:
        moved: bytes that were mapped.
        ns: since the first thread was started.
    """

    moved: int
    ns: int


class ReadTimes(Record, frozen=True, kw_only=True):
    """How long reads of resident memory took.

    Attributes:
        mapping: ``base``, by base pages, as post-copy leaves it; ``collapsed``; ``huge``, where it
            has always been mapped by whole huge pages.
        reads: of a pass.
        passes: ns that each pass took, in the order they ran.
        median: ns that one read took, by the median pass.
    """

    mapping: str
    reads: int
    passes: tuple[int, ...]
    median: float


class PostcopyRow(Record, frozen=True, kw_only=True):
    """One line of the study's table.

    Attributes:
        probe: the probe that ran it.
        figures: what the guest said.
        times: of each step.
        fetch_seconds: how long the link takes for one unit.
        amplification: bytes moved for each byte of a touched base page.
        residence: how the memory arrived, some 32 points of it; empty where not all that was
            wanted was waited for.
        collapse_ns: how long MADV_COLLAPSE took; 0 where nothing was collapsed.
        afterwards: reads before and after it.
    """

    probe: str
    figures: PostcopyFigures
    times: tuple[StepTimes, ...]
    fetch_seconds: float
    amplification: float
    residence: tuple[Landing, ...] = ()
    collapse_ns: int = 0
    afterwards: tuple[ReadTimes, ...] = ()


class PrecopyRow(Record, frozen=True, kw_only=True):
    """One line of the table of dirty tracking.

    Attributes:
        probe: the probe that ran it.
        figures: what the guest said.
        amplification: bytes reported for each byte of a written base page.
    """

    probe: str
    figures: PrecopyFigures
    amplification: float


class RunTimes(Record, frozen=True, kw_only=True):
    """How long accesses that waited took in several runs: of one memory, touched in one way.

    Attributes:
        memory: what it is called.
        pattern: as in `PostcopyFigures`.
        medians: ns, one of each run, in the order they ran.
        ratio: the median of these by that of the reference; None for that itself and without one.
        p: how likely runs of one distribution are at least so far apart (Mann-Whitney, exact); None
            where `ratio` is.
    """

    memory: str
    pattern: str
    medians: tuple[int, ...]
    ratio: float | None = None
    p: float | None = None


class AbsentRow(Record, frozen=True, kw_only=True):
    """A probe, or a test of it, without figures.

    Attributes:
        probe: the probe, or ``PROBE > TEST``.
        reason: why.
    """

    probe: str
    reason: str


class PostcopyStudy(Record, frozen=True, kw_only=True):
    """The post-copy study of one run.

    Attributes:
        run_dir: where the evidence is.
        kernel: its release, such as ``6.12.118-hgm``; empty where none was booted.
        accel: ``kvm`` or ``tcg``; empty where nothing was booted.
        hugetlb_cma: whether pages of 1 GiB came out of CMA.
        verdict: the run's, or FAIL where a test that passed has no credible figures.
        reason: one line.
        exit_code: what the command ends with.
        link: what fetches are computed for.
        rows: in the order they ran.
        precopy: the rows of dirty tracking, in the same order.
        fragmented: what could be had in fragmented memory.
        reclaimed: what reclaim left.
        guarantees: of each memory.
        absent: what has no row.
    """

    run_dir: str
    kernel: str
    accel: str
    hugetlb_cma: bool
    verdict: str
    reason: str
    exit_code: int
    link: LinkModel
    rows: tuple[PostcopyRow, ...]
    precopy: tuple[PrecopyRow, ...]
    fragmented: tuple[FragmentedFigures, ...]
    reclaimed: tuple[ReclaimedFigures, ...]
    guarantees: tuple[Guarantee, ...]
    absent: tuple[AbsentRow, ...]


class PostcopyRounds(Record, frozen=True, kw_only=True):
    """The post-copy study of several runs.

    Attributes:
        runs: in the order they ran.
        reference: the memory that the others' times are compared with; empty where there is none,
            and of emulated runs.
        times: of each memory and pattern that all runs have.
        level: what `RunTimes.p` must not exceed for a difference to count, as so many are compared.
        rounds_needed: the least runs that can reach it.
        verdict: that of the first run which did not pass, or FAIL where their counts differ.
        reason: one line.
        exit_code: what the command ends with.
    """

    runs: tuple[PostcopyStudy, ...]
    reference: str
    times: tuple[RunTimes, ...]
    level: float
    rounds_needed: int
    verdict: str
    reason: str
    exit_code: int
