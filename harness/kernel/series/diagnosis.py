# SPDX-License-Identifier: GPL-2.0-only
"""Why a patch does not apply: where it and a file differ. git alone decides what applies.

Pure functions over texts. Lines end at line feeds and at nothing else: the kernel has form feeds.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from harness.records.base import Record

#: Lines too common to locate a hunk by: blank ones, braces, ends of comments.
_COMMON = re.compile(r"[\s{}();*/]*\Z")

#: Most lines of a difference that are shown, and lines of context around each change.
_SHOWN_LINES = 24
_SHOWN_CONTEXT = 2

#: Most characters of a patch that is parsed: unidiff takes 4 s for them.
_LARGEST_PATCH = 1 << 20

#: Most lines of a hunk that are compared: a huge hunk must not take minutes.
COMPARED_LINES = 400


class Hunk(Record, frozen=True, kw_only=True):
    """One hunk.

    Attributes:
        number: from 1 in its file.
        start: the line of the old file where it starts, as its header says.
        body: its lines, each after ``-``, ``+`` or a space.
    """

    number: int
    start: int
    body: tuple[str, ...]

    @property
    def old(self) -> tuple[str, ...]:
        """Return the lines that the patch expects."""
        return tuple(line[1:] for line in self.body if line[0] != "+")

    @property
    def new(self) -> tuple[str, ...]:
        """Return the lines that it makes of them."""
        return tuple(line[1:] for line in self.body if line[0] != "-")


class FilePatch(Record, frozen=True, kw_only=True):
    """What a patch does to the text of one file.

    Attributes:
        path: the old file's path without the stripped components; the new one's if it is new.
        hunks: in order.
        becomes: the new file's path; empty if it is deleted.
        creates: whether it is new.
    """

    path: str
    hunks: tuple[Hunk, ...]
    becomes: str
    creates: bool


class Misfit(Record, frozen=True, kw_only=True):
    """A hunk whose old lines a file does not have.

    Attributes:
        path: the file.
        hunk: the hunk's number in that file, from 1; 0 if the file as a whole does not fit.
        line: the line of the old file where the hunk starts, as its header says.
        reason: one line.
        difference: ``-`` lines that the patch expects, ``+`` lines that the file has, `` `` both.
    """

    path: str
    reason: str
    hunk: int = 0
    line: int = 0
    difference: tuple[str, ...] = ()


def parse(patch: str, strip: int = 1) -> tuple[FilePatch, ...]:
    """Return the text hunks of a patch by file; empty if unidiff cannot read it, or it is huge."""
    from unidiff.errors import UnidiffParseError  # 15 ms that only a refused patch needs
    from unidiff.patch import PatchSet

    try:
        files = PatchSet(patch if len(patch) <= _LARGEST_PATCH else "")
    except UnidiffParseError:
        return ()
    return tuple(
        FilePatch(
            path=_path(file.source_file, strip) or _path(file.target_file, strip),
            hunks=tuple(
                Hunk(
                    number=number,
                    start=hunk.source_start,
                    body=tuple(
                        line.line_type + line.value.removesuffix("\n")
                        for line in hunk
                        if line.line_type in ("+", "-", " ")
                    ),
                )
                for number, hunk in enumerate(file, 1)
            ),
            becomes=_path(file.target_file, strip),
            creates=not _path(file.source_file, strip),
        )
        for file in files
    )


def _path(name: str, strip: int) -> str:
    """Return a path without its first components; empty for /dev/null."""
    name = name.rstrip("\r")
    return "" if name == "/dev/null" else "/".join(name.split("/")[strip:])


def misfits(patch: FilePatch, text: str) -> Iterator[Misfit]:
    """Yield each hunk of a file's patch whose old lines are nowhere in the file, and why.

    Args:
        patch: the patch of one file.
        text: that file before the patch.
    """
    lines = text.split("\n")
    shift = 0
    for hunk in patch.hunks:
        expected = max(0, hunk.start - 1) + shift
        found = nearest(hunk.old, lines, expected)
        if found is not None:
            shift += found - expected
            continue
        if hunk.old != hunk.new and nearest(hunk.new, lines, expected) is not None:
            reason = "the file has these changes already"
        else:
            reason = "the file has other lines than the patch expects"
        yield Misfit(
            path=patch.path,
            hunk=hunk.number,
            line=hunk.start,
            reason=reason,
            difference=_difference(hunk.old, lines, expected),
        )


def nearest(wanted: Sequence[str], lines: Sequence[str], expected: int) -> int | None:
    """Return where ``wanted`` is in ``lines``, nearest to ``expected``; None if nowhere."""
    if not wanted:
        return expected
    last = len(lines) - len(wanted)
    starts = [at for at in range(last + 1) if lines[at] == wanted[0]]
    fitting = [at for at in starts if list(lines[at : at + len(wanted)]) == list(wanted)]
    return min(fitting, key=lambda at: abs(at - expected), default=None)


def _difference(wanted: Sequence[str], lines: Sequence[str], expected: int) -> tuple[str, ...]:
    """Return how ``wanted`` differs from the most similar part of ``lines``."""
    wanted = wanted[:COMPARED_LINES]
    start, end = similar_part(wanted, lines, expected)
    shown = difflib.unified_diff(wanted, lines[start:end], n=_SHOWN_CONTEXT, lineterm="")
    body = [line for line in shown if not line.startswith(("--- ", "+++ ", "@@"))]
    if len(body) > _SHOWN_LINES:
        body = [*body[:_SHOWN_LINES], f" ... and {len(body) - _SHOWN_LINES} lines more"]
    return tuple(body)


def similar_part(wanted: Sequence[str], lines: Sequence[str], expected: int) -> tuple[int, int]:
    """Return start and end of the part of ``lines`` that is most similar to ``wanted``."""
    start = _most_similar(wanted, lines, expected)
    margin = 5
    low, high = max(0, start - margin), start + len(wanted) + margin
    matcher = difflib.SequenceMatcher(None, wanted, lines[low:high], autojunk=False)
    blocks = [block for block in matcher.get_matching_blocks() if block.size]
    if not blocks:
        return start, start + len(wanted)
    # Lines outside the first and last common line are not part of it.
    first, last = blocks[0], blocks[-1]
    left = low + max(0, first.b - first.a)
    right = low + last.b + len(wanted) - last.a
    return left, min(right, high, len(lines))


def _most_similar(wanted: Sequence[str], lines: Sequence[str], expected: int) -> int:
    """Return the place in ``lines`` with most of ``wanted``; ``expected`` if none has any."""
    places: dict[str, list[int]] = {}
    for at, line in enumerate(lines):
        if not _COMMON.match(line):
            places.setdefault(line, []).append(at)
    votes = Counter(at - index for index, line in enumerate(wanted) for at in places.get(line, ()))
    if not votes:
        return max(0, min(expected, len(lines) - 1))
    best = max(votes, key=lambda start: (votes[start], -abs(start - expected)))
    return max(0, best)
