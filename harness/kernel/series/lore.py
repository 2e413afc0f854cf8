# SPDX-License-Identifier: GPL-2.0-only
"""A series by its Message-ID: from lore.kernel.org, another public-inbox, or mail on this host.

The thread is fetched by `harness.kernel.download`, as liblore 0.10 has no overall deadline and
unpacks without a limit. It is kept in the harness's cache: what has a Message-ID does not change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import quote

from harness.context import Context
from harness.errors import InfrastructureError, SeriesError, SourceError
from harness.kernel import specs
from harness.kernel.series import inbox, mailbox
from harness.kernel.series.choose import Chosen, choose
from harness.kernel.series.mail import headers, read_place
from harness.kernel.specs import SeriesSpec
from harness.workspace import atomic_write, digest

_LORE = "https://lore.kernel.org/all"

#: Seconds that a server may take for a thread.
_FETCH_SECONDS = 300.0


def read_thread(spec: SeriesSpec, context: Context) -> Chosen:
    """Return the patches of the series that a mail belongs to.

    Raises:
        SeriesError: if the mail does not exist, or its series is incomplete.
        InfrastructureError: if the server does not answer.
    """
    place = spec.mail_from or _LORE
    with context.workspace.unfinished("thread") as room:
        if not specs.is_url(place):
            return _choose(_local(Path(place), spec.where, room, context), spec, place, context)
        name = f"lore-{digest(spec.where, spec.mail_from)}.mbox.gz"
        kept = context.workspace.room("sources") / name
        if kept.is_file():
            return _choose(mailbox.split(kept, room, context), spec, place, context)
        fetched = _fetch(spec.where, place, room, context)
        chosen = _choose(mailbox.split(fetched, room, context), spec, place, context)
        atomic_write(kept, fetched.read_bytes())  # only a thread with the complete series
    return chosen


def _fetch(message_id: str, url: str, room: Path, context: Context) -> Path:
    """Return the thread of a mail as a public-inbox serves it, a packed mailbox."""
    from harness.kernel import download  # 140 ms of requests, needed only for a fetch

    context.progress.stage("fetch", f"{message_id} from {url}")
    out = room / "thread.mbox.gz"
    deadline = context.deadline.within(_FETCH_SECONDS, "the fetch of a thread")
    address = f"{url.rstrip('/')}/{quote(message_id, safe='')}/t.mbox.gz"
    try:
        download.fetch(address, out, deadline, context.progress)
    except download.NotServed:
        raise _absent(message_id, url) from None
    except SourceError as error:
        raise InfrastructureError(
            error.message,
            hint="check the network; --mail-from takes a mailbox, Maildir or public-inbox of yours",
        ) from error
    return out


def _local(path: Path, message_id: str, room: Path, context: Context) -> Iterator[Path]:
    """Yield the messages of the user's mail, a file each: of an inbox, only those of the thread."""
    repositories = inbox.repositories(path)
    if not repositories:
        yield from mailbox.split(path, room, context)
        return
    for number, data in enumerate(inbox.thread(repositories, message_id, context), 1):
        file = room / str(number)
        file.write_bytes(data)
        yield file


def _choose(files: Iterable[Path], spec: SeriesSpec, place: str, context: Context) -> Chosen:
    """Return the series in the thread of the wanted mail; other messages are ignored."""
    heads = [(str(file), read_place(headers(file.read_bytes()))) for file in files]
    thread = inbox.connected(heads, spec.where)
    if not thread:
        raise _absent(spec.where, place)
    where = f"the thread of {spec.where} from {place}"
    mails = [mailbox.read_mail(Path(name), where, context) for name in _one_of_each(thread)]
    return choose(mails, where, spec.where)


def _one_of_each(names: Iterable[str]) -> list[str]:
    """Return one copy of each message, that of the list which is least likely to change mails."""
    from liblore.utils import get_preferred_duplicate, parse_message

    kept: dict[str, tuple[EmailMessage, str]] = {}
    for name in names:
        data = Path(name).read_bytes()
        own, message = read_place(headers(data)).message_id or name, parse_message(headers(data))
        if own not in kept or get_preferred_duplicate(kept[own][0], message) is message:
            kept[own] = (message, name)
    return [name for _, name in kept.values()]


def _absent(message_id: str, place: str) -> SeriesError:
    return SeriesError(
        f"{place} has no mail with the Message-ID <{message_id}>",
        hint="check the Message-ID, or name another place with --mail-from",
    )
