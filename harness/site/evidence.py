# SPDX-License-Identifier: GPL-2.0-only
"""The files of a run directory that its pages show; without what is gone or damaged."""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from harness.errors import RecordError
from harness.judge import lines
from harness.kernel import fragments
from harness.records.run import RunRecord
from harness.report import page_map
from harness.run import judging
from harness.store import rundir

#: Bytes; one of all symbols has 300,000.
_LARGEST_CONFIG = 2_000_000


class PageMap(NamedTuple):
    """The page tables at the checkpoints of a probe.

    Attributes:
        svg: a picture of them.
        words: what it shows, in a line.
    """

    svg: str
    words: str


class Files(NamedTuple):
    """What was found.

    Attributes:
        consoles: what is on the console of each guest, by the console's file.
        outputs: what each probe printed, by its name.
        symbols: `Capture.symbols` of each probe by its name, and of what the kernel reported
            outside of any probe by `rundir.OUTSIDE`.
        maps: of each probe with checkpoints.
    """

    consoles: Mapping[str, bytes] = {}
    outputs: Mapping[str, str] = {}
    symbols: Mapping[str, Mapping[str, tuple[str, ...]]] = {}
    maps: Mapping[str, PageMap] = {}


def read(run_dir: Path, record: RunRecord) -> Files:
    """Return the files of a run directory."""
    if not run_dir.is_dir():
        return Files()
    outputs: dict[str, str] = {}
    symbols: dict[str, Mapping[str, tuple[str, ...]]] = {}
    for probe in record.probes:
        if not probe.directory:
            continue
        try:
            outputs[probe.name] = lines.decode(rundir.read_output(run_dir, probe.name)[0])
            symbols[probe.name] = rundir.read_symbols(run_dir / rundir.directory_for(probe.name))
        except RecordError:
            continue
    with contextlib.suppress(RecordError):
        symbols[rundir.OUTSIDE] = rundir.read_symbols(run_dir / rundir.OUTSIDE)
    return Files(dict(_consoles(run_dir)), outputs, symbols, dict(_maps(run_dir, record)))


def _consoles(run_dir: Path) -> Iterator[tuple[str, bytes]]:
    for name in rundir.consoles(run_dir):
        with contextlib.suppress(RecordError):
            if found := rundir.read_console(run_dir, name):
                yield name, found


def _maps(run_dir: Path, record: RunRecord) -> Iterator[tuple[str, PageMap]]:
    for probe in record.probes:
        if any(each.length for each in probe.checkpoints):
            try:
                pictures = [page_map.picture(*each) for each in judging.walked(run_dir, probe)]
            except RecordError:
                continue
            if not pictures:
                continue
            words = "; ".join(f"{each.title()}: {each.summary()}" for each in pictures)
            yield probe.name, PageMap(page_map.svg(pictures), words)


def configuration(run_dir: Path) -> dict[str, str]:
    """Return the kernel's configuration, ``n`` for what is not set; empty if it is gone."""
    try:
        path = Path(rundir.load_ingredients(run_dir).kernel.config)
        if not path.is_file() or path.stat().st_size > _LARGEST_CONFIG:
            return {}
        text = path.read_text(errors="replace")
    except (RecordError, OSError):
        return {}
    return {f"CONFIG_{name}": value for name, value in fragments.settings(text).items()}


def config_changes(before: Path, after: Path) -> tuple[str, ...]:
    """Return a line for each symbol that two runs' kernels were configured with otherwise."""
    old, new = configuration(before), configuration(after)
    if not old or not new:
        return ()
    return tuple(
        f"{name}: {old.get(name, 'absent')} before, {new.get(name, 'absent')} now"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


class Lines:
    """The lines of a text of bytes.

    Args:
        data: the text.

    Attributes:
        count: how many there are.
    """

    def __init__(self, data: bytes) -> None:
        self._starts = [0]
        at = data.find(b"\n")
        while at >= 0:
            self._starts.append(at + 1)
            at = data.find(b"\n", at + 1)
        self.count = len(self._starts) - (not data or data.endswith(b"\n"))

    def number(self, offset: int) -> int:
        """Return the number, from 1, of the line that has a byte."""
        return bisect.bisect_right(self._starts, offset)
