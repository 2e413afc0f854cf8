# SPDX-License-Identifier: GPL-2.0-only
"""The series in ``kernel-patches``, by name; ``kernel-patches/series.toml`` lists them."""

from __future__ import annotations

import difflib
import functools
from pathlib import Path
from typing import Literal

import msgspec

from harness import data
from harness.errors import SpecError
from harness.records.base import Record

#: Where our own series live.
DIRECTORY = data.directory("kernel-patches")


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    shows: str
    made_for: str
    on: str = ""
    default_for: tuple[str, ...] = ()
    gives: Literal["hgm", ""] = ""


class NamedSeries(Record, frozen=True, kw_only=True):
    """One series of our own.

    Attributes:
        name: what ``--series`` takes.
        directory: absolute path of its quilt directory.
        shows: one line: what it is.
        made_for: what the version of a kernel that it fits begins with, such as ``6.12.``.
        on: the series of ours that it goes on top of, by name; empty for the source alone.
        default_for: the ``--kernel`` specs that get it where no series is asked for.
        gives: the feature that a kernel with it has; empty where it is none that we know.
    """

    name: str
    directory: str
    shows: str
    made_for: str
    on: str = ""
    default_for: tuple[str, ...] = ()
    gives: Literal["hgm", ""] = ""


def load(directory: Path = DIRECTORY) -> tuple[NamedSeries, ...]:
    """Return every series that ``series.toml`` lists.

    Raises:
        SpecError: if it cannot be read, or an entry of it is wrong.
    """
    path = directory / "series.toml"
    try:
        entries = msgspec.toml.decode(path.read_bytes(), type=dict[str, _Entry])
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise SpecError(f"{path}: {error}", hint="mend the list of series") from None
    return tuple(
        NamedSeries(name=name, directory=str(directory / name), **msgspec.structs.asdict(entry))
        for name, entry in entries.items()
    )


@functools.cache
def _ours() -> tuple[NamedSeries, ...]:
    return load()


def find(name: str) -> NamedSeries:
    """Return the series of that name.

    Raises:
        SpecError: if there is none.
    """
    names = {series.name: series for series in _ours()}
    if name in names:
        return names[name]
    near = difflib.get_close_matches(name, names, n=1) or list(names)
    raise SpecError(
        f"--series {name!r}: kernel-patches has no series of that name",
        hint=f"it has {', '.join(near)}; a path is written dir:PATH or mbox:PATH",
    )


def default_for(source: str) -> NamedSeries | None:
    """Return the series that a ``--kernel`` spec gets if none is asked for; None for most.

    Only a pristine source that we know by name gets one: nobody's own tree is patched unasked.
    """
    return next((series for series in _ours() if source in series.default_for), None)


def expectation(series: str) -> Literal["hgm", "report"]:
    """Return what a kernel with a ``--series`` spec is expected to have, by our own word."""
    known = {each.name: each.gives for each in _ours()}
    return "hgm" if known.get(series) == "hgm" else "report"


def misfit(series: str, version: str) -> str:
    """Return what to say of a ``--series`` spec on a version; empty where there is nothing."""
    for each in _ours():
        if each.name == series and not version.startswith(each.made_for):
            return f"series {series} was made for {each.made_for}x and this is {version}"
    return ""
