# SPDX-License-Identifier: GPL-2.0-only
"""Reads from a run what its pre-copy and post-copy probes counted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from harness.judge import ktap, lines
from harness.judge.ktap_document import KtapResult, status
from harness.probes import catalog
from harness.records.run import RunRecord
from harness.records.study import (
    AbsentRow,
    LinkModel,
    PostcopyFigures,
    PostcopyRow,
    PostcopyStudy,
    PrecopyFigures,
    PrecopyRow,
    StepTimes,
)
from harness.store import rundir
from harness.study import histogram

_POSTCOPY = "c/postcopy.c"
_PRECOPY = "c/precopy.c"
_BASE_PAGE = 4096

_TIMES = re.compile(
    r"times: step=(?P<step>read|queue|fetch|install|resume|access) cells=(?P<cells>[0-9:,]{1,9000})"
)

_Figures = TypeVar("_Figures", PostcopyFigures, PrecopyFigures)


def probes() -> tuple[str, ...]:
    """Return the names, without size, of the probes that the study runs."""
    return (*_family(_PRECOPY), *_family(_POSTCOPY))


def _family(source: str) -> tuple[str, ...]:
    names = (catalog.family(spec.name) for spec in catalog.load() if spec.source == source)
    return tuple(dict.fromkeys(names))


def read(run_dir: Path, link: LinkModel) -> PostcopyStudy:
    """Return the study of a run.

    Raises:
        RecordError: if the run's record or a probe's output cannot be read.
    """
    record, ours = rundir.load(run_dir), probes()
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
    rows: list[PostcopyRow] = []
    precopy: list[PrecopyRow] = []
    absent: list[AbsentRow] = []
    doubts: list[str] = []
    precopy_probes, postcopy_probes = _family(_PRECOPY), _family(_POSTCOPY)
    for probe in record.probes:
        family = catalog.family(probe.name)
        if family not in (*precopy_probes, *postcopy_probes):
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
            if family in precopy_probes:
                tracked = list(_figures(result, "precopy: ", PrecopyFigures))
                wrong = _precopy_doubt(tracked)
                precopy += [] if wrong else [_precopy_row(probe.name, one) for one in tracked]
            else:
                moved = list(_figures(result, "postcopy: ", PostcopyFigures))
                wrong = _doubt(moved)
                rows += [] if wrong else [_row(probe.name, moved[0], _times(result), link)]
            if wrong:
                doubts.append(f"{test}: {wrong}")
                absent.append(AbsentRow(probe=test, reason=wrong))
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
        absent=tuple(absent),
    )


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


def _doubt(figures: list[PostcopyFigures]) -> str:
    """Return why the figures of one test cannot be right; empty if they can."""
    if len(figures) != 1:
        return f"it passed with {len(figures)} lines of figures, expected one"
    one = figures[0]
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


def _precopy_row(probe: str, figures: PrecopyFigures) -> PrecopyRow:
    return PrecopyRow(
        probe=probe, figures=figures, amplification=figures.reported / figures.written
    )


def _times(result: KtapResult) -> tuple[StepTimes, ...]:
    """Return the histograms in a test's output; lines that are not such are left out."""
    found = []
    for line in result.diagnostics:
        match = _TIMES.fullmatch(line)
        if match is None:
            continue
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


def _row(
    probe: str, figures: PostcopyFigures, times: tuple[StepTimes, ...], link: LinkModel
) -> PostcopyRow:
    return PostcopyRow(
        probe=probe,
        figures=figures,
        times=times,
        fetch_seconds=link.seconds(figures.unit),
        amplification=figures.moved / figures.touched,
    )
