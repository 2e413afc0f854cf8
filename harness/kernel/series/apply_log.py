# SPDX-License-Identifier: GPL-2.0-only
"""Parses the standard error of ``git apply --verbose``. Pure functions."""

from __future__ import annotations

import re

from harness.kernel.series.patch import printable
from harness.records.base import Record

_CHECKING = re.compile(r"Checking patch (.+)\.\.\.\Z")
_HUNK = re.compile(r"Hunk #(\d+) succeeded at (\d+) \(offset (-?\d+) lines?\)\.")
_REDUCED = re.compile(r"Context reduced to \((\d+)/(\d+)\) to apply fragment at (\d+)")
_MERGED = re.compile(r"Applied patch to '(.+)' (cleanly|with conflicts)\.")
_ERROR = re.compile(r"(?:error|fatal): (.+)")
_FAILED_AT = re.compile(r"patch failed: (.+):(\d+)\Z")
_DAMAGED = re.compile(
    r"corrupt|unrecognized|garbage|without header|bad git-diff|invalid (?:mode|start)"
    r"|lacks filename|No valid patches|unable to find filename"
)

#: Errors that another base tree could avoid; all others are the patch's own fault.
_BASE = re.compile(
    r"does not exist in index|already exists in index|does not apply|does not match"
    r"|full index line|the patch applies to|cannot be read|removal patch leaves|wrong type"
)

#: A path that leaves the tree.
_OUTSIDE = re.compile(r"(?:^|[/' ])\.\./")

#: Errors after which git tries another way by itself.
_PASSING = re.compile(r"while searching for|repository lacks the necessary blob")


class Placed(Record, frozen=True, kw_only=True):
    """A hunk that git applied elsewhere than where the patch says.

    Attributes:
        path: the file.
        hunk: its number in that file, from 1; 0 if git did not say.
        line: where it was applied, from 1.
        offset: lines from where it was expected; 0 if lines of its context differ.
        context: how many lines of context before and after matched; -1 for all.
    """

    path: str
    hunk: int
    line: int
    offset: int = 0
    context: int = -1

    def text(self) -> str:
        """Return it in one line."""
        where = f"{self.path} hunk {self.hunk}" if self.hunk else f"{self.path} line {self.line}"
        if self.context >= 0:
            return f"{where} with {self.context} line{'s'[: self.context != 1]} of context"
        return f"{where} at {self.line} ({self.offset:+d})"


class ApplyLog(Record, frozen=True, kw_only=True):
    """What git reported about applying a patch.

    Attributes:
        applied: whether it applied.
        merged: files that were merged three ways.
        placed: hunks that were not applied exactly where the patch says.
        failed: (file, line of the old file) of the first hunk of each file that does not fit.
        errors: git's other errors, a line each.
        damaged: what is wrong with the patch itself; empty if nothing is.
    """

    applied: bool
    merged: tuple[str, ...] = ()
    placed: tuple[Placed, ...] = ()
    failed: tuple[tuple[str, int], ...] = ()
    errors: tuple[str, ...] = ()
    damaged: str = ""

    @property
    def exact(self) -> bool:
        """Return whether every hunk applied where the patch says."""
        return self.applied and not self.placed

    @property
    def conflict(self) -> bool:
        """Return whether it did not apply to this base, but might to another."""
        return not self.applied and not self.damaged and not self.hopeless

    @property
    def hopeless(self) -> tuple[str, ...]:
        """Return the errors that no other base would avoid, such as a path out of the tree."""
        return tuple(e for e in self.errors if not _BASE.search(e) or _OUTSIDE.search(e))


def read_apply_log(exit_code: int, said: str) -> ApplyLog:
    """Return git's report from its exit code and standard error (in English)."""
    path = ""
    merged: list[str] = []
    placed: list[Placed] = []
    failed: list[tuple[str, int]] = []
    errors: list[str] = []
    damaged = ""
    for raw in said.split("\n"):
        line = printable(raw)
        if match := _CHECKING.match(line):
            path = match[1].split(" => ")[0]
        elif match := _HUNK.match(line):
            placed.append(
                Placed(path=path, hunk=int(match[1]), line=int(match[2]), offset=int(match[3]))
            )
        elif match := _REDUCED.match(line):
            _reduce(placed, path, int(match[3]), min(int(match[1]), int(match[2])))
        elif (match := _MERGED.match(line)) and match[2] == "cleanly":
            merged.append(match[1])
        elif match := _ERROR.match(line):
            if where := _FAILED_AT.match(match[1]):
                failed.append((where[1], int(where[2])))
            elif _DAMAGED.search(match[1]):
                damaged = damaged or _without_room(match[1])
            elif not _PASSING.search(match[1]):
                errors.append(match[1])
    return ApplyLog(
        applied=exit_code == 0,
        merged=tuple(merged),
        placed=tuple(placed),
        failed=tuple(failed),
        errors=tuple(errors),
        damaged=damaged,
    )


def _reduce(placed: list[Placed], path: str, line: int, context: int) -> None:
    """Note that the context of the hunk at ``line`` was reduced; its offset is then meaningless."""
    if placed and placed[-1].path == path and placed[-1].line == line:
        last = placed.pop()
        placed.append(Placed(path=path, hunk=last.hunk, line=line, context=context))
    else:
        placed.append(Placed(path=path, hunk=0, line=line, context=context))


def _without_room(error: str) -> str:
    """Return git's error without the path of the private file that held the patch."""
    return re.sub(r"at /\S+:(\d+)", r"at line \1", error.split(" (allow with")[0])
