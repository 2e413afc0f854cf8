# SPDX-License-Identifier: GPL-2.0-only
"""The picture of a walk: its cells, in a terminal and as SVG."""

from __future__ import annotations

import io
import xml.etree.ElementTree as Xml

import pytest

from harness.judge.pagetable import Run
from harness.records.probe import CheckpointResult, LevelCount
from harness.report import page_map
from harness.report.page_map import MapCell
from tests.unit.judge.tables import LEAF, UFFD_WP, x86_run

VA, PA = 0x7F12_4000_0000, 0x1_4000_0000
GIB, MIB2, KIB4 = 1 << 30, 1 << 21, 1 << 12
NAME = "UFFDIO_CONTINUE of 8 KiB maps two base pages"
MARKER_WP = 31 << 59 | (~1 & (1 << 50) - 1) << 9
SVG = "{http://www.w3.org/2000/svg}"


def result(length: int = GIB, **fields: object) -> CheckpointResult:
    known = {"number": 2, "name": NAME, "start": VA, "length": length, "page": length}
    return CheckpointResult(**{**known, **fields})  # type: ignore[arg-type]


def drawn(*runs: Run, length: int = GIB, **fields: object) -> page_map.Picture:
    return page_map.picture("hgm/x/1G", result(length, **fields), runs)


def test_a_gib_has_a_cell_for_each_2_mib() -> None:
    made = drawn(x86_run(VA, 30, 1, PA | LEAF))
    assert made.cells == (MapCell("pud", 1.0, False),) * 512
    assert [len(row) for _, row in made.rows()] == [32] * 16
    assert [offset for offset, _ in made.rows()][:2] == ["+0", "+64 MiB"]


def test_a_2_mib_page_has_a_cell_for_each_base_page() -> None:
    made = drawn(x86_run(VA + 5 * KIB4, 12, 2, PA + 5 * KIB4 | LEAF), length=MIB2)
    assert made.cell_size == KIB4
    assert [index for index, cell in enumerate(made.cells) if cell.present] == [5, 6]


@pytest.mark.parametrize(
    ("runs", "cell"),
    [
        ((), MapCell("", 0.0, False)),
        ((x86_run(VA, 21, 1, PA | LEAF),), MapCell("pmd", 1.0, False)),
        ((x86_run(VA, 12, 512, PA | LEAF),), MapCell("pte", 1.0, False)),
        ((x86_run(VA, 12, 128, PA | LEAF),), MapCell("pte", 0.25, False)),
        (
            (x86_run(VA, 12, 1, PA | LEAF), x86_run(VA + KIB4, 12, 1, PA | LEAF)),
            MapCell("pte", 1 / 256, False),
        ),
        ((x86_run(VA, 21, 1, MARKER_WP),), MapCell("", 0.0, True)),
        ((x86_run(VA, 12, 256, PA | LEAF | UFFD_WP),), MapCell("pte", 0.5, True)),
    ],
)
def test_cell(runs: tuple[Run, ...], cell: MapCell) -> None:
    made = drawn(*runs)
    assert made.cells[0] == cell
    assert set(made.cells[1:]) == {MapCell("", 0.0, False)}


def test_entries_that_cross_the_ends_of_the_range_are_cut() -> None:
    cells = page_map.cells((x86_run(VA, 30, 1, PA | LEAF),), VA + 4 * MIB2, 2 * MIB2, MIB2)
    assert cells == (MapCell("pud", 1.0, False),) * 2


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (MapCell("", 0.0, False), "··"),
        (MapCell("pud", 1.0, False), "██"),
        (MapCell("pmd", 1.0, False), "▓▓"),
        (MapCell("pmd", 1.0, True), "▓w"),
        (MapCell("pte", 1.0, False), "▇▇"),
        (MapCell("pte", 511 / 512, False), "▆▆"),
        (MapCell("pte", 1 / 512, False), "▁▁"),
        (MapCell("pte", 1.0, True), "▇w"),
        (MapCell("", 0.0, True), "ww"),
    ],
)
def test_a_cell_can_be_read_without_colour(cell: MapCell, shown: str) -> None:
    assert page_map.glyphs(cell) == shown


def test_a_pipe_gets_plain_lines() -> None:
    stream = io.StringIO()
    levels = (LevelCount(level="pmd"), LevelCount(level="pte", present=2, uffd_wp=1))
    made = drawn(
        x86_run(VA, 12, 2, PA | LEAF), levels=levels, problems=("pagemap [red]lies[/red]",)
    )
    page_map.write((made,), stream)
    lines = stream.getvalue().splitlines()
    assert lines[0] == f"hgm/x/1G, checkpoint 2: {NAME}"
    assert lines[1].endswith("1 GiB: 2 PTE, 1 of all entries write-protected")
    assert lines[2] == f"{'+0':>10}  ▁▁{'··' * 31}"
    assert "  disagreement: pagemap [red]lies[/red]" in lines
    assert "\x1b" not in stream.getvalue()


def test_an_svg_has_a_square_for_each_cell_and_names_problems() -> None:
    pictures = (
        drawn(x86_run(VA, 12, 1, PA | LEAF), name="<b>&\x00", problems=("pagemap lies " * 30,)),
        drawn(x86_run(VA, 21, 1, MARKER_WP), length=MIB2),
    )
    root = Xml.fromstring(page_map.svg(pictures))  # noqa: S314 - we wrote it
    squares = [each for each in root.iter(f"{SVG}rect") if each.get("rx")]
    legend = 2 * (6 + 1 + 1)  # two of its squares have a second one on top
    assert len(squares) == 512 + 1 + 512 + 512 + legend  # a gauge; and the marks over one huge page
    texts = [each.text or "" for each in root.iter(f"{SVG}text")]
    assert "<b>&?" in texts
    assert sum("pagemap lies" in text for text in texts) > 1
    shapes = [each for each in root.iter() if each.tag in (f"{SVG}rect", f"{SVG}text")]
    sheet = root.findtext(f"{SVG}style", "")
    light, dark = sheet.split("@media(prefers-color-scheme:dark)")
    assert not any(each.get("fill") for each in shapes)
    assert all(
        f".{each.get('class')}{{fill:" in rules for each in shapes for rules in (light, dark)
    )
    height = int(root.get("height", "0"))
    tops = [float(each.get("y", "0")) for each in root.iter(f"{SVG}text")]
    assert max(tops) < height


@pytest.mark.parametrize(
    ("count", "text"),
    [(1 << 30, "1 GiB"), (3 << 21, "6 MiB"), (1 << 17, "128 KiB"), (5, "5 B"), (0, "0 B")],
)
def test_sizes_are_in_the_largest_whole_unit(count: int, text: str) -> None:
    assert page_map.size(count) == text
