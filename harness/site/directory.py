# SPDX-License-Identifier: GPL-2.0-only
"""The directory of a site: which of its files stay as they are.

``site.json`` in it has, for each page, a key made from all that the page is made from. A page with
the same key is left alone. It is written last, so that a site that was cut is made whole the next
time.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

import harness
from harness.errors import SpecError, no_space
from harness.records.base import Record, read_json
from harness.site import render
from harness.site.trends import Figure
from harness.store import rundir
from harness.workspace import atomic_write, digest

#: The file that is in every site.
LIST = "site.json"


class SiteList(Record, frozen=True, kw_only=True):
    """What the site consists of: ``site.json``.

    Attributes:
        pages: the key of each page by its path.
        compared: IDs of the runs that differ from the run before.
        figures: what the picture of each cell shows, by its path.
    """

    pages: dict[str, str] = {}  # noqa: RUF012 - msgspec copies it
    compared: tuple[str, ...] = ()
    figures: dict[str, Figure] = {}  # noqa: RUF012


class Built(Record, frozen=True, kw_only=True):
    """What was done.

    Attributes:
        written: pages and pictures.
        kept: those that were left as they are.
        removed: those of runs that the history no longer has.
    """

    written: int
    kept: int
    removed: int


class SiteDirectory:
    """The directory that is written to.

    Args:
        output: its path.
    """

    def __init__(self, output: Path) -> None:
        self.path = output
        try:
            old = read_json(output / LIST, SiteList)
            occupied = old is None and output.is_dir() and any(output.iterdir())
        except OSError as error:
            raise SpecError(
                f"--output: cannot read {error.filename}: {error.strerror}",
                hint="choose a new or empty directory",
            ) from None
        if occupied:
            raise SpecError(
                f"--output: {output} has files and is not a site of hgm report",
                hint="choose a new or empty directory",
            )
        self._old = old or SiteList()
        self._old_below: defaultdict[str, list[str]] = defaultdict(list)
        for path in self._old.pages:
            self._old_below[posixpath.dirname(path)].append(path)
        self._pages: dict[str, str] = {}
        self._version = _version()
        self._written = 0
        self.compared = set(self._old.compared)
        self.figures = dict(self._old.figures)
        if old is None:  # so that a site that was cut is known as one
            rundir.make_directory(output, "--output")
            self._save(self._old)

    def page(self, template: str, path: str, model: Record) -> None:
        """Write a page if its model is not as before."""
        key = digest(msgspec.json.encode(model))
        self.write(path, key, lambda: render.page(template, model, path))

    def write(self, path: str, key: str, content: Callable[[], str]) -> None:
        """Write a file if its key is not as before."""
        if not self.keep(path, key):
            self.put(path, key, content())

    def keep(self, path: str, key: str) -> bool:
        """Keep a file if its key is as before; return whether it is."""
        whole = self._key(key)
        if self._old.pages.get(path) != whole or not (self.path / path).is_file():
            return False
        self._pages[path] = whole
        return True

    def keep_below(self, directory: str, but: Collection[str] = ()) -> bool:
        """Keep all files of a directory but for some; return whether there are any."""
        kept = {
            path: self._old.pages[path] for path in self._old_below[directory] if path not in but
        }
        self._pages |= kept
        return bool(kept)

    def unchanged_below(self, directory: str, key: str, but: str) -> bool:
        """Return whether a directory has files but for one, and the key of each is as before."""
        found = [path for path in self._old_below[directory] if path != but]
        whole = self._key(key)
        return bool(found) and all(
            self._old.pages[path] == whole and (self.path / path).is_file() for path in found
        )

    def put(self, path: str, key: str, content: str) -> None:
        """Write a file."""
        write(self.path, path, content)
        self.wrote(path, key)

    def wrote(self, path: str, key: str) -> None:
        """Take note of a file that was written."""
        self._pages[path] = self._key(key)
        self._written += 1

    def _key(self, key: str) -> str:
        return digest(self._version, key)[:16]

    def finish(self) -> Built:
        """Remove what no longer belongs to the site, and write the list of what does."""
        gone = self._old.pages.keys() - self._pages.keys()
        gone = {path for path in gone if ".." not in path and not path.startswith("/")}
        for path in gone:
            (self.path / path).unlink(missing_ok=True)
        for directory in {(self.path / path).parent for path in gone}:
            if directory.is_dir() and not any(directory.iterdir()):
                directory.rmdir()
        now = SiteList(
            pages=self._pages,
            compared=tuple(sorted(self.compared)),
            figures={path: each for path, each in self.figures.items() if path in self._pages},
        )
        if now != self._old:
            self._save(now)
        return Built(
            written=self._written, kept=len(self._pages) - self._written, removed=len(gone)
        )

    def _save(self, what: SiteList) -> None:
        write(self.path, LIST, msgspec.json.encode(what).decode())


def write(output: Path, path: str, content: str) -> None:
    """Write a file of a site.

    Raises:
        SpecError: if it cannot be written.
        NoSpace: if the file system is full.
    """
    target = output / path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(target, content.encode("utf-8", "replace"))
    except OSError as error:
        raise no_space(error, target) or SpecError(
            f"--output: cannot write {target}: {error.strerror}"
        ) from None


def _version() -> str:
    """Return a hash of the program that makes the pages."""
    files = sorted(each for each in render.HERE.rglob("*") if each.suffix in (".py", ".html"))
    return digest(harness.__version__, *(each.read_bytes() for each in files))
