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


def console(run: Link, data: bytes) -> TextPage:
    """Return the model of the page with a guest's console."""
    found = tuple(_lines(data.decode("utf-8", "replace"), "L"))
    block = TextBlock(title="", anchor="console", status="", lines=found)
    return TextPage(title="Console", run=run, blocks=(block,))


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
                lines=tuple(_lines(found[probe.name], f"{names.anchor(probe.name)}-L")),
            )
            for probe in record.probes
            if probe.name in found
        ),
    )


def _lines(text: str, prefix: str) -> Iterator[TextLine]:
    all_lines: Sequence[str] = text.split("\n")
    if all_lines and not all_lines[-1]:
        all_lines = all_lines[:-1]
    half = MOST_LINES // 2
    left_out = max(0, len(all_lines) - MOST_LINES)
    for number, line in enumerate(all_lines, 1):
        if left_out and half < number <= half + left_out:
            if number == half + 1:
                words = f"[{left_out} lines are left out here; serial.log has them]"
                yield TextLine(anchor=f"{prefix}-", number=0, text=words)
            continue
        shown = lines.clean(line[:_MOST_CHARACTERS])
        more = len(line) - _MOST_CHARACTERS
        yield TextLine(
            anchor=f"{prefix}{number}",
            number=number,
            text=shown + (f" [{more} more characters]" if more > 0 else ""),
        )
