# SPDX-License-Identifier: GPL-2.0-only
"""The table at the end of a run.

On a terminal rich draws it; elsewhere it is plain lines, one a probe, never wrapped, for grep.
`rich` is imported only for the terminal, because it takes a tenth of a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple, TextIO

from harness.judge.promises import describe_hgm
from harness.records.kernel import How, KernelParts, KernelSummary, SeriesIdentity
from harness.records.machine import PoolSummary
from harness.records.probe import ProbeResult, Status
from harness.records.run import RunRecord
from harness.report import known_issues, promises
from harness.report.columns import count

if TYPE_CHECKING:
    from rich.table import Table

_STYLES: dict[Status, str] = {
    "PASS": "green",
    "KNOWN": "yellow",
    "SKIP": "yellow",
    "FAIL": "bold red",
    "CRASH": "bold red",
    "HANG": "bold magenta",
    "LOST": "bold magenta",
}

#: How patches were applied, after their number.
_HOW: dict[How, str] = {
    "3way": "merged three ways",
    "offset": "at an offset",
    "fuzz": "with fuzz",
    "planned": "not applied",
}

_VERDICT_STYLES = {"PASS": "bold green", "FAIL": "bold red"}

_HASH = re.compile(r"\b[0-9a-f]{40,64}\b")

# Characters of a hash that are shown.
_DIGITS = 12


class ProbeRow(NamedTuple):
    """One probe in the table.

    Attributes:
        status: see `Status`.
        name: the probe's.
        seconds: wall time, as text.
        reason: one line; may be empty.
    """

    status: Status
    name: str
    seconds: str
    reason: str


def write(record: RunRecord, stream: TextIO) -> None:
    """Write the report of a run: in colour on a terminal, plain elsewhere."""
    if not stream.isatty():
        stream.write(plain(record))
        stream.flush()
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    for name, value in head(record):
        console.print(Text.assemble((f"{name:<8} ", "dim"), value))
    if _seen(record):
        console.print(_table(record))
    for name, value in tail(record):
        console.print(Text.assemble((f"{name:<8} ", "dim"), value))
    style = _VERDICT_STYLES.get(record.verdict, "bold magenta")
    console.print(
        Text.assemble((record.verdict, style), verdict_line(record)[len(record.verdict) :])
    )


def plain(record: RunRecord) -> str:
    """Return the plain report of a run; every probe and its reason are on one line."""
    lines = [f"{name:<8} {value}" for name, value in head(record)]
    for group, probes in groups(_seen(record)):
        rows = [row(probe) for probe in probes]
        widest = max(len(item.name) for item in rows)
        lines += ["", group]
        lines += [
            f"  {item.status:<5}  {item.name:<{widest}}  {item.seconds:>8}  {item.reason}".rstrip()
            for item in rows
        ]
    if _seen(record):
        lines.append("")
    lines += [f"{name:<8} {value}" for name, value in tail(record)]
    lines.append(verdict_line(record))
    return "\n".join(lines) + "\n"


def run_name(record: RunRecord) -> str:
    """Return the name of a run: that of its directory."""
    return PurePath(record.run_dir).name


def verdict_line(record: RunRecord) -> str:
    """Return the last line: the verdict, its reason and how long it took."""
    if record.verdict == "CUT":
        why = f"the run was cut in stage {record.stage}"
        return f"CUT: {record.reason or why} ({record.seconds:.1f} s)"
    return f"{record.verdict}: {record.reason} ({record.seconds:.1f} s)"


def groups(probes: tuple[ProbeResult, ...]) -> Iterator[tuple[str, list[ProbeResult]]]:
    """Yield each group (the part of a name before its first slash) with its probes, in order."""
    found: dict[str, list[ProbeResult]] = {}
    for probe in probes:
        found.setdefault(probe.name.partition("/")[0], []).append(probe)
    yield from found.items()


def row(probe: ProbeResult) -> ProbeRow:
    """Return a probe's line in the table."""
    return ProbeRow(probe.status, probe.name, f"{probe.seconds:.2f} s", probe.reason)


def head(record: RunRecord) -> list[tuple[str, str]]:
    """Return the lines above the table: kernel, machine, huge pages."""
    lines: list[tuple[str, str]] = []
    kernel = record.made_of
    if kernel is not None:
        lines.append(("kernel", _kernel(kernel)))
        if refused := kernel.source.refused:
            newer = _short(refused.origin)
            lines.append(("", f"not {newer}: the series does not apply: {refused.reason}"))
        lines.append(("series", _series(kernel.series)))
        lines += [("", note) for note in kernel.series.notes]
        lines.append(("config", _config(kernel)))
    if record.accel is not None:
        lines.append(("accel", f"{record.accel.name}: {record.accel.reason}"))
    if record.hugepages is not None:
        lines.append(("pool", _pool(record.hugepages)))
    lines.append(("HGM", describe_hgm(record.hgm)))
    lines += [("", line) for line in promises.lines(record.promises)]
    if expected := promises.expectation(record.expect, record.promises):
        lines.append(("expect", expected))
    return lines


def tail(record: RunRecord) -> list[tuple[str, str]]:
    """Return the lines below the table: splats, notes, and the run directory."""
    lines = [("kernel", f"splat outside of any probe: {s.title}") for s in record.splats]
    lines += [
        ("machine", f"splat that is the machine's, not the kernel's: {s.title}")
        for s in record.machine_splats
    ]
    if record.probes and not _seen(record):
        lines.append(("probes", f"none of {len(record.probes)} was run"))
    lines += known_issues.lines(record)
    lines += [("note", note) for note in record.notes]
    if record.run_dir:
        lines.append(("record", record.run_dir))
    return lines


def _seen(record: RunRecord) -> tuple[ProbeResult, ...]:
    """Return the probes to show: all, or none if none was run."""
    ran = any(probe.status != "LOST" or probe.directory for probe in record.probes)
    return record.probes if ran else ()


def _kernel(kernel: KernelSummary | KernelParts) -> str:
    if isinstance(kernel, KernelParts):
        return f"not built, of {kernel.source.spec} ({_short(kernel.source.origin)})"
    how = "from the cache" if kernel.cached else f"built in {kernel.build_seconds:.0f} s"
    if kernel.source.kind == "image":
        how = "not built here"
    return f"{kernel.release}, {kernel.source.spec} ({_short(kernel.source.origin)}), {how}"


def _short(origin: str) -> str:
    """Return a source's origin with short hashes."""
    return _HASH.sub(lambda match: match[0][:_DIGITS], origin)


def _series(series: SeriesIdentity) -> str:
    patches = series.patches
    if not patches:
        return series.spec
    inexact = [patch.how for patch in patches if patch.how != "exact"]
    remarks = [f"{inexact.count(how)} {_HOW[how]}" for how in dict.fromkeys(inexact)]
    replaced = sum(bool(patch.resolved) for patch in patches)
    remarks += [f"{replaced} replaced"] if replaced else []
    detail = f" ({', '.join(remarks)})" if remarks else ""
    return f"{series.spec}: {count(len(patches), 'patch', 'patches')}{detail}"


def _config(kernel: KernelSummary | KernelParts) -> str:
    config = kernel.config
    if isinstance(kernel, KernelSummary) and not config.known:
        return "unknown"
    digest = f" (sha256 {config.digest[:_DIGITS]})" if config.digest else ""
    return " + ".join(("base", *config.features)) + digest


def _pool(pool: PoolSummary) -> str:
    if not pool.got:
        return ", ".join(f"{count} x {size} asked" for size, count in pool.asked.items())
    return ", ".join(
        f"{pool.got.get(size, 0)} of {count} x {size}" for size, count in pool.asked.items()
    )


def _table(record: RunRecord) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("status", no_wrap=True)
    table.add_column("probe", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for _, probes in groups(_seen(record)):
        for item in map(row, probes):
            status = Text(item.status, _STYLES[item.status])
            table.add_row(status, Text(item.name), item.seconds, Text(item.reason))
        table.add_section()
    return table
