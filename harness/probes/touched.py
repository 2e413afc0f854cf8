# SPDX-License-Identifier: GPL-2.0-only
"""The probes that look at what a series changes, by ``touches`` in ``probes/catalog.toml``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.errors import SpecError
from harness.probes import catalog
from harness.probes.catalog import Touches
from harness.records.probe import ProbeSpec

_NAMED = 3


@dataclass(frozen=True)
class Choice:
    """What ``--touched`` chose.

    Attributes:
        specs: the probes that look at a touched file, in the order that they were given.
        note: one line: how many there are, and how many were left out, and why.
        left_out: names of the others, by family where none of it was chosen.
    """

    specs: tuple[ProbeSpec, ...]
    note: str = ""
    left_out: tuple[str, ...] = ()


def text_of(spec: ProbeSpec) -> str:
    """Return the text in which the words of `Touches` are looked for."""
    return "\n".join((spec.name, *spec.arguments, _sources(spec.source)))


@functools.cache
def _sources(source: str) -> str:
    """Return the files of a probe, which it has with each size and in each entry of the table."""
    return "\n".join(path.read_text(encoding="utf-8") for path in catalog.files(source))


def looks(spec: ProbeSpec, entry: Touches, text: Callable[[ProbeSpec], str] = text_of) -> bool:
    """Return whether a probe looks at the files of an entry."""
    if any(catalog.matches(spec.name, glob) for glob in entry.but):
        return False
    found = text(spec)
    return any(word in found for word in entry.words)


def choose(
    specs: Sequence[ProbeSpec],
    series: str,
    files: Iterable[str],
    table: Sequence[Touches],
    text: Callable[[ProbeSpec], str] = text_of,
) -> Choice:
    """Return the probes that look at one of the files; all of them if a file is not in the table.

    Args:
        specs: the probes to choose from.
        series: the series' spec, for the note.
        files: what it changes, relative to the kernel's source.
        table: which probes look at which files.
        text: see `text_of`.

    Raises:
        SpecError: if no probe looks at any of the files.
    """
    files = tuple(files)
    entries = {file: tuple(each for each in table if each.holds(file)) for file in files}
    unknown = [file for file, found in entries.items() if not found]
    if unknown:
        return Choice(
            tuple(specs),
            f"--touched {series}: nothing is left out: any probe may look at {_some(unknown)}",
        )
    wanted = dict.fromkeys(each for found in entries.values() for each in found)
    chosen = tuple(spec for spec in specs if any(looks(spec, each, text) for each in wanted))
    if not chosen:
        raise SpecError(
            f"--touched {series}: no probe that was selected looks at {_some(files)}",
            hint="leave out --touched, or name one that runs on request with --probe",
        )
    return Choice(
        chosen,
        f"--touched {series}: {len(specs) - len(chosen)} of {len(specs)} probes are left out, "
        f"which do not look at {_some(files)}; left_out in result.json names them",
        _left_out(specs, chosen),
    )


def _left_out(specs: Sequence[ProbeSpec], chosen: Sequence[ProbeSpec]) -> tuple[str, ...]:
    run = {spec.name for spec in chosen}
    families = {catalog.family(name) for name in run}
    names = (spec.name for spec in specs if spec.name not in run)
    short = ((catalog.family(name), name) for name in names)
    return tuple(dict.fromkeys(name if family in families else family for family, name in short))


def _some(files: Sequence[str]) -> str:
    shown = ", ".join(files[:_NAMED])
    return f"{shown} and {len(files) - _NAMED} more" if len(files) > _NAMED else shown
