# SPDX-License-Identifier: GPL-2.0-only
"""Paths of pages, relative to the site. They can stand in a URL and in an attribute as they are.

No character in them needs escaping in either, and no text of a guest comes through unescaped.
"""

from __future__ import annotations

import functools
import posixpath
import re

from harness.records.history import Cell
from harness.records.probe import CONSOLE
from harness.store.history.cell import cell_id
from harness.workspace import digest

INDEX = "index.html"
MATRIX = "matrix.html"
TRENDS = "trends.html"
#: The newest page of the list of runs.
RUNS = "runs/index.html"

#: File systems allow 255 bytes in a name, and a page's path has more than the name in it.
_LONGEST = 120

_SPECIAL = re.compile(r"[^A-Za-z0-9_.-]")


@functools.lru_cache(100_000)
def file_name(text: str) -> str:
    """Return a text as a file name, which differs for different texts.

    ``hgm/continue-4k/1G`` becomes ``hgm+continue-4k+1G``; what is neither a letter, a digit, nor
    one of ``_.-`` becomes ``=`` and its code in hex, and so does a dot at the start.
    """
    parts = (_SPECIAL.sub(_coded, part) for part in text.split("/"))
    name = "+".join(parts)
    if name.startswith("."):
        name = f"=2e{name[1:]}"
    if len(name) <= _LONGEST:
        return name or "=empty"
    return f"{name[:_LONGEST]}=={digest(text)[:16]}"


def _coded(match: re.Match[str]) -> str:
    return "".join(f"={byte:02x}" for byte in match[0].encode("utf-8", "surrogatepass"))


def _of_run(identity: str, page: str) -> str:
    return f"run/{file_name(identity)}/{page}"


def run(identity: str) -> str:
    """Return the path of a run's page."""
    return _of_run(identity, "index.html")


def console(identity: str, file: str = CONSOLE) -> str:
    """Return the path of the page with a console of a run."""
    guest = guest_of(file)
    return _of_run(identity, f"console-{file_name(guest)}.html" if guest else "console.html")


def guest_of(file: str) -> str:
    """Return the number of the guest that has a console; empty for a run's first."""
    return posixpath.basename(posixpath.dirname(file))


def ktap(identity: str) -> str:
    """Return the path of the page with what a run's probes printed."""
    return _of_run(identity, "ktap.html")


def comparison(identity: str) -> str:
    """Return the path of the page that compares a run with the one before it."""
    return _of_run(identity, "compare.html")


def coverage(identity: str) -> str:
    """Return the path of the page with the lines that a run's probes reached."""
    return _of_run(identity, "coverage.html")


def study(identity: str) -> str:
    """Return the path of the page with what a run's memory does in pre-copy and post-copy."""
    return _of_run(identity, "study.html")


def study_picture(identity: str, name: str) -> str:
    """Return the path of a picture in that page."""
    return _of_run(identity, f"study-{name}.svg")


def page_map(identity: str, probe: str) -> str:
    """Return the path of the picture of page tables at the checkpoints of a probe."""
    return _of_run(identity, f"map-{file_name(probe)}.svg")


def probe(name: str) -> str:
    """Return the path of a probe's page, by its name as it is in a record or in the history."""
    as_kept = name.replace("\0", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL keeps no NUL
    return f"probe/{file_name(as_kept)}.html"


def cell(which: Cell) -> str:
    """Return the path of a cell's page."""
    return f"cell/{cell_id(which)}.html"


def trend(which: Cell) -> str:
    """Return the path of the picture of a cell's times."""
    return f"cell/{cell_id(which)}.svg"


def runs(number: int) -> str:
    """Return the path of a page of the list of runs; they are numbered from the oldest, from 1."""
    return f"runs/{number}.html"


def anchor(text: str) -> str:
    """Return the name of a place in a page."""
    return f"p-{file_name(text)}"
