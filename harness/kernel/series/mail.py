# SPDX-License-Identifier: GPL-2.0-only
"""The headers of a mail: liblore reads the subject, and our own code the place in the thread.

liblore 0.10 raises IndexError for a Message-ID without ``<>``, and takes 13 times as long to find a
message's references, which is done for every message of a public-inbox.
"""

from __future__ import annotations

import email.errors
import re

from harness.kernel.series.patch import printable
from harness.records.base import Record

_MESSAGE_ID = re.compile(rb"<([^<>\s]+)>")
_THREADING = re.compile(
    rb"^(message-id|in-reply-to|references):(.*(?:\n[ \t].*)*)", re.MULTILINE | re.IGNORECASE
)
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")

#: What liblore does not take apart: ``[v2,1/2]`` (Patchwork), ``[RFCv2]``, ``[linux-mm] Re:``.
_BRACKETS = re.compile(r"\[[^\]]*\]")
_GLUED_REVISION = re.compile(r"(?:\b|(?<=RFC)|(?<=RESEND))v\d+\b", re.IGNORECASE)
_LIST_TAG = re.compile(r"(?:\[[^\]]*\]\s*)+(?=(?:re|aw|sv|fwd?)(?:\[\d+\])?\s*:)", re.IGNORECASE)
_RESEND = re.compile(r"resend|repost", re.IGNORECASE)


class MailSubject(Record, frozen=True, kw_only=True):
    """A subject and its parts.

    Attributes:
        text: all of it, decoded, in one line.
        title: it without the brackets in front.
        reply: whether it is a reply or a forwarded mail.
        tagged: whether a bracket has PATCH, RFC or n/m.
        revision: the number after the ``v``; 1 if there is none.
        resend: whether a bracket has RESEND or REPOST.
        number: the n of n/m; None if there is none.
        total: the m of n/m; None if there is none.
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
        """Return what orders the versions of a series: the revision, then whether resent."""
        return self.revision, self.resend

    @property
    def edition_name(self) -> str:
        """Return ``v2`` or ``v2 RESEND``."""
        return f"v{self.revision}" + (" RESEND" if self.resend else "")


class Place(Record, frozen=True, kw_only=True):
    """The place of a message in its thread.

    Attributes:
        message_id: without the angle brackets; empty if it has none.
        parents: the messages that it replies to, nearest first.
    """

    message_id: str = ""
    parents: tuple[str, ...] = ()


class Mail(Record, frozen=True, kw_only=True):
    """One message.

    Attributes:
        subject: its subject.
        place: its place in the thread.
        patch: what git would apply; empty if there is no diff.
    """

    subject: MailSubject
    place: Place = Place()
    patch: bytes = b""

    @property
    def message_id(self) -> str:
        """Return its own Message-ID; empty if it has none."""
        return self.place.message_id


def parse_subject(raw: str) -> MailSubject:
    """Return the parts of a decoded subject, as liblore and b4 see them."""
    from liblore.series import parse_patch_subject  # 150 ms, most of it requests

    text = printable(raw)
    found = parse_patch_subject(_BRACKETS.sub(_separated, _LIST_TAG.sub("", text, count=1)))
    numbered = not found.counters_inferred
    is_rfc = any(prefix.upper().startswith("RFC") for prefix in found.prefixes)
    tagged = found.is_patch or numbered or is_rfc
    return MailSubject(
        text=text,
        title=found.title or text,
        reply=found.is_reply,
        tagged=tagged,
        revision=found.version if tagged else 1,
        resend=tagged and any(_RESEND.search(prefix) for prefix in found.prefixes),
        number=found.counter if numbered else None,
        total=found.expected if numbered else None,
    )


def _separated(bracket: re.Match[str]) -> str:
    return _GLUED_REVISION.sub(r" \g<0> ", bracket[0].replace(",", " "))


def headers(data: bytes) -> bytes:
    """Return a raw message's headers, without the empty line after them."""
    return _END_OF_HEADERS.split(data, maxsplit=1)[0]


def read_place(head: bytes) -> Place:
    """Return a message's place in its thread from its headers."""
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
    """Return what the headers of a raw message say; its body is not looked at."""
    from liblore.utils import msg_get_subject, parse_message

    head = headers(data)
    message = parse_message(head)
    try:
        subject = msg_get_subject(message)
    except email.errors.HeaderParseError:  # damaged base64
        subject = next(str(text) for name, text in message.raw_items() if name.lower() == "subject")
    return Mail(subject=parse_subject(subject), place=read_place(head))
