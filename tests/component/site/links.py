# SPDX-License-Identifier: GPL-2.0-only
"""Reads a site as a browser does: strictly, and every link of it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import html5lib

_DRAWN = ("svg", "text", "path", "polyline")

#: What may stand in a page at all.
ELEMENTS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "link",
        "script",
        "body",
        "header",
        "nav",
        "main",
        "section",
    ),
    *("article", "div", "span", "p", "h1", "h2", "h3", "a", "b", "strong", "small", "code"),
    *("pre", "img", "ul", "ol", "li", "dl", "dt", "dd", "details", "summary"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td"),
    *(f"{{http://www.w3.org/2000/svg}}{name}" for name in _DRAWN),
}
_LINKS = {"a": "href", "link": "href", "script": "src", "img": "src"}


class Page(NamedTuple):
    """A page that was read.

    Attributes:
        errors: where it breaks the rules of HTML.
        elements: each with its attributes, in order.
        ids: of its elements.
        text: all of it.
    """

    errors: list[str]
    elements: list[tuple[str, dict[str, str]]]
    ids: list[str]
    text: str

    def links(self) -> Iterator[str]:
        """Yield the targets of its links."""
        for name, attributes in self.elements:
            if name in _LINKS and _LINKS[name] in attributes:
                yield attributes[_LINKS[name]]


@cache
def read(path: Path) -> Page:
    """Return a page."""
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    tree: Any = parser.parse(path.read_text("utf-8"))
    elements = [
        (str(each.tag), dict(each.attrib)) for each in tree.iter() if isinstance(each.tag, str)
    ]
    return Page(
        errors=[f"{path.name}:{at[0]}: {code}" for at, code, _ in parser.errors],
        elements=elements,
        ids=[attributes["id"] for _, attributes in elements if "id" in attributes],
        text="".join(tree.itertext()),
    )


def pages(site: Path) -> list[Path]:
    """Return all pages of a site."""
    return sorted(site.rglob("*.html"))


def broken(site: Path) -> Iterator[str]:
    """Yield each link of a site that leads nowhere, or out of it."""
    for page in pages(site):
        for link in read(page).links():
            parts = urlsplit(link)
            here = page.relative_to(site).as_posix()
            target = posixpath.normpath(
                posixpath.join(posixpath.dirname(here), unquote(parts.path))
            )
            file = site / (target if parts.path else here)
            outside = bool(parts.scheme or parts.netloc or parts.query or target.startswith(".."))
            if outside or not file.is_file():
                yield f"{here}: {link}"
            elif parts.fragment and parts.fragment not in read(file).ids:
                yield f"{here}: {link}: no such place"
