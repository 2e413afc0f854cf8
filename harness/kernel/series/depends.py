# SPDX-License-Identifier: GPL-2.0-only
"""Which patches do not apply only because an earlier one was refused.

The files that refused patches change are kept as they would be with those patches ported: a hunk
that does not fit makes its changes at the most similar place, and the source's other lines stay. A
patch depends on a refused one if all of it fits those files, and that on lines which the refused
patch added, or around lines which it removed. Texts alone are compared; nothing is built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import NamedTuple

from harness.kernel.series.diagnosis import COMPARED_LINES, FilePatch, Hunk, nearest, similar_part


class _PortedLine(NamedTuple):
    """A line of a file.

    Attributes:
        text: without its line feed.
        added: the refused patch that added it; 0 for none.
        cut: the refused patch that removed what was before it; 0 for none.
    """

    text: str
    added: int = 0
    cut: int = 0


@dataclass
class _PortedFile:
    """A file.

    Attributes:
        lines: None if it is absent.
        moved: the refused patch that created, deleted or renamed it; 0 for none.
    """

    lines: list[_PortedLine] | None
    moved: int = 0


class _HunkPlace(NamedTuple):
    """The part of a file that a hunk changes, and whether the hunk fits it."""

    start: int
    end: int
    fits: bool


@dataclass
class Ported:
    """Files as they would be with the refused patches ported.

    Attributes:
        read: returns a file of the tree without the refused patches; None if it is absent.
    """

    read: Callable[[str], str | None]
    _files: dict[str, _PortedFile] = field(default_factory=dict)
    _roots: dict[int, frozenset[int]] = field(default_factory=dict)

    @property
    def anything(self) -> bool:
        """Return whether a patch was refused."""
        return bool(self._roots)

    def needed(self, files: Sequence[FilePatch]) -> tuple[int, ...]:
        """Return the conflicting patches that a patch depends on; none if it does not fit."""
        rests_on: set[int] = set()
        for file in files:
            there = self._file(file.path)
            if (there.lines is None) != file.creates:
                return ()
            rests_on.add(there.moved)
            lines = list(there.lines or ())
            moved_by = 0
            for hunk in file.hunks:
                place = _place(hunk, lines, moved_by)
                if not place.fits:
                    return ()
                part = lines[place.start : place.end]
                rests_on.update(line.added for line in part)
                rests_on.update(line.cut for line in part[1:])
                moved_by = _put(hunk, lines, place, 0)
        return tuple(sorted(set().union(*(self._roots[each] for each in rests_on - {0}))))

    def refuse(self, number: int, files: Sequence[FilePatch], needs: tuple[int, ...] = ()) -> None:
        """Port a refused patch: a conflicting one, or one that depends on ``needs``."""
        self._roots[number] = frozenset(needs or (number,))
        for file in files:
            self._change(file, self._file(file.path), number)

    def apply(self, files: Sequence[FilePatch]) -> None:
        """Apply a patch that was not refused, to those files that refused ones change."""
        for file in files:
            if file.path in self._files:
                self._change(file, self._files[file.path], 0)

    def _file(self, path: str) -> _PortedFile:
        if path in self._files:
            return self._files[path]
        text = self.read(path)
        return _PortedFile(
            None if text is None else [_PortedLine(line) for line in text.split("\n")]
        )

    def _change(self, file: FilePatch, there: _PortedFile, number: int) -> None:
        lines = [_PortedLine("")] if file.creates or not there.lines else list(there.lines)
        moved_by = 0
        for hunk in file.hunks:
            moved_by = _put(hunk, lines, _place(hunk, lines, moved_by), number)
        if file.becomes != file.path or file.creates:
            self._files[file.path] = _PortedFile(None, number)
            there = _PortedFile(lines, number)
        if file.becomes:
            self._files[file.becomes] = _PortedFile(lines, there.moved)


def _place(hunk: Hunk, lines: Sequence[_PortedLine], moved_by: int) -> _HunkPlace:
    """Return where a hunk goes: where it fits, or else the most similar part."""
    texts = [line.text for line in lines]
    expected = max(0, hunk.start - 1 + moved_by)
    start = nearest(hunk.old, texts, expected)
    if start is not None:
        return _HunkPlace(start, start + len(hunk.old), fits=True)
    start, end = similar_part(hunk.old[:COMPARED_LINES], texts, expected)
    if set(hunk.old).isdisjoint(texts[start:end]):
        end = start  # unrelated lines are not removed
    return _HunkPlace(start, end, fits=False)


def _put(hunk: Hunk, lines: list[_PortedLine], place: _HunkPlace, number: int) -> int:
    """Make a hunk's changes in ``lines``, and return how far it moves the lines after it."""
    part, cut = _changed(hunk, lines[place.start : place.end], number)
    if cut and place.end < len(lines):
        lines[place.end] = lines[place.end]._replace(cut=number)
    lines[place.start : place.end] = part
    return place.start + len(part) - (max(0, hunk.start - 1) + len(hunk.old))


def _changed(
    hunk: Hunk, part: Sequence[_PortedLine], number: int
) -> tuple[list[_PortedLine], bool]:
    """Return a part of a file with a hunk's changes, and whether lines at its end were removed.

    A line in which the part differs from the hunk's context stays; one in which it differs from a
    line that the hunk removes is removed.
    """
    added, removed = _edits(hunk)
    out: list[_PortedLine] = []
    cut = False

    def keep(line: _PortedLine) -> None:
        nonlocal cut
        out.append(line._replace(cut=number) if cut and number else line)
        cut = False

    matcher = SequenceMatcher(None, hunk.old, [line.text for line in part], autojunk=False)
    for _, first, last, low, high in matcher.get_opcodes():
        for index in range(first, last):
            out += [_PortedLine(text, added=number) for text in added.get(index, ())]
            at = low + index - first
            if index in removed:
                cut = True
            elif at < high:
                keep(part[at])
        rest = part[min(high, low + last - first) : high]
        if first == last or not removed.issuperset(range(first, last)):
            for line in rest:
                keep(line)
    out += [_PortedLine(text, added=number) for text in added.get(len(hunk.old), ())]
    return out, cut


def _edits(hunk: Hunk) -> tuple[dict[int, list[str]], set[int]]:
    """Return what a hunk adds before each of its old lines, and which of these it removes."""
    added: dict[int, list[str]] = {}
    removed: set[int] = set()
    index = 0
    for line in hunk.body:
        if line[0] == "+":
            added.setdefault(index, []).append(line[1:])
            continue
        if line[0] == "-":
            removed.add(index)
        index += 1
    return added, removed
