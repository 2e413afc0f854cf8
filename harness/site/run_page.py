# SPDX-License-Identifier: GPL-2.0-only
"""The page of a run: verdict, what changed, every probe, and the details of those that failed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from harness.judge import lines
from harness.probes.catalog import plain_name
from harness.records.base import Record
from harness.records.campaign import Comparison
from harness.records.history import PastRun
from harness.records.machine import pages_words
from harness.records.outcome import Outcome
from harness.records.probe import ProbeResult, Splat, Status
from harness.records.run import RunRecord, Verdict
from harness.report import compare, text
from harness.report.columns import count
from harness.report.history import when
from harness.report.reproduce import short_command
from harness.site import names, render
from harness.site.evidence import Files, Lines
from harness.site.index_page import cut
from harness.site.text_page import console_anchor, console_title
from harness.site.words import Link, ShownPicture, cell_link, duration, run_link
from harness.store import rundir

_FINE: tuple[Status, ...] = ("PASS", "SKIP", "LOST")
_MOST_CHARACTERS = 2000
_MOST_LINES = 400

#: What `parts.beside` makes; no text of a guest has markup in it.
_BESIDE = re.compile(r'<ul class="pages beside">.*?</ul>', re.DOTALL)


class Fact(Record, frozen=True, kw_only=True):
    """A name and what it is."""

    name: str
    value: str


class SplatLine(Record, frozen=True, kw_only=True):
    """A line of a splat.

    Attributes:
        text: as the kernel printed it.
        places: where in the source it was, inlined functions first; may be empty.
    """

    text: str
    places: str


class SplatBlock(Record, frozen=True, kw_only=True):
    """A splat.

    Attributes:
        title: its first line.
        path: of its place in the console's page; empty without that page.
        where: such as ``line 812 of the console``; empty likewise.
        lines: all of it.
    """

    title: str
    path: str
    where: str
    lines: tuple[SplatLine, ...]


class Part(Record, frozen=True, kw_only=True):
    """A result inside a probe that did not pass."""

    name: str
    status: Status
    reason: str


class Detail(Record, frozen=True, kw_only=True):
    """All about a probe that did not simply pass.

    Attributes:
        name: of the probe, with the number of its repetition.
        anchor: in the page.
        status: how it ended.
        reason: in full.
        facts: where the kernel stopped, what leaked, known issues, files.
        parts: results inside it that did not pass.
        passed: how many did.
        splats: what the kernel reported meanwhile.
        map: the picture of its page tables; None without.
        output: path of its place in the page of outputs; empty without.
    """

    name: str
    anchor: str
    status: Status
    reason: str
    facts: tuple[Fact, ...]
    parts: tuple[Part, ...]
    passed: int
    splats: tuple[SplatBlock, ...]
    map: ShownPicture | None
    output: str


class MapBlock(Record, frozen=True, kw_only=True):
    """The page tables of a probe that passed."""

    name: str
    picture: ShownPicture


class ProbeLine(Record, frozen=True, kw_only=True):
    """A probe in the list of all.

    Attributes:
        probe: link to its page.
        status: how it ended.
        took: its wall time.
        reason: one line; may be empty.
        links: to its details, output and map, as far as there are any.
    """

    probe: Link
    status: Status
    took: str
    reason: str
    links: tuple[Link, ...]


class Group(Record, frozen=True, kw_only=True):
    """Probes whose names begin the same."""

    name: str
    summary: str
    lines: tuple[ProbeLine, ...]


class Beside(Record, frozen=True, kw_only=True):
    """Links from a run's page to the runs beside it in its cell.

    Attributes:
        before: the run before it; None without.
        after: the run after it; None without.
        comparison: path of the page that compares it with the run before; empty if there is none.
    """

    before: Link | None
    after: Link | None
    comparison: str


class RunPage(Record, frozen=True, kw_only=True):
    """The page of a run.

    Attributes:
        name: of its directory.
        when: when it began.
        verdict: see `Verdict`.
        line: the verdict with its reason and time.
        cell: which one.
        beside: the runs before and after it.
        changed: how the results differ from the run before, in a line; empty without one.
        differs: what else differs from the run before.
        config: a line for each symbol that is configured otherwise than before.
        facts: kernel, series, configuration, machine.
        remarks: notes, known issues.
        groups: all probes.
        details: those that did not simply pass.
        maps: of the others.
        splats: what the kernel reported outside of any probe.
        times: of the stages.
        command: that repeats the run.
        qemu: QEMU's command line.
        pages: consoles, outputs, coverage, study; as far as there are any.
        gone: whether the run directory is no longer there.
    """

    name: str
    when: str
    verdict: Verdict
    line: str
    cell: Link
    beside: Beside
    changed: str
    differs: tuple[str, ...]
    config: tuple[str, ...]
    facts: tuple[Fact, ...]
    remarks: tuple[Fact, ...]
    groups: tuple[Group, ...]
    details: tuple[Detail, ...]
    maps: tuple[MapBlock, ...]
    splats: tuple[SplatBlock, ...]
    times: tuple[Fact, ...]
    command: str
    qemu: str
    pages: tuple[Link, ...]
    gone: bool


class Neighbours(Record, frozen=True, kw_only=True):
    """What a run's page says of other runs.

    Attributes:
        before: the run before it in its cell.
        after: the run after it.
        comparison: with the run before; None if there is none.
        config: a line for each symbol that is configured otherwise than before.
    """

    before: PastRun | None = None
    after: PastRun | None = None
    comparison: Comparison | None = None
    config: tuple[str, ...] = ()


def run(
    past: PastRun,
    record: RunRecord,
    files: Files,
    context: Neighbours,
    coverage: str,
    *,
    study: bool = False,
) -> RunPage:
    """Return the model of a run's page.

    Args:
        past: the run as the history has it.
        record: all of it.
        files: of its directory.
        context: other runs.
        coverage: path of the page with the lines that it reached; empty without.
        study: whether it has a page with what pre-copy and post-copy moved.
    """
    consoles = {file: Lines(data) for file, data in files.consoles.items()}
    pages = [
        *(Link(text=console_title(file), path=names.console(past.id, file)) for file in consoles),
        *([Link(text="Output of the probes", path=names.ktap(past.id))] if files.outputs else []),
        *([Link(text="Lines reached", path=coverage)] if coverage else []),
        *([Link(text="Pre-copy and post-copy", path=names.study(past.id))] if study else []),
    ]
    found = context.comparison

    def block(splat: Splat, where: str) -> SplatBlock:
        return _splat(past.id, splat, files.symbols.get(where, {}), consoles)

    details = tuple(_details(past.id, record.probes, files, block))
    detailed = {each.name for each in details}
    return RunPage(
        name=text.run_name(record) or past.id,
        when=when(past),
        verdict=record.verdict,
        line=text.verdict_line(record),
        cell=cell_link(past.cell),
        beside=beside(past, context),
        changed=compare.verdict(found) if found else "",
        differs=found.differs if found else (),
        config=context.config,
        facts=tuple(Fact(name=n, value=v) for n, v in (*text.head(record), *_machine(record))),
        remarks=tuple(Fact(name=n, value=v) for n, v in text.tail(record) if n != "record"),
        groups=tuple(
            _group(name, probes, past.id, files, detailed, record.outcome is Outcome.PROBES_RAN)
            for name, probes in text.groups(record.probes)
        ),
        details=details,
        maps=tuple(
            MapBlock(name=probe.name, picture=picture)
            for probe in record.probes
            if probe.name not in detailed and (picture := _map(past.id, probe.name, files))
        ),
        splats=tuple(block(splat, rundir.OUTSIDE) for splat in record.splats),
        times=tuple(Fact(name=each.name, value=duration(each.seconds)) for each in record.stages),
        command=short_command(record) if record.command else "",
        qemu=" ".join(record.qemu),
        pages=tuple(pages),
        gone=not files.consoles and not files.outputs,
    )


def beside(past: PastRun, context: Neighbours) -> Beside:
    """Return the links to the runs beside a run."""
    found = context.comparison
    return Beside(
        before=run_link(context.before) if context.before else None,
        after=run_link(context.after) if context.after else None,
        comparison=names.comparison(past.id) if found and differ(found) else "",
    )


def with_beside(page: str, links: Beside, path: str) -> str:
    """Return a page that was made earlier with today's links to the runs beside it.

    Args:
        page: the whole of it, as HTML.
        links: to these runs.
        path: of the page.
    """
    made = render.part("beside", links, path)
    return _BESIDE.sub(lambda _: made.strip(), page, count=1)


def differ(found: Comparison) -> bool:
    """Return whether a comparison has something to show."""
    return bool(found.changes or found.splats or found.times or found.ended)


def _machine(record: RunRecord) -> Iterator[tuple[str, str]]:
    if record.machine is not None:
        pools = pages_words(record.machine.hugepages)
        yield (
            "machine",
            f"{count(record.machine.cpus, 'CPU')}, {count(record.machine.nodes, 'node')}, "
            f"{record.machine.memory / 2**30:g} GiB, {pools or 'no huge pages'}",
        )
    if record.qemu_version:
        yield ("QEMU", record.qemu_version)
    if record.timeout_scale:
        yield ("time", f"limits multiplied by {record.timeout_scale:.2g} on this host")
    if record.harness:
        yield ("hgm", record.harness)


def _group(
    name: str,
    probes: list[ProbeResult],
    run_id: str,
    files: Files,
    detailed: set[str],
    ran: bool,
) -> Group:
    passed = sum(probe.status == "PASS" for probe in probes)
    return Group(
        name=name,
        summary=f"{passed} of {len(probes)} passed",
        lines=tuple(
            _probe_line(probe, run_id, files, detailed=probe.name in detailed, ran=ran)
            for probe in probes
        ),
    )


def _probe_line(
    probe: ProbeResult, run_id: str, files: Files, *, detailed: bool, ran: bool
) -> ProbeLine:
    links = []
    if detailed:
        links.append(("details", f"{names.run(run_id)}#{names.anchor(probe.name)}"))
    if probe.name in files.outputs:
        links.append(("output", _output(run_id, probe.name)))
    if probe.name in files.maps:
        links.append(("map", names.page_map(run_id, probe.name)))
    return ProbeLine(
        probe=Link(text=probe.name, path=names.probe(plain_name(probe.name)) if ran else ""),
        status=probe.status,
        took=duration(probe.seconds),
        reason=cut(probe.reason),
        links=tuple(Link(text=what, path=path) for what, path in links),
    )


def _output(run_id: str, name: str) -> str:
    return f"{names.ktap(run_id)}#{names.anchor(name)}"


def _map(run_id: str, name: str, files: Files) -> ShownPicture | None:
    found = files.maps.get(name)
    if found is None:
        return None
    words = lines.short(f"Page tables of {found.words}", _MOST_CHARACTERS)
    return ShownPicture(path=names.page_map(run_id, name), words=words)


_SplatMaker = Callable[[Splat, str], SplatBlock]


def _details(
    run_id: str, probes: Iterable[ProbeResult], files: Files, block: _SplatMaker
) -> Iterator[Detail]:
    for probe in probes:
        if probe.status in _FINE and not probe.splats and not probe.leaks:
            continue
        yield Detail(
            name=probe.name,
            anchor=names.anchor(probe.name),
            status=probe.status,
            reason=lines.short(probe.reason, _MOST_CHARACTERS),
            facts=tuple(Fact(name=n, value=v) for n, v in _facts(probe)),
            parts=tuple(
                Part(
                    name=each.name,
                    status=each.status,
                    reason=lines.short(each.reason, _MOST_CHARACTERS),
                )
                for each in probe.subtests
                if each.status != "PASS"
            ),
            passed=sum(each.status == "PASS" for each in probe.subtests),
            splats=tuple(block(splat, probe.name) for splat in probe.splats),
            map=_map(run_id, probe.name, files),
            output=_output(run_id, probe.name) if probe.name in files.outputs else "",
        )


def _facts(probe: ProbeResult) -> Iterator[tuple[str, str]]:
    if probe.blame:
        yield "stopped in", probe.blame
    for leak in probe.leaks:
        yield "did not come back", f"{leak.what}: {leak.before} before, {leak.after} after"
    for checkpoint in probe.checkpoints:
        for problem in checkpoint.problems:
            yield f"page tables, checkpoint {checkpoint.number}", problem
    if probe.known_issues:
        yield "known issues", ", ".join(probe.known_issues)
    if probe.evidence:
        yield "captured", ", ".join(probe.evidence)


def _splat(
    run_id: str,
    splat: Splat,
    symbols: Mapping[str, tuple[str, ...]],
    consoles: Mapping[str, Lines],
) -> SplatBlock:
    console = consoles.get(splat.console)
    number = console.number(splat.offset) if console else 0
    anchor = console_anchor(number, console.count) if console else ""
    title = console_title(splat.console).lower()
    shown = splat.block[:_MOST_LINES]
    return SplatBlock(
        title=splat.title,
        path=f"{names.console(run_id, splat.console)}#{anchor}" if anchor else "",
        where=f"line {number} of the {title}" if anchor else "",
        lines=tuple(SplatLine(text=line, places=_places(line, symbols)) for line in shown),
    )


def _places(line: str, symbols: Mapping[str, tuple[str, ...]]) -> str:
    found = (symbols.get(match[0], ()) for match in re.finditer(lines.SYMBOL, line))
    return ", ".join(place for places in found for place in places if " at " in place)
