# SPDX-License-Identifier: GPL-2.0-only
"""A series by its Message-ID, through b4: from lore.kernel.org, or from mail on this host.

b4 runs with a home, a configuration and a cache of its own that are removed afterwards: it reads
nothing of the user's, and leaves nothing. A thread that came over the network is kept in the
harness's cache, since what has a Message-ID does not change.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from harness import command
from harness.context import Context
from harness.errors import InfrastructureError, SeriesError
from harness.kernel import git, specs
from harness.kernel.series import inbox, mailbox
from harness.kernel.series.choose import Chosen, choose
from harness.kernel.series.mail import headers, read_place
from harness.kernel.specs import SeriesSpec
from harness.workspace import atomic_write, digest

#: Seconds that a server may take for a thread.
_FETCH_SECONDS = 300.0

_NOT_THERE = re.compile(
    r"No messages found|Could not find|Server returned an error: 404$", re.MULTILINE
)


def read_thread(spec: SeriesSpec, context: Context) -> Chosen:
    """Return the patches of the series that a mail belongs to.

    Raises:
        SeriesError: if the mail is not there, or its series is not whole.
        InfrastructureError: if the server does not answer.
    """
    if spec.mail_from and not specs.is_url(spec.mail_from):
        with context.workspace.unfinished("thread") as room:
            found = _local_thread(spec, room, context)
            return _choose(found, spec.mail_from, spec, context)
    memory = context.workspace.room("sources") / f"lore-{digest(spec.where, spec.mail_from)}.mbox"
    where = spec.mail_from or "lore.kernel.org"
    if memory.is_file():
        return _choose(memory, where, spec, context)
    context.progress.stage("fetch", f"{spec.where} from {where}")
    with context.workspace.unfinished("thread") as room:
        fetched = _remote_thread(spec, room, context)
        chosen = _choose(fetched, where, spec, context)
        atomic_write(memory, fetched.read_bytes())  # only a thread that holds the whole series
    return chosen


def _choose(thread: Path, where: str, spec: SeriesSpec, context: Context) -> Chosen:
    mails = mailbox.read_mails(thread, context)
    return choose(mails, f"the thread of {spec.where} from {where}", spec.where)


def _remote_thread(spec: SeriesSpec, room: Path, context: Context) -> Path:
    options = []
    if spec.mail_from:
        options = ["-c", f"b4.midmask={spec.mail_from.rstrip('/')}/%s"]
    done = _b4([*options, "mbox", "--no-cache"], spec, room, context)
    thread = room / "thread.mbox"
    if done.exit_code != 0 or not thread.is_file():
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        if _NOT_THERE.search(done.stderr):
            raise _absent(spec, spec.mail_from or "lore.kernel.org")
        raise InfrastructureError(
            f"b4 cannot fetch {spec.where}: {said[-1] if said else 'it said nothing'}",
            hint="check the network; --mail-from takes a mailbox, Maildir or public-inbox of yours",
            command=done.argv,
        )
    return thread


def _local_thread(spec: SeriesSpec, room: Path, context: Context) -> Path:
    """Return the thread out of the user's mail as an mbox file."""
    maildir = room / "Maildir"
    for part in ("cur", "new", "tmp"):
        (maildir / part).mkdir(parents=True)
    number = 0
    for number, data in enumerate(_related(spec, room, context), 1):
        (maildir / "cur" / f"{number}:2,").write_bytes(data)
    if not number:
        raise _absent(spec, spec.mail_from)
    options = ["--offline-mode", "mbox", "--use-local-mbox", str(maildir)]
    done = _b4(options, spec, room, context)
    if done.exit_code != 0 or not (room / "thread.mbox").is_file():
        raise command.failure(done)
    return room / "thread.mbox"


def _related(spec: SeriesSpec, room: Path, context: Context) -> Iterator[bytes]:
    """Yield each message that hangs together with the wanted one; none where it is not there."""
    path = Path(spec.mail_from)
    repositories = inbox.repositories(path)
    if repositories:
        yield from inbox.thread(repositories, spec.where, context)
        return
    files = list(mailbox.split(path, room, context))
    heads = [(str(file), read_place(headers(file.read_bytes()))) for file in files]
    for name in inbox.connected(heads, spec.where):
        yield Path(name).read_bytes()


def _b4(arguments: list[str], spec: SeriesSpec, room: Path, context: Context) -> command.Completed:
    """Run b4 so that it sees no configuration, keyring, cache or repository of the user's."""
    home = room / "home"
    home.mkdir()
    argv = [sys.executable, "-m", "b4.command", "--no-stdin", *arguments]
    argv += ["--outdir", str(room), "--mbox-name", "thread.mbox", spec.where]
    variables = {
        **git.environment(home / "no-repository"),
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "GNUPGHOME": str(home / "gnupg"),
    }
    deadline = context.deadline.within(_FETCH_SECONDS, "the fetch of a thread")
    return command.run(argv, deadline, cwd=home, env=variables, ok=None)


def _absent(spec: SeriesSpec, where: str) -> SeriesError:
    return SeriesError(
        f"{where} has no mail with the Message-ID <{spec.where}>",
        hint="check the Message-ID, or name another place with --mail-from",
    )
