# SPDX-License-Identifier: GPL-2.0-only
"""From a page's model to HTML. Everything that a template prints is escaped."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from harness.records.base import Record
from harness.report.columns import count
from harness.report.matrix import LETTERS

HERE = Path(__file__).parent

#: What HTML forbids, and what turns the order of the characters around it.
_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef"
    "\ufeff\ufff9-\uffff\U000e0000-\U000e0fff]|[\ufffe\uffff]"
)


def page(template: str, model: Record, path: str) -> str:
    """Return a page.

    Args:
        template: its name, without ``.html``.
        model: the page's model, ``page`` in the template.
        path: of the page, relative to the site.
    """
    root = "../" * path.count("/")
    return _template(template).render(page=model, root=root, path=path)


def part(macro: str, model: Record, path: str) -> str:
    """Return a part of a page: what a macro of ``parts.html`` makes of its model."""
    root = "../" * path.count("/")
    return str(vars(_template("parts").module)[macro](root, model))


@functools.cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_fit,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["count"] = count
    made.globals["tiles"] = _tiles
    made.globals["link"] = functools.partial(_repeated, "link")
    made.globals["letters"] = {
        "": "-",
        **{str(status): letter for status, letter in LETTERS.items()},
    }
    made.globals["classes"] = {status: status.lower() for status in ("", *LETTERS)}
    return made


@functools.cache
def _template(name: str) -> Template:
    return _environment().get_template(f"{name}.html")


def _tiles(root: str, tiles: Iterable[Record]) -> Markup:
    return Markup("\n".join(_repeated("tile", root, each) for each in tiles))  # noqa: S704 - parts are escaped


@functools.lru_cache(maxsize=20_000)
def _repeated(macro: str, root: str, model: Record) -> Markup:
    """Return a part of many pages, as the tile of a run, and the link to a test."""
    return Markup(vars(_template("parts").module)[macro](root, model))  # noqa: S704 - it is escaped


def _fit(value: Any) -> Any:
    """Return a text with U+FFFD in place of each character that has no business in a page."""
    if isinstance(value, str) and not isinstance(value, Markup) and not value.isprintable():
        return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", value)
    return value
