# SPDX-License-Identifier: GPL-2.0-only
"""The documentation: its links resolve, and its commands are commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "kernel-patches").glob("*.md")]
)

_FENCE = re.compile(r"^(`{3,})(\w*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose_of(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub and GitLab make of a page's headings."""
    plain = (re.sub(r"[`*]", "", text).lower() for text in _HEADING.findall(prose_of(page)))
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in plain}


def broken_links(page: Path) -> Iterator[str]:
    for target in _LINK.findall(prose_of(page)):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists():
            yield f"{target}: no such file"
        elif anchor and anchor not in anchors_of(file):
            yield f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    assert list(broken_links(page)) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b`: c\n[ok](#a-b-c) [no](#d) [gone](gone.md)\n```\n[code](x.md)\n```\n")
    assert list(broken_links(page)) == ["#d: no such heading", "gone.md: no such file"]
