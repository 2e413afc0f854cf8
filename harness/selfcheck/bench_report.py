# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck bench report`: the site of many made-up runs."""

from __future__ import annotations

import datetime
import functools
import math
import random
import resource
import struct
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from harness.context import Context
from harness.judge import checkpoint
from harness.records.base import to_json
from harness.records.kernel import ConfigIdentity, KernelSummary, SeriesIdentity, SourceIdentity
from harness.records.machine import AccelChoice, GuestOrigin, HugePages, MachineSpec
from harness.records.outcome import Outcome
from harness.records.probe import CheckpointEvidence, ProbeResult, Splat, Status, Subtest
from harness.records.run import RequestSummary, RunRecord, StageTime
from harness.site import build, names
from harness.store import rundir
from harness.store.history.history import opened
from harness.workspace import digest

_FIRST = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_KERNELS = ("6.1", "6.12", "7.3")
_SERIES = ("none", "hgm")
_FEATURES: tuple[tuple[str, ...], ...] = ((), ("debug",))
_NODES = (1, 2)
_CELLS = [
    (kernel, series, features, nodes)
    for kernel in _KERNELS
    for series in _SERIES
    for features in _FEATURES
    for nodes in _NODES
]

WHOLE, UNCHANGED, ONE_MORE = "whole", "unchanged", "one more run"
#: Seconds that building the site of 10,000 runs may take on two idle cores.
_LIMITS = {WHOLE: 60, ONE_MORE: 5}
#: Bytes of the first page.
_INDEX_LIMIT = 1_000_000

#: Runs whose directory, with console and output of the probes, has not been pruned.
_WITH_DIRECTORY = 100
#: Probes of such a run with a map of page tables; those of a real night had 2 to 69 checkpoints.
_WITH_MAPS = 5
#: Each kernel is run so many times before the next one comes.
_NIGHTS_A_KERNEL = 7


class Measured(NamedTuple):
    """One build of the site.

    Attributes:
        what: of it.
        wall: seconds.
        cpu: seconds of this process.
        written: pages.
    """

    what: str
    wall: float
    cpu: float
    written: int


class ReportBench(NamedTuple):
    """What was measured.

    Attributes:
        runs: how many were made up.
        probes: in each.
        builds: in their order.
        index_size: bytes of the first page.
        pages: of the site.
        size: bytes of the site.
    """

    runs: int
    probes: int
    builds: tuple[Measured, ...]
    index_size: int
    pages: int
    size: int

    def text(self) -> str:
        """Return the measurement in lines."""
        lines = [f"{self.runs} runs in {len(_CELLS)} cells, {self.probes} probes in each run"]
        lines += [
            f"{each.what:<12} {each.wall:7.1f} s, {each.cpu:6.1f} s of CPU, {each.written} written"
            for each in self.builds
        ]
        lines.append(f"index.html is {self.index_size / 1e3:.0f} KB")
        lines.append(f"the site is {self.size / 1e6:.0f} MB in {self.pages} files")
        return "\n".join(lines + self.exceeded())

    def exceeded(self) -> list[str]:
        """Return what is above its limit, a line each."""
        lines = [
            f"{each.what}: {each.wall:.1f} s, above the limit of {_LIMITS[each.what]} s"
            for each in self.builds
            if each.wall > _LIMITS.get(each.what, math.inf)
        ]
        if self.index_size > _INDEX_LIMIT:
            size, limit = self.index_size / 1e6, _INDEX_LIMIT / 1e6
            lines.append(f"index.html: {size:.2f} MB, above the limit of {limit:.0f} MB")
        return lines


def report(runs: int, probes: int, directory: Path, context: Context) -> ReportBench:
    """Make up runs, build their site, build it again, and build it after one more run.

    Args:
        runs: how many.
        probes: in each.
        directory: where the runs, the history and the site are made; kept.
        context: for what is said meanwhile.
    """
    rundir.make_directory(directory / "runs", "--keep")
    site = directory / "site"
    opener = partial(opened, "", directory / "runs")
    with opener(make=True) as history:
        there = len(history.runs())
        context.progress.stage("bench", f"making up {runs} runs")
        for number in range(there, runs):
            record = made_up(number, probes, directory / "runs")
            if number >= runs - _WITH_DIRECTORY:
                record = _make_directory(record)
            history.add(record, Path(record.run_dir))
        builds = []
        for what, more in ((WHOLE, 0), (UNCHANGED, 0), (ONE_MORE, 1)):
            context.progress.stage("bench", f"building the site: {what}")
            there = len(history.runs())
            for number in range(there, there + more):
                record = made_up(number, probes, directory / "runs")
                record = _make_directory(record)
                history.add(record, Path(record.run_dir))
            wall, cpu = time.monotonic(), _cpu()
            done = build.build(opener, site, 30, context)
            builds.append(Measured(what, time.monotonic() - wall, _cpu() - cpu, done.written))
    files = [path.stat().st_size for path in site.rglob("*") if path.is_file()]
    return ReportBench(
        runs, probes, tuple(builds), (site / names.INDEX).stat().st_size, len(files), sum(files)
    )


def _cpu() -> float:
    """Return the CPU time of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def made_up(number: int, probes: int, runs: Path) -> RunRecord:
    """Return the record of a made-up run, the same for the same number.

    Args:
        number: from 0; a night has one run of each cell.
        probes: how many it has.
        runs: where its directory would be.
    """
    kernel, series, features, nodes = _CELLS[number % len(_CELLS)]
    night = number // len(_CELLS)
    version = f"{kernel}.{night // _NIGHTS_A_KERNEL}"
    started = _FIRST + datetime.timedelta(days=night, minutes=number % len(_CELLS))
    rng = random.Random(number)  # noqa: S311 - not for secrets
    cell = number % len(_CELLS)
    results = tuple(_results(probes, cell, night, rng))
    bad = [each for each in results if each.status in ("FAIL", "CRASH")]
    spec = f"debian:linux-source-{kernel}"
    seconds = sum(each.seconds for each in results)
    return RunRecord(
        verdict="FAIL" if bad else "PASS",
        outcome=Outcome.PROBES_RAN,
        exit_code=int(bool(bad)),
        reason=f"{bad[0].name} {bad[0].status}: {bad[0].reason}" if bad else f"{probes} passed",
        stage="done",
        started=started.isoformat(),
        seconds=seconds + 8,
        harness="made up",
        command=("hgm", "run", "--kernel", spec, "--series", series, "--nodes", str(nodes)),
        request=RequestSummary(kernel=spec, series=series, features=features),
        kernel=KernelSummary(
            release=version,
            key=digest(version, series, *features),
            source=SourceIdentity(spec=spec, kind="debian", origin=f"{version}-1", tree="0" * 40),
            series=SeriesIdentity(spec=series),
            config=ConfigIdentity(features=features, digest=digest(*features)),
            toolchain="gcc 14.2",
            cached=night % _NIGHTS_A_KERNEL > 0,
            build_seconds=rng.uniform(280, 330),
        ),
        accel=AccelChoice(name="tcg", reason="made up", cpu="max"),
        machine=MachineSpec(
            hugepages=(HugePages(size=2**30, count=2), HugePages(size=2**21, count=64)),
            memory=12 * 2**30,
            nodes=nodes,
        ),
        run_dir=str(runs.absolute() / f"{started:%Y%m%d-%H%M%S}-made-up-{number:05}"),
        probes=results,
        guests=(GuestOrigin(how="booted", seconds=rng.uniform(5, 7)),),
        stages=(StageTime(name="guest", seconds=seconds + 7),),
    )


def _results(count: int, cell: int, night: int, rng: random.Random) -> Iterator[ProbeResult]:
    for place in range(count):
        name = f"made-up/probe-{place}/1G"
        status = _status(place, cell, night, rng)
        reason = {"PASS": "", "SKIP": "MADV_SPLIT: EINVAL"}.get(
            status, f"a.c:{place}: UFFDIO_CONTINUE of 4 KiB: expected success, got EFAULT"
        )
        block = ("WARNING: CPU: 1 PID: 41 at mm/hugetlb.c:812 f+0x1/0x20", *["Call Trace:"] * 30)
        splat = Splat(kind="warning", title=block[0], block=block, offset=0)
        yield ProbeResult(
            name=name,
            status=status,
            reason=reason,
            seconds=round(0.2 + place % 7 + rng.uniform(0, 0.3), 3),
            subtests=tuple(
                Subtest(name=f"result {number} of {name}", status="PASS") for number in range(5)
            ),
            splats=(splat,) if status == "CRASH" else (),
            directory=rundir.directory_for(name),
        )


def _status(place: int, cell: int, night: int, rng: random.Random) -> Status:
    """Return how a probe ends: some are skipped or flaky in a cell, some break for some nights."""
    kind = (place * 31 + cell * 7) % 100
    if kind < 8:
        return "SKIP"
    if kind == 8:
        return "FAIL" if rng.random() < 0.2 else "PASS"
    broken = (place * 13 + cell * 29) % 400
    if kind < 12 and broken <= night < broken + 12:
        return "CRASH" if kind == 11 else "FAIL"
    return "PASS"


def _make_directory(record: RunRecord) -> RunRecord:
    """Write the directory of a run; return its record with what the checkpoints show."""
    directory = Path(record.run_dir)
    results = tuple(checkpoint.judge(seen, pages.__getitem__) for seen, pages in _tables())
    probes = tuple(
        msgspec.structs.replace(probe, checkpoints=results if place < _WITH_MAPS else ())
        for place, probe in enumerate(record.probes)
    )
    record = msgspec.structs.replace(record, probes=probes)
    for probe in record.probes:
        where = directory / probe.directory
        where.mkdir(parents=True, exist_ok=True)
        lines = [f"ok {n} {each.name}" for n, each in enumerate(probe.subtests, 1)]
        (where / rundir.KTAP).write_text("\n".join(["KTAP version 1", "1..5", *lines, ""]))
        (where / rundir.STDERR).touch()
        if probe.checkpoints:
            for seen, pages in _tables():
                rundir.keep_checkpoint(where, seen, pages)
    lines = [f"[{n / 100:12.6f}] line {n} of a console" for n in range(2000)]
    (directory / rundir.SERIAL).write_text("\n".join(lines))
    (directory / rundir.RESULT).write_bytes(to_json(record))
    return record


@functools.cache
def _tables() -> tuple[tuple[CheckpointEvidence, dict[int, bytes]], ...]:
    """Return a checkpoint with the tables of 1 GiB on x86-64, a PTE's page in every other PMD."""
    flags, large = 0x67, 1 << 7  # present, writable, user, accessed, dirty
    start, root, middle, low, ptes = 1 << 30, 0x1000, 0x2000, 0x3000, 0x4000
    pmds = (ptes | flags if n % 2 else start + (n << 21) | flags | large for n in range(512))
    pages = {
        root: _page([middle | flags]),
        middle: _page([0, low | flags]),
        low: _page(pmds),
        ptes: _page(start + (n << 12) | flags for n in range(512)),
        start: _page([1]),  # the token, where the first PTE leads
    }
    line = (
        f"checkpoint cpu=0 start={start:#x} length={1 << 30:#x} page=0x1000 "
        f"beacon={start + (1 << 21):#x} token=0x1 pagemap=0x0 smaps= want= name=made up"
    )
    return ((CheckpointEvidence(number=1, line=line, root=root, levels=4), pages),)


def _page(entries: Iterable[int]) -> bytes:
    return b"".join(struct.pack("<Q", each) for each in entries).ljust(4096, b"\0")
