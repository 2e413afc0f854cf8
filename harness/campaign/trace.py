# SPDX-License-Identifier: GPL-2.0-only
"""Which patches change the functions in the stack of a hang, a crash or a splat."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.campaign.predicate import Predicate
from harness.judge import kernel_functions, stacks
from harness.judge.lines import PROGRAM_COUNTER, decode
from harness.judge.stacks import Stack
from harness.records.campaign import Candidate, TracedSuspect
from harness.records.probe import Capture, ProbeResult
from harness.records.run import RunRecord
from harness.store import rundir

_FRAME = re.compile(
    rf"(?:{'|'.join(PROGRAM_COUNTER)})? *([A-Za-z_][\w.]*)(\+0x[0-9a-f]+/0x[0-9a-f]+)"
)
_LOCATED = re.compile(r"([A-Za-z_]\w*)(?:\.[\w.]+)? at ")
_LEADING = re.compile(r"[A-Za-z_]\w*")

_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@ ?(.*)")
# The first line of a function, or a section header that git made of it.
_FUNCTION = re.compile(
    r"(?!(?:if|for|while|switch|return|else|do)\b)(?:[A-Za-z_][\w\s*]*[\s*])?(\w+)\("
)
_SYSCALL = re.compile(r"SYSCALL_DEFINE\d\((\w+)")


class Touch(NamedTuple):
    """A function that a patch changes.

    Attributes:
        function: its name.
        hunk: the file and the hunk's header.
    """

    function: str
    hunk: str


def functions(record: RunRecord, predicate: Predicate) -> tuple[str, ...]:
    """Return the functions in the stack of what makes a run bad, the innermost first.

    The blame comes first, then the stacks of the capture that have that function, then those
    of tasks of the same name, then the splats. A run that only FAILs has none.
    """
    found: dict[str, None] = {}
    for probe in filter(predicate.selects, record.probes):
        if predicate.about == "splat" or probe.unexcused in predicate.statuses:
            found.update(dict.fromkeys(_of_probe(probe, Path(record.run_dir))))
    if predicate.about == "splat":
        symbols = rundir.read_symbols(Path(record.run_dir) / rundir.OUTSIDE)
        found.update(dict.fromkeys(_of_splats((s.block for s in record.splats), symbols)))
    return tuple(found)


def _of_probe(probe: ProbeResult, run_dir: Path) -> Iterator[str]:
    named = _LOCATED.findall(probe.blame) or _LEADING.findall(probe.blame.partition("+")[0])[:1]
    yield from named
    capture = rundir.read_capture(run_dir / probe.directory) if probe.directory else None
    symbols: Mapping[str, Sequence[str]] = {}
    if capture is not None:
        symbols = capture.symbols
        evidence = rundir.read_evidence(run_dir / probe.directory)
        name = evidence.console if evidence else rundir.SERIAL
        yield from _of_capture(capture, named, run_dir, name)
    yield from _of_splats((splat.block for splat in probe.splats), symbols)


def _of_capture(capture: Capture, named: Sequence[str], run_dir: Path, name: str) -> Iterator[str]:
    """Yield the functions of the stacks that the blame was taken from, then of its other tasks."""
    console = rundir.read_console(run_dir, name)[capture.console_from : capture.console_to]
    found = stacks.parse(decode(console))
    blamed = [stack for stack in found if set(named) & set(_all_names(stack, capture))]
    tasks = {stack.name for stack in blamed}
    for stack in (*blamed, *(each for each in found if each.name in tasks)):
        yield from _all_names(stack, capture)


def _all_names(stack: Stack, capture: Capture) -> Iterator[str]:
    for frame in stack.frames:
        yield from _names(frame, capture.symbols)


def _of_splats(
    blocks: Iterable[Sequence[str]], symbols: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    for block in blocks:
        for line in block:
            if (frame := _FRAME.match(line)) and "? " not in line:
                yield from _names(frame[1] + frame[2], symbols)


def _names(frame: str, symbols: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the functions of a frame: those that were inlined there, then its own."""
    for located in symbols.get(frame, ()):
        yield located.partition(" at ")[0].partition(".")[0]
    yield frame.partition("+")[0].partition(".")[0]


def touched(patch: str) -> Iterator[Touch]:
    """Yield the functions that a patch changes, as git's hunk headers and its own lines name them.

    A patch that cannot be read yields nothing.
    """
    path, header, function, left = "", "", "", [0, 0]
    for line in patch.split("\n"):
        if max(left) > 0:  # inside a hunk, whose header says how long it is
            mark, text = line[:1] or " ", line[1:]
            left[0] -= mark in " -"
            left[1] -= mark in " +"
            if not text.rstrip().endswith(";"):
                function = _defined(text) or function
            if mark in "+-" and function:
                yield Touch(function, f"{path} {header}")
            if text.rstrip() == "}":
                function = ""
        elif line.startswith("+++ "):
            path = line[4:].partition("\t")[0].partition("/")[2]
        elif hunk := _HUNK.match(line):
            header, left = line.rstrip(), [int(hunk[1] or 1), int(hunk[2] or 1)]
            function = _defined(hunk[3])


def _defined(line: str) -> str:
    """Return the function whose first line this is; empty for any other line."""
    if call := _SYSCALL.match(line):
        return f"sys_{call[1]}"
    start = _FUNCTION.match(line)
    return start[1] if start else ""


def rank(
    trace: Sequence[str], patches: Iterable[tuple[Candidate, str]]
) -> tuple[TracedSuspect, ...]:
    """Return the patches that change a function of a trace, the likeliest first.

    That is the one whose function is innermost; then the one that changes more of them.

    Args:
        trace: functions, the innermost first.
        patches: each with its text, oldest first.
    """
    # `SYSCALL_DEFINE3(madvise, ...)` makes several functions.
    plain = [kernel_functions.SYSCALL.sub(r"sys_\1", function) for function in trace]
    depth = {function: number for number, function in reversed(list(enumerate(plain)))}
    ranked: list[tuple[int, int, TracedSuspect]] = []
    for candidate, text in patches if depth else ():
        hits = {touch.function: touch for touch in touched(text) if touch.function in depth}
        if hits:
            best = min(hits.values(), key=lambda touch: depth[touch.function])
            suspect = TracedSuspect(candidate=candidate, function=best.function, hunk=best.hunk)
            ranked.append((depth[best.function], -len(hits), suspect))
    return tuple(each[2] for each in sorted(ranked, key=lambda each: each[:2]))
