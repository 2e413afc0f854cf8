# SPDX-License-Identifier: GPL-2.0-only
"""From a file or directory of mails to messages with their patches, through git's own mail tools.

``git mailsplit`` and ``git mailinfo`` are what ``git am`` uses: they know mboxrd, Maildir,
quoted-printable, base64, format=flowed and attachments. They write into a private directory only,
under names of their own.
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

#: What a packed mailbox may unpack to, bytes: a thread has less, and a bomb has more.
_LARGEST = 1 << 30
_CHUNK = 1 << 20

_DIFF = re.compile(rb"^(?:diff --git |--- [^\r\n]+\r?\n\+\+\+ )", re.MULTILINE)
_ENCODED = re.compile(
    rb"^content-transfer-encoding:[ \t]*(?:quoted-printable|base64)", re.MULTILINE | re.IGNORECASE
)


def read_mails(path: Path, context: Context) -> tuple[Mail, ...]:
    """Return the messages of an mbox file (gzip or not), of one mail, or of a Maildir.

    Raises:
        SeriesError: if it cannot be read, or is none of these.
    """
    with context.workspace.unfinished("mails") as room:
        return tuple(
            _read_mail(file, Store.of(context), context.deadline, str(path))
            for file in split(path, room, context)
        )


def split(path: Path, room: Path, context: Context) -> Iterator[Path]:
    """Put each message of a mailbox into a file of its own in ``room``, and yield them in order.

    Raises:
        SeriesError: if it cannot be read, or is no mailbox.
    """
    out = room / "split"
    out.mkdir()
    # -b: a file that does not begin with a From line is one mail.
    argv = ["mailsplit", "-b", "--mboxrd", f"-o{out}", "--", str(_box(path, room))]
    done = Store.of(context).git(argv, context.deadline, work_tree=room, ok=None)
    if "empty mbox" in done.stderr:
        raise SeriesError(f"{path} is empty", hint="save the thread again")
    if done.exit_code != 0:
        raise SeriesError(f"{path} is no mailbox: {done.stderr.strip()}", hint="save it again")
    yield from sorted(out.iterdir(), key=lambda file: int(file.name))


def _box(path: Path, room: Path) -> Path:
    """Return what git can split: a Maildir or an mbox, unpacked into ``room`` if it is packed."""
    if path.is_dir():
        if not (path / "cur").is_dir() or not (path / "new").is_dir():
            raise SeriesError(
                f"{path} is no Maildir: it has no cur and new",
                hint="for patches in files write dir:PATH, for a public-inbox lore:MESSAGE-ID "
                "with --mail-from",
            )
        return path.absolute()
    try:
        if path.exists() and not path.is_file():
            raise SeriesError(f"{path} is no file", hint="save the mails into one")
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


def _read_mail(file: Path, store: Store, deadline: Deadline, where: str) -> Mail:
    """Return a message; its patch is taken out unless it answers another."""
    data = file.read_bytes()
    mail = read_headers(data)
    if mail.subject.reply:
        return mail
    name = mail.subject.text or f"{Path(where).name}, mail {int(file.name)}"
    try:
        patch = extract_patch(file, store, deadline)
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
    """Return what a raw message holds from its first diff on, decoded; empty where it has none.

    Raises:
        CommandFailed: if git cannot read it.
    """
    body, patch = file.with_name(f"{file.name}.body"), file.with_name(f"{file.name}.patch")
    # No recoding (-n): the patch's bytes are the file's. In-body headers would hide the n/m. CRs
    # inside of an encoding are transport.
    argv = [
        "mailinfo",
        "-n",
        "-k",
        "--no-inbody-headers",
        "--quoted-cr=strip",
        str(body),
        str(patch),
    ]
    store.git(argv, deadline, stdin=file, work_tree=file.parent)
    data = patch.read_bytes()
    return data if _DIFF.search(data) else b""


def is_encoded(data: bytes) -> bool:
    """Return whether a patch file is a mail in an encoding that hides its diff from git apply."""
    return _ENCODED.search(headers(data)) is not None
