# SPDX-License-Identifier: GPL-2.0-only
"""The guest's console and the probes' output as pages, with an anchor at each line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from harness.judge import lines
from harness.records.base import Record
from harness.records.probe import Status
from harness.records.run import RunRecord
from harness.site import names
from harness.site.words import Link
from harness.store import rundir

#: Lines of one text that a page has, half of them from its start and half from its end.
MOST_LINES = 20_000
_MOST_CHARACTERS = 4000


class TextLine(Record, frozen=True, kw_only=True):
    """A line of text.

    Attributes:
        anchor: of the line in the page.
        number: from 1; 0 for a line that stands for those that are left out.
        text: without its end.
    """

    anchor: str
    number: int
    text: str


class TextBlock(Record, frozen=True, kw_only=True):
    """A text.

    Attributes:
        title: what it is; empty where the page has one text.
        anchor: of the text in the page.
        status: of the probe that printed it; empty for the console.
        lines: its lines.
    """

    title: str
    anchor: str
    status: Status | Literal[""]
    lines: tuple[TextLine, ...]


class TextPage(Record, frozen=True, kw_only=True):
    """A page of texts.

    Attributes:
        title: what it is.
        run: whose.
        blocks: the texts.
    """

    title: str
    run: Link
    blocks: tuple[TextBlock, ...]


def console_title(file: str) -> str:
    """Return what a console is called, by its file."""
    guest = names.guest_of(file)
    return f"Console of guest {guest}" if guest else "Console"


def console(run: Link, file: str, data: bytes) -> TextPage:
    """Return the model of the page with a guest's console, which is in a file."""
    found = tuple(_lines(data.decode("utf-8", "replace"), "L", file))
    block = TextBlock(title="", anchor="console", status="", lines=found)
    return TextPage(title=console_title(file), run=run, blocks=(block,))


def console_anchor(number: int, count: int) -> str:
    """Return the anchor of a line in the page of a console that has so many; empty without one."""
    if not 0 < number <= count:
        return ""
    return "L-" if number in _left_out(count) else f"L{number}"


def _left_out(count: int) -> range:
    """Return the numbers of the lines that the page of a text leaves out."""
    half = MOST_LINES // 2
    return range(half + 1, max(half, count - half) + 1)


def outputs(run: Link, record: RunRecord, found: Mapping[str, str]) -> TextPage:
    """Return the model of the page with what probes printed."""
    return TextPage(
        title="Output of the probes",
        run=run,
        blocks=tuple(
            TextBlock(
                title=probe.name,
                anchor=names.anchor(probe.name),
                status=probe.status,
                lines=tuple(
                    _lines(
                        found[probe.name],
                        f"{names.anchor(probe.name)}-L",
                        f"{probe.directory}/{rundir.KTAP}",
                    )
                ),
            )
            for probe in record.probes
            if probe.name in found
        ),
    )


def _lines(text: str, prefix: str, file: str) -> Iterator[TextLine]:
    all_lines: Sequence[str] = text.split("\n")
    if all_lines and not all_lines[-1]:
        all_lines = all_lines[:-1]
    left_out = _left_out(len(all_lines))
    for number, line in enumerate(all_lines, 1):
        if number in left_out:
            if number == left_out.start:
                words = f"[{len(left_out)} lines are left out here; {file} has them]"
                yield TextLine(anchor=f"{prefix}-", number=0, text=words)
            continue
        shown = lines.clean(line[:_MOST_CHARACTERS])
        more = len(line) - _MOST_CHARACTERS
        yield TextLine(
            anchor=f"{prefix}{number}",
            number=number,
            text=shown + (f" [{more} more characters]" if more > 0 else ""),
        )
