# SPDX-License-Identifier: GPL-2.0-only
"""The series in ``kernel-patches``, by name; ``kernel-patches/series.toml`` lists them."""

from __future__ import annotations

import difflib
import functools
import re
from pathlib import Path

import msgspec

from harness import data
from harness.errors import SpecError
from harness.records.base import Record

#: Where our own series are.
DIRECTORY = data.directory("kernel-patches")


class RegisteredSeries(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One series of ``kernel-patches``.

    Attributes:
        shows: one line: what it is.
        made_for: prefix of the kernel versions that it applies to, such as ``6.12.``.
        on: the registered series that it applies on top of; empty for the source alone.
        default_for: the ``--kernel`` specs that get it if no series is given.
        arches: the architectures for which it is a default, as ``uname -m`` prints them.
        gives: the profile that a kernel with it fits; empty if there is none.
        tested: the newest version of the Debian package in ``default_for`` that it was tested with;
            empty for that of the series it applies on.
        name: what ``--series`` takes; the name of its table in ``series.toml``.
        directory: absolute path of its quilt directory.
    """

    shows: str
    made_for: str
    on: str = ""
    default_for: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    gives: str = ""
    tested: str = ""
    name: str = ""
    directory: str = ""


def load(directory: Path = DIRECTORY) -> tuple[RegisteredSeries, ...]:
    """Return every series that ``series.toml`` lists.

    Raises:
        SpecError: if it cannot be read, or one of its tables is wrong.
    """
    path = directory / "series.toml"
    try:
        tables = msgspec.toml.decode(path.read_bytes(), type=dict[str, RegisteredSeries])
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise SpecError(f"{path}: {error}", hint="correct the list of series") from None
    return tuple(
        msgspec.structs.replace(series, name=name, directory=str(directory / name))
        for name, series in tables.items()
    )


@functools.cache
def _registered() -> tuple[RegisteredSeries, ...]:
    return load()


def find(name: str) -> RegisteredSeries:
    """Return the series of that name.

    Raises:
        SpecError: if there is none.
    """
    names = {series.name: series for series in _registered()}
    if name in names:
        return names[name]
    near = difflib.get_close_matches(name, names, n=1) or list(names)
    raise SpecError(
        f"series {name!r}: kernel-patches has no series of that name",
        hint=f"it has {', '.join(near)}; write a path as dir:PATH or mbox:PATH",
    )


def default_for(source: str, arch: str) -> RegisteredSeries | None:
    """Return the series that a ``--kernel`` spec gets if none is given; None for most.

    Only a pristine source that is listed by name gets one, in any version and from any suite: a
    user's own tree is never patched without ``--series``.

    Args:
        source: the spec.
        arch: the kernel's architecture.
    """
    if source.startswith("debian:"):
        source = re.split("[=@]", source, maxsplit=1)[0]
    return next(
        (each for each in _registered() if source in each.default_for and arch in each.arches), None
    )


def expectation(series: str) -> str:
    """Return the default of ``--expect`` for a ``--series`` spec: the name of a profile."""
    return next(
        (each.gives for each in _registered() if each.name == series and each.gives), "report"
    )


def tested_with(series: str, version: str) -> str:
    """Return the package version that a ``--series`` spec was tested with; empty for none.

    Args:
        series: the spec.
        version: that of a kernel; empty is returned if the series was not made for it.
    """
    names = {each.name: each for each in _registered()}
    each = names.get(series)
    while each is not None and version.startswith(each.made_for):
        if each.tested:
            return each.tested
        each = names.get(each.on)
    return ""


def version_warning(series: str, version: str) -> str:
    """Return a warning if a registered series was made for another version; else nothing."""
    for each in _registered():
        if each.name == series and not version.startswith(each.made_for):
            return f"series {series} was made for {each.made_for}x and this is {version}"
    return ""
