# SPDX-License-Identifier: GPL-2.0-only
"""The known issues of kernels: ``probes/known-issues.toml``, which explains its fields."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from harness import data
from harness.errors import SpecError
from harness.probes import catalog
from harness.records.known_issue import KnownIssue
from harness.workspace import Workspace, digest

_FILE = data.directory("probes") / "known-issues.toml"

_Line = Annotated[str, msgspec.Meta(pattern=r"^\S.*\S$")]
_Version = Annotated[str, msgspec.Meta(pattern=r"^\d+\.\d+(\.[1-9]\d*|-rc[1-9]\d*)?$")]
_Fix = Annotated[str, msgspec.Meta(pattern=r'^[0-9a-f]{12} \(".+"\)$')]


class _IssueEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One issue as it is written."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]+$")]
    shows: _Line
    probes: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    test: str = ""
    reason: str = ""
    besides: tuple[_Line, ...] = ()
    since: tuple[_Version, ...] = ()
    fixed_in: tuple[_Version, ...] = ()
    intermittent: bool = False
    fix: _Fix | None = None
    report: _Line | None = None


class _IssueTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    issue: tuple[_IssueEntry, ...] = ()


def check(workspace: Workspace) -> None:
    """Raise what `load` does, unless these very files were right before: that takes less time."""
    try:
        state = digest(_FILE.read_bytes(), catalog.FILE.read_bytes())
    except OSError:
        state = ""  # the error says which
    right = workspace.room("facts") / f"known-issues-{state[:16]}"
    if not state or not right.exists():
        load()
        right.touch()


@functools.cache
def load(path: Path = _FILE) -> tuple[KnownIssue, ...]:
    """Return every known issue, in the order of the file.

    Raises:
        SpecError: if the file cannot be read, or an entry of it is wrong; names the entry.
    """
    try:
        table = msgspec.toml.decode(path.read_bytes(), type=_IssueTable)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise SpecError(f"{path}: {error}", hint="correct the known issues") from None
    probes = tuple(probe.name for probe in catalog.load(sizes=catalog.every_size()))
    issues: list[KnownIssue] = []
    for entry in table.issue:
        found = {glob: catalog.matching(probes, glob) for glob in entry.probes}
        if problem := _problem(entry, {issue.name for issue in issues}, found):
            raise SpecError(f"{path}: {entry.name}: {problem}", hint="correct the known issues")
        its = frozenset().union(*found.values())
        issues.append(_issue(entry, tuple(name for name in probes if name in its)))
    return tuple(issues)


def _problem(entry: _IssueEntry, others: set[str], found: Mapping[str, Collection[str]]) -> str:
    """Return what is wrong with an entry; empty if nothing is."""
    if entry.name in others:
        return "another issue has this name"
    if not entry.test and not entry.besides:
        return "it names neither a test nor anything else"
    if bool(entry.test) != bool(entry.reason):
        return "`test` and `reason` belong together"
    if (entry.fix is None) == (entry.report is None):
        return "it has neither `fix` nor `report`, or both"
    return next(_wrong_parts(entry, found), "")


def _wrong_parts(entry: _IssueEntry, found: Mapping[str, Collection[str]]) -> Iterator[str]:
    for glob in entry.probes:
        if not found[glob]:
            yield f"{glob!r} matches no probe"
    for pattern in (entry.test, entry.reason, *entry.besides):
        try:
            re.compile(pattern)
        except re.error as error:
            yield f"{pattern!r} is not a regular expression: {error}"
    for versions in (entry.since, entry.fixed_in):
        lines = [each.rpartition(".")[0] if each.count(".") > 1 else "" for each in versions]
        if len(set(lines)) < len(lines):
            yield f"{', '.join(versions)} has two versions of one line"


def _issue(entry: _IssueEntry, probes: tuple[str, ...]) -> KnownIssue:
    fields = msgspec.structs.asdict(entry) | {
        "probes": probes,
        "fix": entry.fix or "",
        "report": entry.report or "",
    }
    return KnownIssue(**fields)
