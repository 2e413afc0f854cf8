# SPDX-License-Identifier: GPL-2.0-only
"""The seeded faults in ``kernel-patches/faults``: each breaks a kernel in one known way.

``faults.toml`` says what each seeds, what it applies to, and what should notice it; the patch is
``NAME.patch`` in the same directory. ``--series fault:NAME`` is its base with the fault on top.
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

#: Where the faults are.
DIRECTORY = _KERNEL_PATCHES / "faults"


class Catch(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way in which a fault should be noticed.

    Attributes:
        probe: a glob over probe names, as ``--probe`` takes it.
        status: the statuses of a matching probe that count.
        pattern: a regular expression that the reason, a failed test (``name: reason``), a line of
            the kernel's log during the probe, or a finding of the page-table walk must match as
            well; empty for any.
    """

    probe: str
    status: tuple[Literal["FAIL", "CRASH", "HANG"], ...]
    pattern: str = ""


class Fault(
    Record, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"kind": "class"}
):
    """One seeded fault.

    Attributes:
        seeds: one line: what is wrong in the kernel.
        kind: its class, such as ``wrong subpage mapped``.
        on: the registered series that it applies on top of; ``none`` for the source alone.
        kernel: the source that it is made for, as for ``--kernel``; empty for the default one.
        caught: any of these is a catch.
        config: features that the kernel needs for the fault to show, such as ``debug``.
        one_in: it shows in one boot of so many.
        rests_on: promises of ``probes/promises.toml``: where a kernel does not offer all of them,
            nothing can show the fault.
        breaks_others: probes that it does not name fail as well.
        name: what follows ``fault:``; the name of its table in ``faults.toml``.
        patch: absolute path of its patch.
    """

    seeds: str
    kind: str
    on: str
    kernel: str = ""
    caught: tuple[Catch, ...]
    config: tuple[str, ...] = ()
    one_in: int = 1
    rests_on: tuple[str, ...] = ()
    breaks_others: bool = False
    name: str = ""
    patch: str = ""

    @property
    def probes(self) -> tuple[str, ...]:
        """Return the globs of the probes that should notice it."""
        return tuple(dict.fromkeys(catch.probe for catch in self.caught))


def load(directory: Path = DIRECTORY) -> tuple[Fault, ...]:
    """Return every seeded fault, in the order of the file.

    Raises:
        SpecError: if it cannot be read, one of its tables is wrong, or a patch is missing.
    """
    path = directory / "faults.toml"
    try:
        tables = msgspec.toml.decode(path.read_bytes(), type=dict[str, Fault])
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise SpecError(f"{path}: {error}", hint="correct the list of faults") from None
    return tuple(_checked(name, fault, directory) for name, fault in tables.items())


def _checked(name: str, fault: Fault, directory: Path) -> Fault:
    patch = directory / f"{name}.patch"
    where = f"{directory / 'faults.toml'}: {name}"
    if not patch.is_file():
        raise SpecError(
            f"{where}: there is no {patch.name}", hint="add the patch or remove the table"
        )
    if not fault.caught:
        raise SpecError(f"{where}: `caught` is empty", hint="name a probe that catches it")
    for catch in fault.caught:
        try:
            re.compile(catch.pattern)
        except re.error as error:
            raise SpecError(
                f"{where}: {catch.pattern!r} is not a regular expression: {error}"
            ) from None
    return msgspec.structs.replace(fault, name=name, patch=str(patch))


def find(name: str) -> Fault:
    """Return the fault of that name.

    Raises:
        SpecError: if there is none.
    """
    faults = {fault.name: fault for fault in load()}
    if name in faults:
        return faults[name]
    near = difflib.get_close_matches(name, faults, n=3)
    hint = f"similar: {', '.join(near)}" if near else "see `hgm selfcheck detect --list`"
    raise SpecError(f"series fault:{name}: there is no such fault", hint=hint)
