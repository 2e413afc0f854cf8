# SPDX-License-Identifier: GPL-2.0-only
"""What a mail says of itself in its headers: pure functions over bytes and subjects."""

from __future__ import annotations

import email.errors
import email.header
import email.message
import email.parser
import re

from harness.kernel.series.patch import printable
from harness.records.base import Record

_REPLY = re.compile(r"\s*(?:re|aw|sv|fwd?)(?:\[\d+\])?\s*:", re.IGNORECASE)
_BRACKETS = re.compile(r"\s*\[([^\]]*)\]")
_PATCH_TAG = re.compile(r"\b(?:PATCH|RFC)(?![a-uw-z])", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\d/.])(\d{1,4})/(\d{1,4})(?![\d/.])")
_REVISION = re.compile(r"(?:\b|(?<=PATCH)|(?<=RFC))v(\d{1,4})\b", re.IGNORECASE)
_RESEND = re.compile(r"\b(?:RESEND|REPOST)\b", re.IGNORECASE)
_MESSAGE_ID = re.compile(rb"<([^<>\s]+)>")
_THREADING = re.compile(
    rb"^(message-id|in-reply-to|references):(.*(?:\n[ \t].*)*)", re.MULTILINE | re.IGNORECASE
)
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")


class MailSubject(Record, frozen=True, kw_only=True):
    """A subject taken apart.

    Attributes:
        text: all of it, decoded, in one line.
        title: it without the brackets in front.
        reply: whether it answers or forwards another mail.
        tagged: whether a bracket says PATCH or RFC, or has an n/m.
        revision: the number after the ``v``; 1 where there is none.
        resend: whether a bracket says that it was sent before.
        number: the n of n/m; None where there is none.
        total: the m of n/m; None where there is none.
    """

    text: str
    title: str
    reply: bool = False
    tagged: bool = False
    revision: int = 1
    resend: bool = False
    number: int | None = None
    total: int | None = None

    @property
    def edition(self) -> tuple[int, bool]:
        """Return what is greater for what was sent later: the revision, then whether again."""
        return self.revision, self.resend

    @property
    def edition_name(self) -> str:
        """Return ``v2`` or ``v2 RESEND``."""
        return f"v{self.revision}" + (" RESEND" if self.resend else "")


class Place(Record, frozen=True, kw_only=True):
    """Where a message hangs in its thread.

    Attributes:
        message_id: without the angle brackets; empty where it has none.
        parents: the messages that it answers, nearest first.
    """

    message_id: str = ""
    parents: tuple[str, ...] = ()


class Mail(Record, frozen=True, kw_only=True):
    """One message.

    Attributes:
        subject: its subject.
        place: where it hangs in its thread.
        patch: what git would apply; empty where there is none.
    """

    subject: MailSubject
    place: Place = Place()
    patch: bytes = b""

    @property
    def message_id(self) -> str:
        """Return its own Message-ID; empty where it has none."""
        return self.place.message_id


def parse_subject(raw: str) -> MailSubject:
    """Take a decoded subject apart.

    Every bracket in front counts, so that a list's ``[linux-mm]`` and ``[PATCH][v2][1/3]`` do no
    harm; a bracket further back is part of the title.
    """
    text = printable(raw)
    rest, reply = text, False
    while match := _REPLY.match(rest):
        rest, reply = rest[match.end() :], True
    tags = []
    while match := _BRACKETS.match(rest):
        tags.append(match[1])
        rest = rest[match.end() :]
        while match := _REPLY.match(rest):  # "[linux-mm] Re: [PATCH]"
            rest, reply = rest[match.end() :], True
    tag = " ".join(tags)
    number, revision = _NUMBER.search(tag), _REVISION.search(tag)
    tagged = number is not None or _PATCH_TAG.search(tag) is not None
    return MailSubject(
        text=text,
        title=rest.strip() or text,
        reply=reply,
        tagged=tagged,
        revision=int(revision[1]) if revision and tagged else 1,
        resend=tagged and _RESEND.search(tag) is not None,
        number=int(number[1]) if number else None,
        total=int(number[2]) if number else None,
    )


def headers(data: bytes) -> bytes:
    """Return a raw message's headers, the empty line behind them left out."""
    return _END_OF_HEADERS.split(data, maxsplit=1)[0]


def read_place(head: bytes) -> Place:
    """Return where a message hangs, from its headers; ten times as quick as all of them."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in _THREADING.findall(head):
        found.setdefault(name.lower(), _MESSAGE_ID.findall(value))
    own = found.get(b"message-id", [])
    parents = [*found.get(b"in-reply-to", []), *reversed(found.get(b"references", []))]
    return Place(
        message_id=own[0].decode(errors="replace") if own else "",
        parents=tuple(dict.fromkeys(each.decode(errors="replace") for each in parents)),
    )


def read_headers(data: bytes) -> Mail:
    """Return what a raw message's headers say; of its body nothing is looked at."""
    head = headers(data)
    message = email.parser.BytesHeaderParser().parsebytes(head)
    return Mail(subject=parse_subject(_header(message, "Subject")), place=read_place(head))


def _header(message: email.message.Message, name: str) -> str:
    """Return a header decoded and unfolded; as it stands where its encoding is damaged."""
    raw = message.get(name, "")
    try:
        return str(email.header.make_header(email.header.decode_header(raw)))
    except (email.errors.HeaderParseError, LookupError, UnicodeError, ValueError):
        return str(raw)
