# SPDX-License-Identifier: GPL-2.0-only
"""What a series is once it has been read, whatever form it came in."""

from __future__ import annotations

from harness.records.base import Record


class Patch(Record, frozen=True, kw_only=True):
    """One patch, as it will be given to git.

    Attributes:
        name: its file name, or its subject where it came by mail or from git.
        data: its bytes.
        strip: leading path components to drop: quilt's ``-pN``.
        number: its place in the series, from 1; it stays where only some patches are put on.
        resolved: path of the replacement it came from; empty for a patch of the series itself.
        replaces: SHA-256 of the patch that was replaced; empty where none was.
    """

    name: str
    data: bytes
    strip: int = 1
    number: int = 0
    resolved: str = ""
    replaces: str = ""


class Series(Record, frozen=True, kw_only=True):
    """A series that was read.

    Attributes:
        spec: ``--series``'s argument.
        patches: in the order they are to be applied.
        notes: one line for each choice that was made while reading, such as which revision.
    """

    spec: str
    patches: tuple[Patch, ...] = ()
    notes: tuple[str, ...] = ()

    def first(self, count: int | None) -> Series:
        """Return the series cut after its first ``count`` patches; whole for None."""
        return Series(spec=self.spec, patches=self.patches[:count], notes=self.notes)


def printable(text: str) -> str:
    """Return a text from a mail or a patch as one line that cannot steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
