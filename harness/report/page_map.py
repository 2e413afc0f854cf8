# SPDX-License-Identifier: GPL-2.0-only
"""Draws page tables: a cell for each 2 MiB shows the level that maps it, and how much of it.

A range of at most 4 MiB has a cell for each base page instead.
"""

from __future__ import annotations

import textwrap
import xml.etree.ElementTree as Xml
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TextIO

from harness.judge.pagetable import PAGE, Run
from harness.records.probe import CheckpointResult
from harness.report.picture import style_sheet

if TYPE_CHECKING:
    from rich.text import Text

Level = Literal["", "pud", "pmd", "pte"]

#: Cells in a row: 64 MiB, or 128 KiB of base pages.
COLUMNS = 32

_LARGE = 1 << 21
_FINE_LIMIT = 4 << 20


class MapCell(NamedTuple):
    """One square of the picture.

    Attributes:
        level: of the smallest entry that maps part of it; empty where nothing is mapped.
        present: share of it that is mapped, 0 to 1.
        protected: whether any of it carries userfaultfd's write-protect mark.
    """

    level: Level
    present: float
    protected: bool


class Picture(NamedTuple):
    """The picture of one checkpoint.

    Attributes:
        probe: its name.
        result: of the checkpoint.
        cell_size: bytes of one cell.
        cells: in the order of addresses.
    """

    probe: str
    result: CheckpointResult
    cell_size: int
    cells: tuple[MapCell, ...]

    def title(self) -> str:
        """Return the probe and the checkpoint, in a line."""
        return f"{self.probe}, checkpoint {self.result.number}"

    def summary(self) -> str:
        """Return the range and its numbers of entries, in a line."""
        end = self.result.start + self.result.length
        levels = self.result.levels
        counts = [f"{each.present} {each.level.upper()}" for each in levels if each.present]
        marks = sum(each.uffd_wp for each in levels)
        counts += [f"{marks} of all entries write-protected"] if marks else []
        what = ", ".join(counts) or "nothing mapped"
        return f"{self.result.start:#x} to {end:#x}, {size(self.result.length)}: {what}"

    def rows(self) -> list[tuple[str, tuple[MapCell, ...]]]:
        """Return each row with the offset of its first cell."""
        return [
            (
                f"+{size(first * self.cell_size) if first else 0}",
                self.cells[first : first + COLUMNS],
            )
            for first in range(0, len(self.cells), COLUMNS)
        ]


def size(count: int) -> str:
    """Return a number of bytes in its largest whole unit, such as ``64 MiB``."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count and count % (1 << shift) == 0:
            return f"{count >> shift} {unit}"
    return f"{count} B"


def picture(probe: str, result: CheckpointResult, runs: Sequence[Run]) -> Picture:
    """Return the picture of a walk."""
    fine = result.length <= _FINE_LIMIT
    cell_size = PAGE if fine else _LARGE
    return Picture(probe, result, cell_size, cells(runs, result.start, result.length, cell_size))


def cells(runs: Sequence[Run], start: int, length: int, cell_size: int) -> tuple[MapCell, ...]:
    """Return a cell for each ``cell_size`` bytes of a range."""
    count = -(-length // cell_size)
    smallest: list[Run | None] = [None] * count
    mapped = [0] * count
    protected = [False] * count
    for run in runs:
        at, end = max(run.address, start), min(run.end, start + length)
        while at < end:
            index = (at - start) // cell_size
            stop = min(end, start + (index + 1) * cell_size)
            if run.present:
                mapped[index] += stop - at
                known = smallest[index]
                smallest[index] = run if known is None or run.shift < known.shift else known
            protected[index] |= run.uffd_wp
            at = stop
    return tuple(
        MapCell(_level(run), bytes_ / cell_size, mark)
        for run, bytes_, mark in zip(smallest, mapped, protected, strict=True)
    )


def _level(run: Run | None) -> Level:
    return run.level if run else ""  # type: ignore[return-value]


# ---- in a terminal -----------------------------------------------------------------------------

_GAUGE = "▁▂▃▄▅▆"
_FULL = "▇"
_GLYPHS: dict[Level, str] = {"": "·", "pud": "█", "pmd": "▓"}
_STYLES: dict[Level, str] = {
    "": "bright_black",
    "pud": "rgb(86,140,215)",
    "pmd": "rgb(0,170,130)",
    "pte": "rgb(235,165,20)",
}
_PROTECTED = "rgb(215,110,165)"


def glyphs(cell: MapCell) -> str:
    """Return a cell as two characters that need no colour to be read."""
    first = _GLYPHS.get(cell.level) or _FULL
    if cell.level == "pte" and cell.present < 1:
        first = _GAUGE[int(cell.present * len(_GAUGE))]
    if cell.protected and not cell.present:
        first = "w"
    return first + ("w" if cell.protected else first)


def write(pictures: Sequence[Picture], stream: TextIO) -> None:
    """Draw in a terminal."""
    from rich.console import Console

    console = Console(file=stream, highlight=False, soft_wrap=True)
    for each in pictures:
        console.print(f"{each.title()}: {each.result.name}", style="bold", markup=False)
        console.print(each.summary())
        for offset, row in each.rows():
            console.print(_text_row(offset, row))
        console.print(_text_legend(each.cell_size))
        for problem in each.result.problems:
            console.print(f"  disagreement: {problem}", style="bold red", markup=False)
        console.print()


def _text_row(offset: str, row: Sequence[MapCell]) -> Text:
    from rich.text import Text

    line = Text(f"{offset:>10}  ")
    for cell in row:
        line.append(glyphs(cell), _PROTECTED if cell.protected else _STYLES[cell.level])
    return line


def _text_legend(cell_size: int) -> Text:
    from rich.text import Text

    line = Text(f"{'':>12}a cell is {size(cell_size)}:  ")
    if cell_size > PAGE:
        line.append("██", _STYLES["pud"]).append(" PUD   ")
    line.append("▓▓", _STYLES["pmd"]).append(" PMD   ")
    if cell_size > PAGE:
        line.append("▁▁▃▃▅▅", _STYLES["pte"]).append(" some PTEs   ")
    line.append("▇▇", _STYLES["pte"]).append(" PTE   " if cell_size == PAGE else " all PTEs   ")
    line.append("··", _STYLES[""]).append(" not mapped   ")
    return line.append("w", _PROTECTED).append(" write-protected")


# ---- as SVG ------------------------------------------------------------------------------------

_SIDE, _GAP = 18, 3
_STEP = _SIDE + _GAP
_LEFT, _TOP, _MARGIN = 96, 112, 32
_WIDTH = _LEFT + COLUMNS * _STEP + _MARGIN
_LINE = 20
_CHARACTERS = 108  # that fit in a line of the widest text

#: What each class of shape or text is filled with, in light and in dark.
_COLOURS = {
    "page": ("#ffffff", "#14181d"),
    "ink": ("#1f2933", "#e3e8ed"),
    "faint": ("#5b6772", "#9ba7b3"),
    "problem": ("#b42318", "#ff9a9a"),
    "none": ("#e9edf1", "#28303a"),
    "pud": ("#2f5fa8", "#5b8fdc"),
    "pmd": ("#0f9d7a", "#14b38b"),
    "pte": ("#e39a0b", "#e39a0b"),
    "rest": ("#fbe9c4", "#4d3c14"),
    "mark": ("#b5468b", "#e07fb8"),
    "protected": ("url(#hatching)", "url(#hatching)"),
}
_CLASSES: dict[Level, str] = {"": "none", "pud": "pud", "pmd": "pmd", "pte": "pte"}
_FONT = "ui-sans-serif, 'DejaVu Sans', Helvetica, Arial, sans-serif"


def svg(pictures: Sequence[Picture]) -> str:
    """Return the pictures as one SVG document, below each other."""
    heights = [_height(each) for each in pictures]
    root = Xml.Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        width=str(_WIDTH),
        height=str(sum(heights)),
        viewBox=f"0 0 {_WIDTH} {sum(heights)}",
    )
    root.set("font-family", _FONT)
    Xml.SubElement(root, "style").text = style_sheet(_rules(0), _rules(1))
    _add_hatching(root)
    Xml.SubElement(root, "rect", {"class": "page"}, width="100%", height="100%")
    top = 0
    for each, height in zip(pictures, heights, strict=True):
        panel = Xml.SubElement(root, "g", transform=f"translate(0 {top})")
        _add_panel(panel, each)
        top += height
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode") + "\n"


def _rules(which: int) -> str:
    return "".join(f".{name}{{fill:{fills[which]}}}" for name, fills in _COLOURS.items())


def _height(each: Picture) -> int:
    lines = sum(len(_wrapped(problem)) for problem in each.result.problems)
    return _TOP + len(each.rows()) * _STEP + 60 + lines * _LINE + _MARGIN


def _add_hatching(root: Xml.Element) -> None:
    pattern = Xml.SubElement(
        Xml.SubElement(root, "defs"),
        "pattern",
        id="hatching",
        width="6",
        height="6",
        patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    )
    Xml.SubElement(pattern, "rect", {"class": "mark"}, width="2.4", height="6")


def _add_panel(panel: Xml.Element, each: Picture) -> None:
    _add_text(panel, (_MARGIN, 40), each.title(), size_=17, weight="600")
    _add_text(panel, (_MARGIN, 62), _cut(each.result.name), size_=13)
    _add_text(panel, (_MARGIN, 84), each.summary(), size_=13, kind="faint")
    top = _TOP
    for offset, row in each.rows():
        _add_text(panel, (_LEFT - 12, top + 13), offset, size_=11, kind="faint", anchor="end")
        for column, cell in enumerate(row):
            _add_cell(panel, _LEFT + column * _STEP, top, cell)
        top += _STEP
    _add_legend(panel, top + 20, each.cell_size)
    top += 70
    for problem in each.result.problems:
        for line in _wrapped(problem):
            _add_text(panel, (_MARGIN, top), line, size_=13, kind="problem")
            top += _LINE


def _add_cell(panel: Xml.Element, x: int, y: int, cell: MapCell) -> None:
    """Add a square; if base pages map a part of it, it is filled from the bottom to that share."""
    partly = cell.level == "pte" and cell.present < 1
    _add_square(panel, x, y, _SIDE, "rest" if partly else _CLASSES[cell.level])
    if partly:
        # A single page, mapped or missing, would be a third of a pixel: make it visible.
        filled = min(_SIDE - 2.0, max(2.0, round(cell.present * _SIDE, 1)))
        _add_square(panel, x, y + _SIDE - filled, filled, "pte")
    if cell.protected:
        _add_square(panel, x, y, _SIDE, "protected")


def _add_square(panel: Xml.Element, x: float, y: float, height: float, kind: str) -> None:
    Xml.SubElement(
        panel,
        "rect",
        {"class": kind},
        x=f"{x:g}",
        y=f"{y:g}",
        width=str(_SIDE),
        height=f"{height:g}",
        rx="2",
    )


def _add_legend(panel: Xml.Element, top: int, cell_size: int) -> None:
    _add_text(panel, (_MARGIN, top + 13), f"{size(cell_size)} a cell", size_=12, kind="faint")
    items: list[tuple[str, MapCell]] = [
        ("PUD entry", MapCell("pud", 1, False)),
        ("PMD entry", MapCell("pmd", 1, False)),
        ("PTEs, all", MapCell("pte", 1, False)),
        ("PTEs, a part", MapCell("pte", 0.4, False)),
        ("not mapped", MapCell("", 0, False)),
        ("write-protected", MapCell("", 0, True)),
    ]
    x = _LEFT + _STEP - 8
    for name, cell in items:
        _add_cell(panel, x, top, cell)
        _add_text(panel, (x + _SIDE + 6, top + 13), name, size_=12)
        x += _SIDE + 30 + 6 * len(name)


def _add_text(
    panel: Xml.Element,
    at: tuple[int, int],
    text: str,
    *,
    size_: int,
    kind: str = "ink",
    weight: str = "400",
    anchor: str = "start",
) -> None:
    element = Xml.SubElement(panel, "text", {"class": kind}, x=str(at[0]), y=str(at[1]))
    element.set("font-size", str(size_))
    element.set("font-weight", weight)
    element.set("text-anchor", anchor)
    # The guest's text may contain characters that XML forbids.
    element.text = "".join(each if each.isprintable() else "?" for each in text)


def _wrapped(problem: str) -> list[str]:
    return textwrap.wrap(f"disagreement: {problem}", _CHARACTERS)


def _cut(name: str) -> str:
    return textwrap.shorten(name, _CHARACTERS, placeholder=" …")
