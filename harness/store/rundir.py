# SPDX-License-Identifier: GPL-2.0-only
"""The run directory: written as things happen, whole files only, and read back by anybody.

::

    result.json               the record (docs/reference/result-schema.md); rewritten on each change
    probes/NAME/ktap          standard output of the probe, as it came
    probes/NAME/stderr        its standard error
    probes/NAME/evidence.json how it ended, and which part of serial.log is its
    probes/NAME/checkpoint-N.json   what the host saw at its Nth checkpoint
    probes/NAME/checkpoint-N.pages  the pages of the guest's memory that it read there
    probes/NAME/capture.json  what was learnt when it hung, crashed or complained, and which files
                              beside it hold that (harness/evidence writes them)
    serial.log                the guest's console from the first byte (written by the console)

``NAME`` is the probe's name in a form that is a file name: see `directory_for`.
"""

from __future__ import annotations

import contextlib
import errno
import re
import struct
import urllib.parse
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from harness.errors import NoSpace, RecordError
from harness.judge import checkpoint, dmesg, lines
from harness.judge.pagetable import Run
from harness.judge.probe_verdict import ConsoleSlice, judge_probe
from harness.judge.run_verdict import judge_run
from harness.probes.catalog import matches
from harness.records.base import from_json, to_json
from harness.records.probe import (
    Capture,
    CheckpointEvidence,
    CheckpointResult,
    ProbeEvidence,
    ProbeResult,
    Splat,
)
from harness.records.run import SCHEMA, RunRecord
from harness.workspace import atomic_write

RESULT = "result.json"
SERIAL = "serial.log"
PROBES = "probes"
KTAP = "ktap"
STDERR = "stderr"
EVIDENCE = "evidence.json"
CAPTURE = "capture.json"
#: What the run was made of: `harness.records.run.Ingredients`.
INGREDIENTS = "ingredients.json"

#: One page in a file of them: its guest-physical address and its bytes.
_KEPT_PAGE = struct.Struct("<Q4096s")

#: The first line of a kernel; a run's guests write to one log, one after the other.
_BANNER = re.compile(rb"^[^\n]*\bLinux version \d", re.MULTILINE)

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class _Header(msgspec.Struct):
    """The one field that every version of ``result.json`` has."""

    schema: int


class RunStore:
    """The directory of a run that is under way, and its record.

    The record is on disk from the first moment, with the verdict CUT, so a run that is killed needs
    nobody to say so.

    Args:
        run_dir: an existing directory.
        record: what is known at the start.

    Raises:
        NoSpace: if the file system is full; from each method that writes.
        RecordError: if the directory is gone or not writable; from each method that writes.
    """

    def __init__(self, run_dir: Path, record: RunRecord | None = None) -> None:
        self.run_dir = run_dir
        start = record if record is not None else RunRecord()
        self.record = msgspec.structs.replace(start, run_dir=str(run_dir.absolute()))
        self._save(self.record)

    def update(self, **fields: Any) -> RunRecord:
        """Change fields of the record, write it, and return it.

        Raises:
            TypeError: if there is no such field, or a value is not of its type.
        """
        changed = msgspec.structs.replace(self.record, **fields)
        self._save(changed)
        self.record = changed
        return changed

    def probe_directory(self, name: str) -> Path:
        """Return the directory where a probe's ``ktap`` and ``stderr`` are written, made."""
        path = self.run_dir / directory_for(name)
        with _explained(path):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def conclude(self, evidence: ProbeEvidence, capture: Capture | None = None) -> ProbeResult:
        """Keep how a probe ended, judge it by what lies in its directory, and record the result.

        The evidence is written last: where it is, the other files are whole.

        Args:
            evidence: how it ended.
            capture: what was learnt then, where it hung, crashed or complained.
        """
        path = self.probe_directory(evidence.name)
        if capture is not None:
            self.write(f"{path.relative_to(self.run_dir)}/{CAPTURE}", to_json(capture))
        self.write(f"{path.relative_to(self.run_dir)}/{EVIDENCE}", to_json(evidence))
        result = _judge(self.run_dir, evidence, read_console(self.run_dir))
        self.add_probe(result)
        return result

    def keep_outside_splats(self) -> RunRecord:
        """Record what the kernel complained about outside of any probe."""
        return self.update(splats=_outside_splats(self.run_dir))

    def add_probe(self, result: ProbeResult) -> RunRecord:
        """Put a probe's result into the record: in the place of an earlier one, or at the end."""
        probes = list(self.record.probes)
        for index, earlier in enumerate(probes):
            if earlier.name == result.name:
                probes[index] = result
                break
        else:
            probes.append(result)
        return self.update(probes=tuple(probes))

    def expect(self, results: Iterable[ProbeResult]) -> RunRecord:
        """Put results into the record that stand there until the probes have been run."""
        known = {probe.name for probe in self.record.probes}
        new = (result for result in results if result.name not in known)
        return self.update(probes=(*self.record.probes, *new))

    def write(self, name: str, data: bytes | str, *, executable: bool = False) -> Path:
        """Write a whole file into the run directory, and return its path."""
        path = self.run_dir / name
        with _explained(path):
            atomic_write(path, data)
            if executable:
                path.chmod(0o755)
        return path

    def _save(self, record: RunRecord) -> None:
        data = to_json(record)
        try:
            from_json(data, RunRecord)
        except msgspec.ValidationError as error:
            raise TypeError(f"no such record can be read back: {error}") from None
        self.write(RESULT, data)


def directory_for(name: str) -> str:
    """Return where a probe's files lie, relative to the run directory; no two names share one.

    ``hgm/continue-4k/1G`` becomes ``probes/hgm+continue-4k+1G``; what is neither a letter, a
    digit, nor one of ``_.-`` becomes ``%`` and its code, and so does a dot at the start.

    Raises:
        ValueError: if the name is empty.
    """
    if not name:
        raise ValueError("a probe without a name has no directory")
    parts = [urllib.parse.quote(part, safe="").replace("~", "%7E") for part in name.split("/")]
    whole = "+".join(parts)
    return f"{PROBES}/{'%2E' + whole[1:] if whole.startswith('.') else whole}"


def keep_checkpoint(
    directory: Path, evidence: CheckpointEvidence, pages: Mapping[int, bytes]
) -> None:
    """Write what the host saw at a checkpoint into the probe's directory.

    The pages are written first: where the evidence is, they are whole.
    """
    stem = directory / f"checkpoint-{evidence.number}"
    with _explained(stem):
        raw = b"".join(_KEPT_PAGE.pack(*item) for item in sorted(pages.items()))
        # Page tables repeat themselves; more effort than this costs more time than it saves bytes.
        atomic_write(stem.with_suffix(".pages"), zlib.compress(raw, 1))
        atomic_write(stem.with_suffix(".json"), to_json(evidence))


def read_checkpoints(
    directory: Path,
) -> Iterator[tuple[CheckpointEvidence, Mapping[int, bytes]]]:
    """Yield what the host saw at each checkpoint of a probe, with the pages of memory it read.

    Raises:
        RecordError: if a file is damaged.
    """
    for path in sorted(directory.glob("checkpoint-*.json"), key=_checkpoint_number):
        with _explained(path, reading=True):
            data = path.read_bytes()
            packed = path.with_suffix(".pages").read_bytes()
        try:
            pages = dict(_KEPT_PAGE.iter_unpack(zlib.decompress(packed)))
            yield from_json(data, CheckpointEvidence), pages
        except (msgspec.DecodeError, zlib.error, struct.error) as error:
            raise RecordError(f"{path} or its pages are damaged: {error}") from None


class Walked(NamedTuple):
    """One checkpoint of a run that can be drawn.

    Attributes:
        probe: name of its probe.
        result: what it showed, judged again.
        runs: the leaf entries that the walk found.
    """

    probe: str
    result: CheckpointResult
    runs: tuple[Run, ...]


def walks(run_dir: Path, glob: str, number: int | None) -> tuple[Walked, ...]:
    """Return the checkpoints of the probes of a run that a glob matches.

    A glob is matched against the whole name of a probe, and against the name without its size.

    Args:
        run_dir: the run directory.
        glob: over names of probes.
        number: only the Nth checkpoint of each; None for all.

    Raises:
        RecordError: if there is none, or the run cannot be read.
    """
    names = [probe.name for probe in load(run_dir).probes]
    chosen = [name for name in names if matches(name, glob)]
    found = tuple(
        Walked(name, result, checkpoint.walk(seen, pages.__getitem__).runs)
        for name in chosen
        for seen, pages in read_checkpoints(run_dir / directory_for(name))
        for result in (checkpoint.judge(seen, pages.__getitem__),)
        if number in (None, seen.number) and result.length
    )
    if found:
        return found
    which = "" if number is None else f" {number}"
    raise RecordError(
        f"no probe of {run_dir} that matches {glob!r} has a checkpoint{which} to draw",
        hint="probes with `checkpoints = true` in the catalogue ask the host to look",
    )


def _checkpoint_number(path: Path) -> int:
    match = re.fullmatch(r"checkpoint-(\d+)", path.stem)
    return int(match[1]) if match else 0


def load(run_dir: Path) -> RunRecord:
    """Return the record of a run, finished or cut.

    Raises:
        RecordError: if it is absent, damaged, or not of a version that this program reads.
    """
    path = run_dir / RESULT
    if not run_dir.is_dir():
        raise RecordError(f"there is no run directory {run_dir}", hint="`ls runs` shows the runs")
    with _explained(path, reading=True):
        data = path.read_bytes()
    try:
        schema = msgspec.json.decode(data, type=_Header).schema
    except msgspec.DecodeError as error:
        raise RecordError(f"{path} is damaged or no record of a run: {error}") from None
    if schema != SCHEMA:
        raise RecordError(
            f"{path} has schema {schema}, and this program reads {SCHEMA}",
            hint="read it with the version of hgm that wrote it, named in its field `harness`",
        )
    try:
        return from_json(data, RunRecord)
    except msgspec.DecodeError as error:
        raise RecordError(f"{path} is damaged: {error}") from None


class Judged(NamedTuple):
    """What a run directory says when its evidence is judged again.

    Attributes:
        probes: in the order of the record, then those that it does not name.
        splats: complaints of the kernel outside of any probe.
    """

    probes: tuple[ProbeResult, ...]
    splats: tuple[Splat, ...]


def rejudge(run_dir: Path) -> Judged:
    """Judge the evidence of a run again, with the judge of today.

    A probe of the record that never ran has no directory and keeps its result; one that ran just
    before the run was cut may have evidence and no place in the record yet.

    Raises:
        RecordError: if the record or a piece of evidence is absent or damaged.
    """
    record = load(run_dir)
    console = read_console(run_dir)
    evidence = {item.name: item for item in _all_evidence(run_dir)}
    results: list[ProbeResult] = []
    for probe in record.probes:
        item = evidence.pop(probe.name, None)
        if item is not None:
            results.append(_judge(run_dir, item, console))
        elif not probe.directory:
            results.append(probe)
        else:
            raise RecordError(
                f"{run_dir / directory_for(probe.name) / EVIDENCE} is missing, yet the record "
                f"says {probe.status}"
            )
    late = sorted(evidence.values(), key=lambda item: item.console_from)
    results += [_judge(run_dir, item, console) for item in late]
    return Judged(tuple(results), _outside_splats(run_dir))


def judged_again(run_dir: Path) -> RunRecord:
    """Return the record of a run with its evidence judged by the judge of today.

    A run that did not reach its verdict keeps its ending: a judge cannot supply what was not run.

    Raises:
        RecordError: if the record or a piece of evidence is absent or damaged.
    """
    record = load(run_dir)
    judged = rejudge(run_dir)
    record = msgspec.structs.replace(record, probes=judged.probes, splats=judged.splats)
    if record.stage != "done":
        return record
    verdict = judge_run(record.probes, expect=record.expect, hgm=record.hgm, splats=record.splats)
    return msgspec.structs.replace(record, **verdict._asdict())


def _outside_splats(run_dir: Path) -> tuple[Splat, ...]:
    spans = []
    for item in _all_evidence(run_dir):
        spans.append((item.console_from, item.console_to))
        capture = _capture(run_dir / directory_for(item.name))
        if capture is not None:
            spans.append((capture.console_from, capture.console_to))
    return dmesg.outside(dmesg.scan(lines.decode(read_console(run_dir))), spans)


def ended_well(run_dir: Path) -> tuple[str, ...]:
    """Return the probes whose evidence says that they ended by themselves, with exit code 0.

    Raises:
        RecordError: if a piece of evidence is damaged.
    """
    found = _all_evidence(run_dir)
    return tuple(item.name for item in found if item.ended == "exit" and item.exit_code == 0)


def read_console(run_dir: Path) -> bytes:
    """Return the guest's console so far; empty where it never spoke."""
    path = run_dir / SERIAL
    with _explained(path, reading=True):
        return path.read_bytes() if path.exists() else b""


def _judge(run_dir: Path, evidence: ProbeEvidence, console: bytes) -> ProbeResult:
    directory = directory_for(evidence.name)
    texts = []
    for name in (KTAP, STDERR):
        with _explained(run_dir / directory / name, reading=True):
            texts.append(lines.decode((run_dir / directory / name).read_bytes()))
    looks = tuple(
        checkpoint.judge(seen, pages.__getitem__)
        for seen, pages in read_checkpoints(run_dir / directory)
    )
    capture = _capture(run_dir / directory)
    console_slice = _console_slice(evidence, capture, console)
    result = judge_probe(evidence, texts[0], texts[1], console_slice, checkpoints=looks)
    files = [step.file for step in capture.steps if step.file] if capture is not None else []
    return msgspec.structs.replace(result, directory=directory, evidence=tuple(files))


def _console_slice(
    evidence: ProbeEvidence, capture: Capture | None, console: bytes
) -> ConsoleSlice:
    """Return a probe's part of the console: what a capture provoked is no complaint of its own."""
    hung = capture is not None and capture.why == "hang"
    end = evidence.console_to if hung else _guest_end(console, evidence.console_to)
    captured = console[capture.console_from : capture.console_to] if capture and hung else b""
    return ConsoleSlice(
        text=lines.decode(console[evidence.console_from : end]),
        length=evidence.console_to - evidence.console_from,
        capture=capture,
        captured=lines.decode(captured),
        missing=max(0, evidence.console_to - max(evidence.console_from, len(console))),
    )


def _guest_end(console: bytes, start: int) -> int:
    """Return where the guest that wrote at ``start`` ends: at the next one's banner."""
    banner = _BANNER.search(console, start)
    return banner.start() if banner else len(console)


def _capture(directory: Path) -> Capture | None:
    path = directory / CAPTURE
    if not path.exists():
        return None
    with _explained(path, reading=True):
        data = path.read_bytes()
    try:
        return from_json(data, Capture)
    except msgspec.DecodeError as error:
        raise RecordError(f"{path} is damaged: {error}") from None


def _all_evidence(run_dir: Path) -> Iterator[ProbeEvidence]:
    for path in sorted((run_dir / PROBES).glob(f"*/{EVIDENCE}")):
        with _explained(path, reading=True):
            data = path.read_bytes()
        try:
            yield from_json(data, ProbeEvidence)
        except msgspec.DecodeError as error:
            raise RecordError(f"{path} is damaged: {error}") from None


@contextlib.contextmanager
def _explained(path: Path, *, reading: bool = False) -> Iterator[None]:
    """Turn what the operating system says about a file of the run into an error of the tree."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise NoSpace(
                f"no space left to write {path}",
                hint="free some space, or choose another place with --runs-dir",
            ) from None
        doing = "read" if reading else "write"
        raise RecordError(f"cannot {doing} {path}: {error.strerror}") from None
