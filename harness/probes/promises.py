# SPDX-License-Identifier: GPL-2.0-only
"""Promises of the interface by name, and the profiles that say which a kernel must offer.

``probes/promises.toml`` explains both. Nothing here decides what a kernel offers: the guest's
program ``features`` asks it.
"""

from __future__ import annotations

import difflib
import functools
from pathlib import Path
from typing import Annotated

import msgspec

from harness import data
from harness.errors import SpecError
from harness.records.run import Profile

PROBES = data.directory("probes")
_FILE = PROBES / "promises.toml"

_Line = Annotated[str, msgspec.Meta(pattern=r"^\S.*\S$")]


class Promise(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One promise as ``promises.toml`` has it; that file explains the fields."""

    name: _Line
    means: _Line
    otherwise: _Line
    asked: _Line
    known: tuple[str, ...] = ()


class _ProfileEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A profile as it is written; its name is the table's, or the file's."""

    shows: _Line = "a profile"
    offers: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


class _PromiseTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    promise: tuple[Promise, ...]
    profile: dict[str, _ProfileEntry]


def load() -> tuple[Promise, ...]:
    """Return every promise, in the order of the file."""
    return _table().promise


def profiles() -> tuple[Profile, ...]:
    """Return the profiles that ``--expect`` knows without a file."""
    return tuple(profile(name) for name in _table().profile)


def profile(expect: str) -> Profile:
    """Return the profile that ``--expect`` names: one of ours, or a file.

    Args:
        expect: the name of a profile in ``promises.toml``, or the path of a TOML file with the
            keys ``offers`` and ``lacks``.

    Raises:
        SpecError: if there is no such profile, the file cannot be read, or it names a promise that
            does not exist.
    """
    table = _table()
    entry = table.profile.get(expect)
    if entry is None:
        entry = _read(expect, tuple(table.profile))
    known = [promise.name for promise in table.promise]
    for name in (*entry.offers, *entry.lacks):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "`hgm probes promises` lists them"
            raise SpecError(f"--expect {expect}: there is no promise {name!r}", hint=hint)
    both = set(entry.offers) & set(entry.lacks)
    if both:
        raise SpecError(
            f"--expect {expect}: {min(both)} is in both offers and lacks",
            hint="remove it from one of them",
        )
    return Profile(name=expect, offers=entry.offers, lacks=entry.lacks)


def _read(expect: str, names: tuple[str, ...]) -> _ProfileEntry:
    path = Path(expect)
    if not path.is_file():
        raise SpecError(
            f"--expect {expect!r} is not a profile and not a file",
            hint=f"profiles: {', '.join(names)}",
        )
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_ProfileEntry)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise SpecError(
            f"--expect {path}: {error}", hint="its keys are offers and lacks, lists of promises"
        ) from None


@functools.cache
def _table() -> _PromiseTable:
    return msgspec.toml.decode(_FILE.read_bytes(), type=_PromiseTable)
