# SPDX-License-Identifier: GPL-2.0-only
"""From the counters of runs to the lines and functions that probes reached, by gcov and gcovr."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from harness import command
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import RecordError
from harness.records.coverage import CountedFunction, Coverage, SourceCoverage
from harness.store import rundir

# gcovr reads version 2 of gcov's JSON, of gcc 14, which adds the numbers of blocks to a line.
_GCOV_JSON = "2"
_NO_BLOCKS: dict[str, Any] = {"block_ids": []}


class _CountedLine(msgspec.Struct):
    count: int


class _Function(msgspec.Struct):
    name: str
    lineno: int
    execution_count: int


class _File(msgspec.Struct):
    file: str
    lines: list[_CountedLine]
    functions: list[_Function]


class _Report(msgspec.Struct):
    files: list[_File]


def read(runs: Sequence[Path], context: Context, *, html: Path | None = None) -> Coverage:
    """Return what the probes of all guests of some runs reached together.

    Args:
        runs: run directories, of kernels whose counted sources are the same.
        context: where to work, and the deadline.
        html: takes pages with each line's count, the first of them ``index.html``; None for none.

    Raises:
        RecordError: if a run has no counters, or runs of different sources are given together.
        CommandFailed: if gcov or gcovr fails.
    """
    for run in runs:
        _require_counters(run)
    sources = _sources(runs[0])
    for run in runs[1:]:
        _require_same(runs[0], run)
    with context.workspace.unfinished("coverage") as room:
        for number, (guest, counters) in enumerate(each for run in runs for each in _counters(run)):
            text = _gcov(guest, counters, sources, room / str(number), context.deadline)
            (room / f"{number}.gcov.json.gz").write_bytes(gzip.compress(text))
        report = room / "report.json"
        argv = [sys.executable, "-m", "gcovr", "--gcov-use-existing-files", "--root", str(sources)]
        argv += ["--json", str(report)]
        if html is not None:
            rundir.make_directory(html, "--html")
            title = "Lines of the kernel that the probes reached"
            argv += ["--html-details", str(html.absolute() / "index.html"), "--html-title", title]
        command.run([*argv, str(room)], context.deadline, cwd=room)
        found = msgspec.json.decode(report.read_bytes(), type=_Report)
    return Coverage(sources=tuple(map(_summary, found.files)))


def _require_counters(run: Path) -> None:
    if not list(_counters(run)):
        said = [note for note in rundir.load(run).notes if "lines that the probes" in note]
        raise RecordError(
            "; ".join([f"{run} has no counts of lines", *said]),
            hint="they come from a kernel that is built with --config coverage",
        )


def _require_same(first: Path, other: Path) -> None:
    def texts(run: Path) -> dict[str, bytes]:
        top = _sources(run)
        return {str(each.relative_to(top)): each.read_bytes() for each in top.rglob("*.c")}

    if texts(first) != texts(other):
        raise RecordError(
            f"{other} is a run of a kernel whose sources differ from those of {first}",
            hint="give runs of one kernel, or one run at a time",
        )


def _sources(run: Path) -> Path:
    return run.absolute() / rundir.COVERAGE / "source"


def _counters(run: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each guest's directory and a file of counters in it."""
    for guest in sorted((run / rundir.COVERAGE).glob("guest-*")):
        yield from ((guest, counters) for counters in sorted(guest.rglob("*.gcda")))


def _gcov(guest: Path, counters: Path, root: Path, room: Path, deadline: Deadline) -> bytes:
    """Return one source's counts as gcov's JSON, under the source's path below ``root``.

    gcov wants counters and notes side by side. It names files as they were where they were
    compiled, which may be on another machine; those that the source includes are left out.
    """
    inside = counters.relative_to(guest)
    room.mkdir()
    shutil.copyfile(counters, room / counters.name)
    notes = (guest.parent / "source" / inside).with_suffix(".gcno")
    shutil.copyfile(notes, room / notes.name)
    said = command.run(["gcov", "--json-format", "--stdout", counters.name], deadline, cwd=room)
    counted = json.loads(said.stdout)
    source = str(inside.with_suffix(".c"))
    files = [
        {**each, "file": source, "lines": [_NO_BLOCKS | line for line in each["lines"]]}
        for each in counted["files"]
        if each["file"].endswith(f"/{source}")
    ]
    where = {"format_version": _GCOV_JSON, "current_working_directory": str(root)}
    return json.dumps(counted | where | {"files": files}).encode()


def _summary(found: _File) -> SourceCoverage:
    functions = (
        CountedFunction(name=each.name, line=each.lineno, calls=each.execution_count)
        for each in found.functions
    )
    return SourceCoverage(
        path=found.file,
        lines=len(found.lines),
        reached=sum(line.count > 0 for line in found.lines),
        functions=tuple(sorted(functions, key=lambda each: each.line)),
    )
