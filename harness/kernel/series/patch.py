# SPDX-License-Identifier: GPL-2.0-only
"""A series after it has been read, in the same form for every kind of spec."""

from __future__ import annotations

import msgspec

from harness.records.base import Record


class Patch(Record, frozen=True, kw_only=True):
    """One patch, as it will be given to git.

    Attributes:
        name: its file name, or its subject if it came by mail or from git.
        data: its bytes.
        strip: leading path components to drop: quilt's ``-pN``.
        number: its place in the series, from 1, also if only some patches are applied.
        resolved: path of the replacement it came from; empty for a patch of the series itself.
        replaces: SHA-256 of the patch that was replaced; empty if none was.
        message_id: of the mail that it came in, without ``<>``; empty if it did not come by mail.
    """

    name: str
    data: bytes
    strip: int = 1
    number: int = 0
    resolved: str = ""
    replaces: str = ""
    message_id: str = ""


class Series(Record, frozen=True, kw_only=True):
    """A series that was read.

    Attributes:
        spec: ``--series``'s argument.
        patches: in the order they are to be applied.
        notes: one line for each choice made while reading, such as which revision was taken.
        message_id: of its cover letter, or of its first patch if it has none, without ``<>``;
            empty if it did not come by mail.
        subject: of that mail.
    """

    spec: str
    patches: tuple[Patch, ...] = ()
    notes: tuple[str, ...] = ()
    message_id: str = ""
    subject: str = ""

    def first(self, count: int | None) -> Series:
        """Return the series cut after its first ``count`` patches; whole for None."""
        return msgspec.structs.replace(self, patches=self.patches[:count])


def printable(text: str) -> str:
    """Return a text from a mail or a patch as one line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
