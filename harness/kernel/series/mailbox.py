# SPDX-License-Identifier: GPL-2.0-only
"""From a file or directory of mails to messages with their patches, through git's mail tools.

``git mailsplit`` and ``git mailinfo`` are what ``git am`` uses: they know mboxrd, Maildir,
quoted-printable, base64, format=flowed and attachments, and keep the bytes of a patch, which
Python's email package (and so liblore) decodes. They write to a private directory only, under names
of their own.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.context import Context
from harness.deadline import Deadline
from harness.errors import CommandFailed, SeriesError
from harness.kernel.git import Store
from harness.kernel.series.mail import Mail, headers, read_headers
from harness.kernel.user_repository import last_error

#: Most bytes that a packed mailbox may unpack to, as protection from a gzip bomb.
_LARGEST = 1 << 30
_CHUNK = 1 << 20

_DIFF = re.compile(rb"^(?:diff --git |--- [^\r\n]+\r?\n\+\+\+ )", re.MULTILINE)
_ENCODED = re.compile(
    rb"^content-transfer-encoding:[ \t]*(?:quoted-printable|base64)", re.MULTILINE | re.IGNORECASE
)


def read_mails(path: Path, context: Context) -> tuple[Mail, ...]:
    """Return the messages of an mbox file (gzip or not), of one mail, or of a Maildir.

    Raises:
        SeriesError: if it cannot be read, or is not a mailbox.
    """
    with context.workspace.unfinished("mails") as room:
        return tuple(read_mail(file, str(path), context) for file in split(path, room, context))


def split(path: Path, room: Path, context: Context) -> Iterator[Path]:
    """Write each message of a mailbox to a file in ``room``, and yield the files in order.

    Raises:
        SeriesError: if it cannot be read, or is not a mailbox.
    """
    out = room / "split"
    out.mkdir()
    # -b: a file that does not start with a From line is one mail.
    argv = ["mailsplit", "-b", "--mboxrd", f"-o{out}", "--", str(_box(path, room))]
    done = Store.of(context).git(argv, context.deadline, work_tree=room, ok=None)
    if "empty mbox" in done.stderr:
        raise SeriesError(f"{path} is empty", hint="save the thread again")
    if done.exit_code != 0:
        raise SeriesError(
            f"{path} is not a mailbox: {last_error(done.stderr)}", hint="save the thread again"
        )
    yield from sorted(out.iterdir(), key=lambda file: int(file.name))


def _box(path: Path, room: Path) -> Path:
    """Return what git can split: a Maildir, or an mbox, unpacked into ``room`` if it is packed."""
    if path.is_dir():
        if not (path / "cur").is_dir() or not (path / "new").is_dir():
            raise SeriesError(
                f"{path} is not a Maildir: it lacks cur or new",
                hint="for patches in files write dir:PATH, for a public-inbox lore:MESSAGE-ID "
                "with --mail-from",
            )
        return path.absolute()
    try:
        if path.exists() and not path.is_file():
            raise SeriesError(f"{path} is not a file", hint="save the mails to a file")
        with path.open("rb") as file:
            if file.read(2) != b"\x1f\x8b":
                return path.absolute()
            file.seek(0)
            _unpack(gzip.GzipFile(fileobj=file), room / "mbox", path)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SeriesError(f"{path} is damaged: {error}", hint="fetch it again") from error
    except OSError as error:
        raise SeriesError(f"{path}: {error.strerror}", hint="check the path") from error
    return room / "mbox"


def _unpack(packed: gzip.GzipFile, target: Path, name: Path) -> None:
    with target.open("wb") as out:
        while chunk := packed.read(_CHUNK):
            out.write(chunk)
            if out.tell() > _LARGEST:
                raise SeriesError(
                    f"{name} unpacks to more than {_LARGEST >> 20} MiB", hint="unpack it yourself"
                )


def read_mail(file: Path, where: str, context: Context) -> Mail:
    """Return a message, with its patch unless it is a reply.

    Args:
        file: the raw message; files with its parts are written next to it.
        where: what errors call the mailbox.
        context: cache and deadline.

    Raises:
        SeriesError: if git cannot read it.
    """
    data = file.read_bytes()
    mail = read_headers(data)
    if mail.subject.reply:
        return mail
    name = mail.subject.text or f"{Path(where).name}, mail {int(file.name)}"
    try:
        patch = extract_patch(file, Store.of(context), context.deadline)
    except CommandFailed as error:
        raise SeriesError(
            f"{where}: {name!r} cannot be read: {error.message}", hint="fetch it again"
        ) from error
    if not mail.subject.text:
        mail = msgspec.structs.replace(
            mail, subject=msgspec.structs.replace(mail.subject, text=name, title=name)
        )
    return msgspec.structs.replace(mail, patch=patch)


def extract_patch(file: Path, store: Store, deadline: Deadline) -> bytes:
    """Return a raw message from its first diff on, decoded; empty if it has no diff.

    Raises:
        CommandFailed: if git cannot read it.
    """
    body, patch = file.with_name(f"{file.name}.body"), file.with_name(f"{file.name}.patch")
    # No recoding (-n): the patch's bytes must be the file's. In-body headers would hide the n/m.
    # CRs inside an encoding come from the transport.
    argv = ["mailinfo", "-n", "-k", "--no-inbody-headers", "--quoted-cr=strip"]
    store.git([*argv, str(body), str(patch)], deadline, stdin=file, work_tree=file.parent)
    data = patch.read_bytes()
    return data if _DIFF.search(data) else b""


def may_have_patch(data: bytes) -> bool:
    """Return whether a mail has a patch, or is in an encoding that does not show it."""
    return _DIFF.search(data) is not None or is_encoded(data)


def is_encoded(data: bytes) -> bool:
    """Return whether a patch file is a mail in an encoding that git apply cannot read."""
    return _ENCODED.search(headers(data)) is not None
