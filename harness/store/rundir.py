# SPDX-License-Identifier: GPL-2.0-only
"""The run directory: written during the run, each file whole or not at all, and read back.

::

    result.json               the record (docs/reference/result-schema.md); rewritten on each change
    probes/NAME/ktap          standard output of the probe, as it came
    probes/NAME/stderr        its standard error
    probes/NAME/evidence.json how it ended, and which part of serial.log is its
    probes/NAME/checkpoint-N.json   what the host saw at its Nth checkpoint
    probes/NAME/checkpoint-N.pages  the pages of the guest's memory that it read there
    probes/NAME/capture.json  what was learnt when it hung, crashed or left a splat, and which files
                              beside it hold that (harness/evidence writes them)
    outside/capture.json      functions and lines of what the kernel reported outside of any probe,
                              and outside/decoded.log with them in place
    ingredients.json          what the run was made of, to do it again elsewhere
    build.config              the configuration of its kernel, if that had to be built
    coverage/                 which lines the probes reached, if the kernel counts them
    serial.log                the guest's console from the first byte (written by the console)
    guests/N/serial.log       the console of the Nth of guests that run at the same time
    other-kernel.log          the console of another kernel on the same machine, booted if there was
                              a splat before init

``NAME`` is the probe's name in a form that is a file name: see `directory_for`. Directories of
older schemas are read as well: `harness.store.upgrade` puts them into today's words.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import secrets
import struct
import threading
import urllib.parse
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import msgspec

from harness.errors import RecordError, SpecError, no_space
from harness.records.base import AnyRecord, decode, to_json
from harness.records.machine import GuestOrigin
from harness.records.outcome import Outcome
from harness.records.probe import (
    CONSOLE,
    Capture,
    CheckpointEvidence,
    ProbeEvidence,
    ProbeResult,
    Stalled,
)
from harness.records.run import (
    SCHEMA,
    Ingredients,
    Known,
    RunRecord,
    Verdict,
)
from harness.store import upgrade
from harness.workspace import atomic_write, file_digest, readable

RESULT = "result.json"
SERIAL = CONSOLE
GUESTS = "guests"
OTHER_SERIAL = "other-kernel.log"
PROBES = "probes"
OUTSIDE = "outside"
COVERAGE = "coverage"
KTAP = "ktap"
STDERR = "stderr"
EVIDENCE = "evidence.json"
CAPTURE = "capture.json"
POST_MORTEM = "post-mortem.txt"
#: What the run was made of: `harness.records.run.Ingredients`.
INGREDIENTS = "ingredients.json"
BUILD_CONFIG = "build.config"

#: The kinds of campaigns, each the beginning of a directory's name.
CAMPAIGNS = ("try", "bisect", "detect", "inject", "matrix")

#: The oldest schema that is read.
_OLDEST = 1

_CAMPAIGN = re.compile(rf"({'|'.join(CAMPAIGNS)})-.*-[0-9a-f]{{8}}")

#: One page in a file of them: its guest-physical address and its bytes.
_KEPT_PAGE = struct.Struct("<Q4096s")


class _Header(msgspec.Struct):
    """The one field that every version of ``result.json`` has."""

    schema: int


def new_run_directory(runs: Path, label: str) -> Path:
    """Make a directory for one run and return it; ``runs/latest`` points to it.

    Args:
        runs: where run directories live.
        label: part of the name, for people, such as a kernel release.

    Raises:
        SpecError: if no directory can be made there.
        NoSpace: if the file system is full.
    """
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    path = runs.absolute() / f"{stamp}-{label}-{secrets.token_hex(2)}"
    make_directory(path)
    link = runs / f".latest.{os.getpid()}"
    with _explained(link):
        link.unlink(missing_ok=True)
        link.symlink_to(path.name)
        link.replace(runs / "latest")
    return path


def make_directory(path: Path, option: str = "--runs-dir") -> None:
    """Make a directory that an option names or one below it, with the ones above it.

    Raises:
        SpecError: if it cannot be made.
        NoSpace: if the file system is full.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        where = error.filename or path
        raise no_space(error) or SpecError(
            f"{option}: cannot make {where}: {error.strerror}",
            hint="choose a directory that can be written to",
        ) from None


def campaign_directory(runs: Path, kind: str, label: str, key: str) -> Path:
    """Return the directory of a campaign; its runs lie in ``STEP/STAMP-...`` below it.

    Args:
        runs: where run directories are made.
        kind: one of `CAMPAIGNS`.
        label: part of the name, for people.
        key: eight hex digits, the same for the same campaign.
    """
    return runs.absolute() / f"{kind}-{readable(label)}-{key}"


def campaign_of(run_dir: Path) -> tuple[Path, str]:
    """Return where run directories are made, and the kind of campaign a run is part of, or empty.

    Both are told by the path of a run directory.
    """
    runs = run_dir.parent
    found = _CAMPAIGN.fullmatch(runs.parent.name)
    return (runs.parent.parent, found[1]) if found else (runs, "")


def find_runs(directory: Path) -> Iterator[Path]:
    """Yield the run directories below a directory, itself included, in the order of their names."""
    if (directory / RESULT).is_file():
        yield directory
        return
    for path in sorted(directory.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from find_runs(path)


class RunStore:
    """The directory of a run that is under way, and its record.

    The record is on disk from the first moment, with the verdict CUT, so that a run that is killed
    is on record as such. Each method writes it whole, and changes nothing if it cannot.

    Args:
        run_dir: an existing directory.
        record: what is known at the start.

    Raises:
        NoSpace: if the file system is full; from each method that writes.
        RecordError: if the directory is gone or not writable; from each method that writes.
    """

    def __init__(self, run_dir: Path, record: RunRecord) -> None:
        #: Held while the record is changed: guests may run at the same time.
        self.lock = threading.RLock()
        self.run_dir = run_dir
        self.record = msgspec.structs.replace(record, run_dir=str(run_dir.absolute()))
        self.know()

    def know(self, **known: Unpack[Known]) -> None:
        """Record what has become known."""
        with self.lock:
            record = msgspec.structs.replace(self.record, **known)
            self.write(RESULT, to_json(record))
            self.record = record

    def know_timeout_scale(self, timeout_scale: float) -> None:
        """Record a guest's timeout scale if it is the largest so far."""
        with self.lock:
            if timeout_scale > self.record.timeout_scale:
                self.know(timeout_scale=timeout_scale)

    def add_guest(self, origin: GuestOrigin) -> None:
        """Record how one more guest came to be."""
        with self.lock:
            self.know(guests=(*self.record.guests, origin))

    def add_stalled(self, span: Stalled) -> None:
        """Record where a guest's kernel reported a lack of progress while no probe ran."""
        with self.lock:
            self.know(stalled=(*self.record.stalled, span))

    def note(self, lines: Sequence[str]) -> None:
        """Add lines that a reader of the result should see."""
        with self.lock:
            if lines:
                self.know(notes=(*self.record.notes, *lines))

    def note_once(self, line: str) -> None:
        """Add a line that a reader should see, unless another guest's is the same."""
        with self.lock:
            if line not in self.record.notes:
                self.note([line])

    def expect(self, results: Iterable[ProbeResult]) -> None:
        """Add results that stand there until their probes have been run."""
        known = {probe.name for probe in self.record.probes}
        new = (result for result in results if result.name not in known)
        self.know(probes=(*self.record.probes, *new))

    def add_probe(self, result: ProbeResult) -> None:
        """Record a probe's result: in the place of an earlier one, or at the end."""
        with self.lock:
            probes = {probe.name: probe for probe in self.record.probes}
            self.know(probes=tuple((probes | {result.name: result}).values()))

    def end(self, outcome: Outcome, verdict: Verdict, exit_code: int, reason: str) -> None:
        """Record how the run ended; see `RunRecord` for what each of these says."""
        stage = "done" if outcome is Outcome.PROBES_RAN else self.record.stage
        self.know(outcome=outcome, verdict=verdict, exit_code=exit_code, reason=reason, stage=stage)

    def probe_directory(self, name: str) -> Path:
        """Return the directory where a probe's ``ktap`` and ``stderr`` are written, made."""
        path = self.run_dir / directory_for(name)
        with _explained(path):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def keep(self, evidence: ProbeEvidence, capture: Capture | None = None) -> None:
        """Write how a probe ended, and what was captured then, into its directory.

        The evidence is written last: where it is, the other files are whole.
        """
        path = self.probe_directory(evidence.name).relative_to(self.run_dir)
        if capture is not None:
            self.write(f"{path}/{CAPTURE}", to_json(capture))
        self.write(f"{path}/{EVIDENCE}", to_json(evidence))

    def keep_ingredients(self, ingredients: Ingredients) -> None:
        """Write the ingredients of the run."""
        self.write(INGREDIENTS, to_json(ingredients))

    def write(self, name: str, data: bytes | str, *, executable: bool = False) -> Path:
        """Write a whole file into the run directory, and return its path."""
        path = self.run_dir / name
        with _explained(path):
            atomic_write(path, data)
            if executable:
                path.chmod(0o755)
        return path


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
        evidence = _read(path, CheckpointEvidence)
        packed = _bytes(path.with_suffix(".pages"))
        try:
            pages = dict(_KEPT_PAGE.iter_unpack(zlib.decompress(packed)))
        except (zlib.error, struct.error) as error:
            raise RecordError(f"{path.with_suffix('.pages')} is damaged: {error}") from None
        yield evidence, pages


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
    return parse(_bytes(path), path)


def parse(data: bytes, path: Path | str) -> RunRecord:
    """Return the record that is in the bytes of a ``result.json``.

    Args:
        data: the bytes.
        path: where they are from, for messages.

    Raises:
        RecordError: if they are damaged, or not of a version that this program reads.
    """
    try:
        schema = decode(data, _Header).schema
    except msgspec.DecodeError as error:
        raise RecordError(f"{path} is damaged, or not the record of a run: {error}") from None
    if not _OLDEST <= schema <= SCHEMA:
        raise RecordError(
            f"{path} has schema {schema}, and this program reads {_OLDEST} to {SCHEMA}",
            hint="read it with the version of hgm that wrote it, named in its field `harness`",
        )
    return _parse(data, path, RunRecord, upgrade.record if schema < SCHEMA else None)


def load_ingredients(run_dir: Path) -> Ingredients:
    """Return the ingredients of a run, from its directory or an unpacked bundle.

    Raises:
        RecordError: if it does not say, as a run that ended before its guest.
    """
    path = run_dir / INGREDIENTS
    if run_dir.is_dir() and not path.exists():
        raise RecordError(
            f"there is no {path}", hint="a run that ended before its guest was booted has none"
        )
    return _read(path, Ingredients, upgrade.ingredients)


def read_config(run_dir: Path, digest: str) -> bytes:
    """Return the ``.config`` of a run's kernel; empty if neither run nor cache has it.

    Args:
        run_dir: the run directory, or an unpacked bundle.
        digest: its SHA-256, as the record has it. Nothing else is read: the path may be another
            host's.

    Raises:
        RecordError: if the ingredients are damaged.
    """
    paths = [run_dir / BUILD_CONFIG]
    if (run_dir / INGREDIENTS).exists():
        paths.append(run_dir / load_ingredients(run_dir).kernel.config)
    for path in paths if digest else ():
        with contextlib.suppress(OSError):
            if path.is_file() and file_digest(path) == digest:
                return _bytes(path)
    return b""


def read_output(run_dir: Path, name: str) -> tuple[bytes, bytes]:
    """Return a probe's standard output and standard error.

    Raises:
        RecordError: if one of them cannot be read.
    """
    directory = run_dir / directory_for(name)
    return _bytes(directory / KTAP), _bytes(directory / STDERR)


def read_console(run_dir: Path, name: str = SERIAL) -> bytes:
    """Return the guest's console so far, or another one; empty where nothing was printed."""
    path = run_dir / name
    return _bytes(path) if path.exists() else b""


def consoles(run_dir: Path) -> tuple[str, ...]:
    """Return the files with the consoles of a run's guests, relative to the run directory."""
    others = sorted((run_dir / GUESTS).glob(f"*/{SERIAL}"), key=lambda path: int(path.parent.name))
    return (SERIAL, *(str(path.relative_to(run_dir)) for path in others))


def read_capture(directory: Path) -> Capture | None:
    """Return what was captured in a probe's directory; None where nothing was.

    Raises:
        RecordError: if it is damaged.
    """
    path = directory / CAPTURE
    return _read(path, Capture, upgrade.capture) if path.exists() else None


def read_symbols(directory: Path) -> dict[str, tuple[str, ...]]:
    """Return the `Capture.symbols` of a directory of a run; empty where nothing was captured.

    Args:
        directory: that of a probe, or `OUTSIDE` in the run directory for all else.

    Raises:
        RecordError: if the capture is damaged.
    """
    capture = read_capture(directory)
    return capture.symbols if capture is not None else {}


def read_post_mortem(directory: Path) -> bytes:
    """Return what drgn found in the memory dump of a probe's directory; empty where it has none.

    Raises:
        RecordError: if it cannot be read.
    """
    path = directory / POST_MORTEM
    return _bytes(path) if path.exists() else b""


def read_evidence(directory: Path) -> ProbeEvidence | None:
    """Return how the probe of a directory ended; None where it left no evidence.

    Raises:
        RecordError: if it is damaged.
    """
    path = directory / EVIDENCE
    return _read(path, ProbeEvidence, upgrade.evidence) if path.exists() else None


def all_evidence(run_dir: Path) -> Iterator[ProbeEvidence]:
    """Yield how each probe of a run ended that left evidence.

    Raises:
        RecordError: if a piece of it is damaged.
    """
    for path in sorted((run_dir / PROBES).glob(f"*/{EVIDENCE}")):
        yield _read(path, ProbeEvidence, upgrade.evidence)


def _read(
    path: Path,
    kind: type[AnyRecord],
    upgraded: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> AnyRecord:
    """Return the record in a file, upgraded first if it has an older schema.

    Raises:
        RecordError: if it cannot be read, or holds no such record.
    """
    return _parse(_bytes(path), path, kind, upgraded)


def _parse(
    data: bytes,
    path: Path | str,
    kind: type[AnyRecord],
    upgraded: Callable[[dict[str, Any]], dict[str, Any]] | None,
) -> AnyRecord:
    try:
        if upgraded is None:
            return decode(data, kind)
        return msgspec.convert(upgraded(msgspec.json.decode(data, type=dict[str, Any])), kind)
    except (msgspec.DecodeError, AttributeError, TypeError) as error:
        raise RecordError(f"{path} is damaged: {error}") from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}") from None


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an OSError of writing a file into an error of the tree."""
    try:
        yield
    except OSError as error:
        raise no_space(error, path) or RecordError(
            f"cannot write {path}: {error.strerror}"
        ) from None
