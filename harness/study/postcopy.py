# SPDX-License-Identifier: GPL-2.0-only
"""Reads from a run what its pre-copy and post-copy probes counted."""

from __future__ import annotations

import functools
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from harness.judge import ktap, lines
from harness.judge.ktap_document import KtapResult, status
from harness.probes import catalog
from harness.records.base import Record
from harness.records.probe import ProbeSpec
from harness.records.run import RunRecord
from harness.records.study import (
    AbsentRow,
    FragmentedFigures,
    Guarantee,
    Landing,
    LinkModel,
    PostcopyFigures,
    PostcopyRow,
    PostcopyStudy,
    PrecopyFigures,
    PrecopyRow,
    ReadTimes,
    ReclaimedFigures,
    StepTimes,
)
from harness.report import study as report
from harness.sizes import parse_size
from harness.store import rundir
from harness.study import guarantees, histogram

_POSTCOPY = "c/postcopy.c"
_PRECOPY = "c/precopy.c"
_FRAGMENTED = "c/fragmented.c"
_RECLAIMED = "c/reclaimed.c"
_BASE_PAGE = 4096

_TIMES = re.compile(
    r"times: step=(?P<step>read|queue|fetch|install|resume|access) cells=(?P<cells>[0-9:,]{1,9000})"
)

_RESIDENCE = re.compile(r"residence: points=(?P<points>(?:\d{1,15}:\d{1,15},?){1,64})", re.ASCII)
_COLLAPSE = re.compile(r"collapse: bytes=\d{1,15} ns=(?P<ns>\d{1,15})", re.ASCII)
_READS = re.compile(
    r"afterwards: mapping=(?P<mapping>base|collapsed|huge) reads=(?P<reads>[1-9]\d{0,8}) "
    r"ns=(?P<passes>(?:\d{1,15},?){1,64})",
    re.ASCII,
)

_Row = PostcopyRow | PrecopyRow | FragmentedFigures | ReclaimedFigures
_Figures = TypeVar("_Figures", PostcopyFigures, PrecopyFigures, FragmentedFigures, ReclaimedFigures)
_Found = TypeVar("_Found", FragmentedFigures, ReclaimedFigures)


def probes(options: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names, without size, of the probes that the study runs.

    Args:
        options: for those of post-copy, such as ``--uffds 2``; they follow the name.
    """
    return (*_timed(options), *_family(_RECLAIMED), *_family(_FRAGMENTED))


def rounds(count: int, options: Sequence[str] = ()) -> tuple[tuple[str, ...], ...]:
    """Return the probes of each of several runs, in the order that they run in.

    The first is `probes`. The others measure times only, in one order and the other in turn.
    """
    there, back = _timed(options), _timed(options)[::-1]
    return (probes(options), *(there if number % 2 else back for number in range(count - 1)))


def _timed(options: Sequence[str]) -> tuple[str, ...]:
    postcopy = (" ".join((name, *options)) for name in _family(_POSTCOPY))
    return (*_family(_PRECOPY), *postcopy)


def _family(source: str) -> tuple[str, ...]:
    return tuple(name for name, its_source in _sources().items() if its_source == source)


@functools.cache
def _specs() -> tuple[ProbeSpec, ...]:
    """Return the probes of the study."""
    sources = (_PRECOPY, _POSTCOPY, _RECLAIMED, _FRAGMENTED)
    return tuple(spec for spec in catalog.load() if spec.source in sources)


@functools.cache
def _sources() -> Mapping[str, str]:
    """Return their sources by their names without size."""
    return {catalog.family(spec.name): spec.source for spec in _specs()}


def read(run_dir: Path, link: LinkModel) -> PostcopyStudy:
    """Return the study of a run.

    Raises:
        RecordError: if the run's record or a probe's output cannot be read.
    """
    record, ours = rundir.load(run_dir), _sources()
    outputs = {
        probe.name: lines.decode(rundir.read_output(run_dir, probe.name)[0])
        for probe in record.probes
        if probe.directory and catalog.family(probe.name) in ours
    }
    return study(record, outputs, link)


def study(record: RunRecord, outputs: Mapping[str, str], link: LinkModel) -> PostcopyStudy:
    """Return the study of a run.

    Args:
        record: the run's.
        outputs: what its probes printed, by name; others than the study's are not read.
        link: what fetches are computed for.
    """
    found: list[_Row] = []
    absent: list[AbsentRow] = []
    doubts: list[str] = []
    for probe in record.probes:
        source = _sources().get(catalog.family(probe.name))
        if source is None:
            continue
        document = ktap.parse(outputs.get(probe.name, ""))
        if probe.status != "PASS":
            absent.append(AbsentRow(probe=probe.name, reason=f"{probe.status}: {probe.reason}"))
        elif not document.results:
            doubts.append(f"{probe.name}: it passed and has no results")
        for result in document.results:
            test = f"{probe.name} > {result.description}"
            if status(result) == "SKIP" and probe.status == "PASS":
                absent.append(AbsentRow(probe=test, reason=f"SKIP: {result.reason}"))
            if status(result) != "PASS":
                continue
            these, wrong = _of_test(source, probe.name, result, link)
            found += these
            if wrong:
                doubts.append(f"{test}: {wrong}")
                absent.append(AbsentRow(probe=test, reason=wrong))
    rows = [each for each in found if isinstance(each, PostcopyRow)]
    precopy = [each for each in found if isinstance(each, PrecopyRow)]
    fragmented = [each for each in found if isinstance(each, FragmentedFigures)]
    reclaimed = [each for each in found if isinstance(each, ReclaimedFigures)]
    kernel, accel, machine = record.kernel, record.accel, record.machine
    failed = bool(doubts) and record.exit_code == 0
    return PostcopyStudy(
        run_dir=record.run_dir,
        kernel=kernel.release if kernel is not None else "",
        accel=accel.name if accel is not None else "",
        hugetlb_cma=machine is not None and machine.hugetlb_cma,
        verdict="FAIL" if failed else record.verdict,
        reason=doubts[0] if failed else record.reason,
        exit_code=1 if failed else record.exit_code,
        link=link,
        rows=tuple(rows),
        precopy=tuple(precopy),
        fragmented=tuple(fragmented),
        reclaimed=tuple(reclaimed),
        guarantees=_guarantees(record, rows, precopy, fragmented, reclaimed),
        absent=tuple(absent),
    )


def _of_test(
    source: str, probe: str, result: KtapResult, link: LinkModel
) -> tuple[list[_Row], str]:
    """Return what a test that passed has found, or nothing and why it cannot be right."""
    rows: list[_Row]
    if source == _PRECOPY:
        tracked = list(_figures(result, "precopy: ", PrecopyFigures))
        rows, wrong = [_precopy_row(probe, one) for one in tracked], _precopy_doubt(tracked)
    elif source == _FRAGMENTED:
        had = list(_figures(result, "fragmented: ", FragmentedFigures))
        rows, wrong = [_of_probe(probe, one) for one in had], _fragmented_doubt(had)
    elif source == _RECLAIMED:
        left = list(_figures(result, "reclaimed: ", ReclaimedFigures))
        rows = [_of_probe(probe, one) for one in left]
        wrong = _only(left) or _reclaimed_doubt(left[0])
    else:
        moved = list(_figures(result, "postcopy: ", PostcopyFigures))
        rows = [_row(probe, one, result, link) for one in moved]
        wrong = _only(moved) or _postcopy_doubt(moved[0])
    return [] if wrong else rows, wrong


def _figures(result: KtapResult, prefix: str, kind: type[_Figures]) -> Iterator[_Figures]:
    """Yield the figures in a test's output; lines that are not such are left out."""
    for line in result.diagnostics:
        if line.startswith(prefix):
            words = (word.partition("=") for word in line.removeprefix(prefix).split())
            fields = {name: value for name, _, value in words}
            try:
                yield msgspec.convert(fields, kind, strict=False)
            except msgspec.ValidationError:
                continue


def _of_probe(probe: str, figures: _Found) -> _Found:
    """Return figures with the probe that found them, whatever the guest said."""
    return msgspec.structs.replace(figures, probe=probe)


def _only(figures: Sequence[Record]) -> str:
    """Return why a test cannot have this many lines of figures; empty if there is one."""
    if len(figures) == 1:
        return ""
    return f"it passed with {len(figures)} lines of figures, expected one"


def _postcopy_doubt(one: PostcopyFigures) -> str:
    """Return why the figures of one test cannot be right; empty if they can."""
    if one.unit % _BASE_PAGE or one.touched % _BASE_PAGE or one.moved % one.unit:
        return f"{one.moved} bytes moved and {one.touched} touched are not whole pages"
    if not one.touched <= one.moved <= one.memory:
        return f"{one.moved} bytes moved of {one.memory}, {one.touched} were touched"
    return ""


def _precopy_doubt(figures: list[PrecopyFigures]) -> str:
    """Return why the figures of one test cannot be right; empty if they can."""
    if not figures:
        return "it passed without a line of figures"
    for one in figures:
        if one.grain % _BASE_PAGE or one.written % _BASE_PAGE or one.reported % _BASE_PAGE:
            return f"{one.reported} bytes reported and {one.written} written are not whole pages"
        if one.reported < one.written:
            return f"{one.reported} bytes were reported, {one.written} were written"
        if one.reported > one.rounds * one.memory:
            return f"{one.reported} bytes were reported in {one.rounds} rounds of {one.memory}"
    return ""


def _fragmented_doubt(figures: list[FragmentedFigures]) -> str:
    """Return why the figures of one test cannot be right; empty if they can."""
    if not figures:
        return "it passed without a line of figures"
    for one in figures:
        if one.got > one.wanted:
            return f"{one.got} huge pages were had, {one.wanted} were asked for"
    return ""


def _reclaimed_doubt(one: ReclaimedFigures) -> str:
    """Return why the figures of one test cannot be right; empty if they can."""
    if max(one.resident, one.huge, one.read) > one.memory:
        return f"{one.resident} bytes resident and {one.huge} huge are more than {one.memory}"
    return ""


def _guarantees(
    record: RunRecord,
    rows: Sequence[PostcopyRow],
    precopy: Sequence[PrecopyRow],
    fragmented: Sequence[FragmentedFigures],
    reclaimed: Sequence[ReclaimedFigures],
) -> tuple[Guarantee, ...]:
    cma = record.machine is not None and record.machine.hugetlb_cma
    memories: dict[str, guarantees.Tested] = {}
    if not (rows or precopy or fragmented or reclaimed):
        return ()
    backings = {
        catalog.family(spec.name): spec.arguments[spec.arguments.index("--backing") + 1]
        for spec in _specs()
        if "--backing" in spec.arguments
    }
    reclaim_ended = {
        _size_of(probe.name): _failure(probe.status)
        for probe in record.probes
        if _sources().get(catalog.family(probe.name)) == _RECLAIMED
    }
    for probe in record.probes:
        backing = backings.get(catalog.family(probe.name))
        if backing is None:
            continue
        size = _size_of(probe.name)
        name = report.memory(backing, probe.name, cma=cma)
        tested = memories.get(name, guarantees.Tested(backing=backing, size=size))
        ended = _failure(probe.status)
        is_precopy = _sources()[catalog.family(probe.name)] == _PRECOPY
        memories[name] = msgspec.structs.replace(
            tested,
            postcopy_ended=tested.postcopy_ended or ("" if is_precopy else ended),
            precopy_ended=tested.precopy_ended or (ended if is_precopy else ""),
            postcopy=(*tested.postcopy, *(row for row in rows if row.probe == probe.name)),
            precopy=(*tested.precopy, *(row.figures for row in precopy if row.probe == probe.name)),
            reclaimed=tuple(
                each for each in reclaimed if (each.backing, each.size) == (backing, size)
            ),
            reclaimed_ended=reclaim_ended.get(size, ""),
        )
    return tuple(guarantees.table(memories, fragmented, cma=cma))


def _size_of(probe: str) -> int:
    """Return the bytes of the huge pages of a probe."""
    return parse_size(catalog.plain_name(probe).rpartition("/")[2], probe)


def _failure(status: str) -> str:
    """Return how a probe ended if none of its results counts; else nothing.

    With a known issue the tests that passed count; figures of those that failed are not read.
    """
    return "" if status in ("PASS", "SKIP", "KNOWN") else status


def _precopy_row(probe: str, figures: PrecopyFigures) -> PrecopyRow:
    return PrecopyRow(
        probe=probe, figures=figures, amplification=figures.reported / figures.written
    )


def _matches(pattern: re.Pattern[str], result: KtapResult) -> Iterator[re.Match[str]]:
    return (match for line in result.diagnostics if (match := pattern.fullmatch(line)))


def _residence(text: str) -> tuple[Landing, ...]:
    pairs = (word.partition(":") for word in text.split(",") if word)
    return tuple(Landing(moved=int(moved), ns=int(ns)) for moved, _, ns in pairs)


def _reads(match: re.Match[str]) -> ReadTimes:
    reads, passes = int(match["reads"]), [int(word) for word in match["passes"].split(",") if word]
    return ReadTimes(
        mapping=match["mapping"],
        reads=reads,
        passes=tuple(passes),
        median=statistics.median(passes) / reads,
    )


def _times(result: KtapResult) -> tuple[StepTimes, ...]:
    """Return the histograms in a test's output; lines that are not such are left out."""
    found = []
    for match in _matches(_TIMES, result):
        try:
            cells = histogram.parse(match["cells"])
        except ValueError:
            continue
        p50, p99, p99_9, longest = (
            histogram.percentile(cells, share) for share in (50, 99, 99.9, 100)
        )
        found.append(
            StepTimes(
                step=match["step"], cells=cells, p50=p50, p99=p99, p99_9=p99_9, longest=longest
            )
        )
    return tuple(found)


def _row(probe: str, figures: PostcopyFigures, result: KtapResult, link: LinkModel) -> PostcopyRow:
    residence = next(_matches(_RESIDENCE, result), None)
    collapse = next(_matches(_COLLAPSE, result), None)
    return PostcopyRow(
        probe=probe,
        figures=figures,
        times=_times(result),
        residence=_residence(residence["points"]) if residence else (),
        collapse_ns=int(collapse["ns"]) if collapse else 0,
        afterwards=tuple(map(_reads, _matches(_READS, result))),
        fetch_seconds=link.seconds(figures.unit),
        amplification=figures.moved / figures.touched,
    )
