# SPDX-License-Identifier: GPL-2.0-only
"""Parses the arguments of --kernel and --series. Nothing here touches a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from harness.errors import SpecError
from harness.records.base import Record

SourceKind = Literal["debian", "tree", "git", "tar", "image"]
SeriesKind = Literal["none", "name", "fault", "dir", "mbox", "git", "lore"]

_SOURCE_FORMS = (
    "debian:PACKAGE[@SUITE][=VERSION], tree:PATH, git:PATH-OR-URL@REV, tar:PATH-OR-URL, image:PATH"
)
_SERIES_FORMS = (
    "none, a name from `hgm series list`, dir:PATH, mbox:PATH, git:REPO@A..B, lore:MESSAGE-ID, "
    "fault:NAME"
)

_LOCAL = frozenset({"tree", "git", "tar", "image", "dir", "mbox"})

# Debian policy 5.6.1: what a package may be called. It also keeps options out of apt's argv.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+\Z")
# Debian policy 5.6.12, with an epoch, and what its archive calls suites.
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+:~-]*\Z")
_SUITE = re.compile(r"[a-z][a-z0-9.-]*\Z")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://|[^/]+@[^/]+:")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
# RFC 5322 allows more; this keeps white space and paths out of a URL.
_MESSAGE_ID = re.compile(r"[^\s<>@/-][^\s<>@/]*@[^\s<>@/]+\Z")
_RANGE = re.compile(r"(.+)@(?!\{)([^.\s:-][^\s:]*?)\.\.([^.\s:-][^\s:]*)?\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_COMMIT = re.compile(r"[0-9a-f]{7,40}\Z")
_RELEASE_TAG = re.compile(r"(v\d+\.\d+)(?:\.\d+)*(?:-rc\d+)?\Z")


class SourceSpec(Record, frozen=True, kw_only=True):
    """A ``--kernel`` argument.

    Attributes:
        text: the argument as given.
        kind: its form.
        where: a package name, an absolute path, or a URL.
        revision: what ``git:`` has after the ``@``; empty for the others.
        sha256: what ``tar:`` has after ``#sha256=``; empty without.
        version: what ``debian:`` has after the ``=``; empty without.
        suite: what ``debian:`` has after the ``@``; empty without.
    """

    text: str
    kind: SourceKind
    where: str
    revision: str = ""
    sha256: str = ""
    version: str = ""
    suite: str = ""

    @property
    def line(self) -> str:
        """Return the spec of all versions of this source.

        Debian's package stands for itself in every version and suite, a release tag of git for its
        stable line (``v6.12.3`` is of ``v6.12``), and a commit ID for its repository. A branch, a
        tree, a tarball and an image stay what they are.
        """
        if self.kind != "git" or _COMMIT.match(self.revision):
            return f"{self.kind}:{self.where}"
        tag = _RELEASE_TAG.match(self.revision)
        return f"git:{self.where}@{tag[1] if tag else self.revision}"


class SeriesSpec(Record, frozen=True, kw_only=True):
    """A ``--series`` argument.

    Attributes:
        text: as it was written.
        kind: its form.
        where: an absolute path, a name in ``kernel-patches`` (of a series, or of a seeded
            fault), or a Message-ID without its angle brackets; empty for ``none``.
        revisions: what ``git:`` has after the ``@``: the commit before the first patch, and that of
            the last; empty for the others.
        mail_from: where ``lore:`` finds its mail: an absolute path or a public-inbox URL; empty
            for lore.kernel.org.
    """

    text: str
    kind: SeriesKind
    where: str = ""
    revisions: tuple[str, ...] = ()
    mail_from: str = ""

    @property
    def line(self) -> str:
        """Return the spec of all versions of this series; a range of git's is its repository."""
        return f"{self.kind}:{self.where}" if self.kind in ("dir", "mbox", "git") else self.text


def parse_source(text: str) -> SourceSpec:
    """Parse a ``--kernel`` argument.

    Raises:
        SpecError: if it has no known form.
    """
    kind, colon, rest = text.partition(":")
    if not colon or not rest:
        raise SpecError(
            f"--kernel {text!r} has no known form", hint=f"write one of {_SOURCE_FORMS}"
        )
    match kind:
        case "debian":
            return _parse_debian(text, rest)
        case "tree":
            return SourceSpec(text=text, kind="tree", where=_absolute(rest))
        case "image":
            return SourceSpec(text=text, kind="image", where=_absolute(rest))
        case "git":
            return _parse_git(text, rest)
        case "tar":
            return _parse_tar(text, rest)
    raise SpecError(
        f"--kernel {text!r} has no known form: {kind!r}", hint=f"write one of {_SOURCE_FORMS}"
    )


def _parse_debian(text: str, rest: str) -> SourceSpec:
    before, pin, version = rest.partition("=")
    package, at, suite = before.partition("@")
    for word, wanted, form, what in (
        (package, True, _PACKAGE, "package name"),
        (version, pin, _VERSION, "version"),
        (suite, at, _SUITE, "suite"),
    ):
        if wanted and not form.match(word):
            raise SpecError(
                f"--kernel {text!r}: {word!r} is not a {what}",
                hint="such as debian:linux-source-6.12, with =6.12.118-1 or @trixie",
            )
    return SourceSpec(text=text, kind="debian", where=package, version=version, suite=suite)


def _parse_git(text: str, rest: str) -> SourceSpec:
    where, at, revision = rest.rpartition("@")
    # The "@" of ssh's user@host:path does not start a revision.
    if not at or not where or not revision or ":" in revision:
        raise SpecError(
            f"--kernel {text!r} names no revision", hint="write git:PATH-OR-URL@REV, such as @v6.12"
        )
    if revision.startswith("-") or where.startswith("-"):
        raise SpecError(f"--kernel {text!r}: a path or revision cannot begin with '-'")
    return SourceSpec(text=text, kind="git", where=_place(where), revision=revision)


def _parse_tar(text: str, rest: str) -> SourceSpec:
    where, mark, promise = rest.partition("#sha256=")
    if mark and not _SHA256.match(promise.lower()):
        raise SpecError(
            f"--kernel {text!r}: {promise!r} is not a SHA-256", hint="64 hex digits after #sha256="
        )
    if not where:
        raise SpecError(f"--kernel {text!r} names no tarball", hint="write tar:PATH-OR-URL")
    return SourceSpec(text=text, kind="tar", where=_place(where), sha256=promise.lower())


def parse_series(text: str, mail_from: str = "") -> SeriesSpec:
    """Parse a ``--series`` argument and its ``--mail-from``.

    Raises:
        SpecError: if it has no known form.
    """
    kind, _, rest = text.partition(":")
    if mail_from and kind != "lore":
        raise SpecError(
            "--mail-from is only for --series lore:MESSAGE-ID",
            hint="to apply a whole mailbox write mbox:PATH",
        )
    if text in ("", "none"):
        return SeriesSpec(text="none", kind="none")
    if _NAME.match(text):
        return SeriesSpec(text=text, kind="name", where=text)
    if kind == "fault" and _NAME.match(rest):
        return SeriesSpec(text=text, kind="fault", where=rest)
    match kind if rest else "":
        case "dir":
            return SeriesSpec(text=text, kind="dir", where=_absolute(rest))
        case "mbox":
            return SeriesSpec(text=text, kind="mbox", where=_absolute(rest))
        case "git":
            return _parse_range(text, rest)
        case "lore":
            return _parse_lore(text, rest, mail_from)
    raise SpecError(f"series {text!r} has no known form", hint=f"write one of {_SERIES_FORMS}")


def _parse_range(text: str, rest: str) -> SeriesSpec:
    found = _RANGE.match(rest)
    if found is None or found[1].startswith("-") or "..." in rest:
        raise SpecError(f"series {text!r} names no range of commits", hint="write git:REPO@A..B")
    if is_url(found[1]):
        raise SpecError(
            f"series {text!r}: a range of commits needs a repository on this host",
            hint="git clone it, then git:PATH@A..B",
        )
    ends = (found[2], found[3] or "HEAD")
    return SeriesSpec(text=text, kind="git", where=_absolute(found[1]), revisions=ends)


def _parse_lore(text: str, rest: str, mail_from: str) -> SeriesSpec:
    from liblore.utils import get_msgid_from_url  # 150 ms, most of it requests

    message_id = get_msgid_from_url(rest)
    if not _MESSAGE_ID.match(message_id):
        raise SpecError(
            f"series {text!r}: {message_id or rest!r} is not a Message-ID",
            hint="such as lore:20230218002819.1486479-1-jthoughton@google.com",
        )
    if mail_from and not is_url(mail_from):
        mail_from = _absolute(mail_from)
    return SeriesSpec(text=text, kind="lore", where=message_id, mail_from=mail_from)


def is_url(where: str) -> bool:
    """Return whether a place is a URL (or ssh's host:path), not a local path."""
    return _URL.match(where) is not None


def for_others(text: str) -> str:
    """Return a word of a command for readers elsewhere: without what is this machine's or a secret.

    A local path is cut to its last name, a URL loses its user name and password. A word is a
    ``--kernel``, a ``--series``, a path or anything else, which stays as it is.
    """
    text = _CREDENTIALS.sub("", text)
    kind, colon, rest = text.partition(":")
    if kind not in _LOCAL or not colon:
        return Path(text).name or text if text.startswith(("/", "~/", "./", "../")) else text
    path, mark, more = rest, "", ""
    if kind == "git":
        path, mark, more = rest.rpartition("@")
    elif kind == "tar":
        path, mark, more = rest.partition("#")
    return text if is_url(rest) else f"{kind}:{Path(path).name or path}{mark}{more}"


def _place(where: str) -> str:
    return where if is_url(where) else _absolute(where)


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())
