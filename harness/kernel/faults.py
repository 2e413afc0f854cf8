# SPDX-License-Identifier: GPL-2.0-only
"""The seeded faults in ``kernel-patches/faults``: each breaks a kernel in one known way.

``faults.toml`` there says of each what it seeds, what it is put on, and what should notice it; the
patch is ``NAME.patch`` beside it. ``--series fault:NAME`` takes the base and the fault together.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Literal

import msgspec

from harness.errors import SpecError
from harness.kernel.registry import DIRECTORY as _KERNEL_PATCHES
from harness.records.base import Record

#: Where the faults live.
DIRECTORY = _KERNEL_PATCHES / "faults"


class Catch(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way in which a fault should be noticed.

    Attributes:
        probe: a glob over probe names, as ``--probe`` takes it.
        status: with which statuses a probe that matches notices it.
        complaint: a regular expression that the reason, a line of what the kernel said meanwhile,
            or what the walk from outside found must match as well; empty for any.
    """

    probe: str
    status: tuple[Literal["FAIL", "CRASH", "HANG"], ...]
    complaint: str = ""


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    seeds: str
    kind: str = msgspec.field(name="class")
    on: str
    caught: tuple[Catch, ...]
    config: tuple[str, ...] = ()
    one_in: int = 1


class Fault(Record, frozen=True, kw_only=True):
    """One seeded fault.

    Attributes:
        name: what stands after ``fault:``.
        seeds: one line: what is wrong in the kernel.
        kind: its class, such as ``wrong subpage mapped``.
        on: the series that it is put on, by name; ``none`` for the source alone.
        caught: any of these is a catch.
        config: features that the kernel needs for it to be seen, such as ``debug``.
        one_in: it shows in one boot of so many.
        patch: absolute path of its patch.
    """

    name: str
    seeds: str
    kind: str
    on: str
    caught: tuple[Catch, ...]
    config: tuple[str, ...] = ()
    one_in: int = 1
    patch: str = ""

    @property
    def probes(self) -> tuple[str, ...]:
        """Return the globs of the probes that should notice it."""
        return tuple(dict.fromkeys(catch.probe for catch in self.caught))


def load(directory: Path = DIRECTORY) -> tuple[Fault, ...]:
    """Return every seeded fault, in the order of the file.

    Raises:
        SpecError: if the list cannot be read, an entry of it is wrong, or a patch is not there.
    """
    path = directory / "faults.toml"
    try:
        entries = msgspec.toml.decode(path.read_bytes(), type=dict[str, _Entry])
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise SpecError(f"{path}: {error}", hint="mend the list of faults") from None
    return tuple(_fault(name, entry, directory) for name, entry in entries.items())


def _fault(name: str, entry: _Entry, directory: Path) -> Fault:
    patch = directory / f"{name}.patch"
    where = f"{directory / 'faults.toml'}: {name}"
    if not patch.is_file():
        raise SpecError(
            f"{where}: there is no {patch.name}", hint="add the patch or drop the entry"
        )
    if not entry.caught:
        raise SpecError(f"{where}: nothing is said to catch it", hint="name a probe in `caught`")
    for catch in entry.caught:
        try:
            re.compile(catch.complaint)
        except re.error as error:
            raise SpecError(f"{where}: {catch.complaint!r} is no pattern: {error}") from None
    return Fault(name=name, patch=str(patch), **msgspec.structs.asdict(entry))


def find(name: str) -> Fault:
    """Return the fault of that name.

    Raises:
        SpecError: if there is none.
    """
    faults = {fault.name: fault for fault in load()}
    if name in faults:
        return faults[name]
    near = difflib.get_close_matches(name, faults, n=3)
    hint = f"near it: {', '.join(near)}" if near else "see `hgm selfcheck detect --list`"
    raise SpecError(f"--series fault:{name}: there is no such fault", hint=hint)
