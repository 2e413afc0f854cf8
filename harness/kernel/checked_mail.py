# SPDX-License-Identifier: GPL-2.0-only
"""The kernel that a mail is about which b4 gives to a check command.

b4 runs the command in the user's repository, with one mail on standard input: a patch of it, or the
cover letter. The mail of ``b4 prep --check`` is a commit of the branch that is checked out. One of
``b4 review`` is not applied yet: its series is in a blob that the file in ``B4_TRACKING_FILE``
names, or else in the archive.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from harness.arch import host_arch
from harness.context import Context
from harness.errors import SeriesError, SourceError
from harness.kernel.git import Store
from harness.kernel.obtain import KernelRequest
from harness.kernel.series.commits import DIFF
from harness.kernel.series.mail import Mail, read_headers
from harness.kernel.series.mailbox import may_have_patch
from harness.kernel.specs import parse_series
from harness.kernel.user_repository import UserRepository
from harness.workspace import atomic_write, digest

#: Commits of a branch that may be the mail, newest first.
_MOST_COMMITS = 500

_BASE = re.compile(rb"^base-commit: ([0-9a-f]{40})\s*$", re.MULTILINE)
_OBJECT = re.compile(r"[0-9a-f]{40}\Z")


class Tracking(msgspec.Struct):
    """The parts of b4's tracking file that are read."""

    series: dict[str, object] = {}

    def object_id(self, name: str) -> str:
        """Return the ID of an object that it names; empty if it names none."""
        value = self.series.get(name, "")
        return value if isinstance(value, str) and _OBJECT.match(value) else ""


def read_tracking(path: str) -> Tracking:
    """Return b4's tracking data; empty if the file is missing, or of another version."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Tracking) if path else Tracking()
    except (OSError, msgspec.DecodeError):
        return Tracking()


def kernel_of(
    data: bytes,
    repo: Path,
    context: Context,
    *,
    whole: bool = False,
    source: str = "",
    mail_from: str = "",
    tracking: Tracking | None = None,
) -> KernelRequest:
    """Return the kernel with the patch of a mail and those of its series before it, for this host.

    Args:
        data: the mail.
        repo: the repository that b4 runs in.
        context: cache, deadline, progress.
        whole: whether the whole series is meant, also if the mail is a patch of it.
        source: ``--kernel``; by default the series' base-commit, else what is checked out.
        mail_from: ``--mail-from``, where the series is found.
        tracking: b4's.

    Raises:
        SourceError: if there is no repository.
        SeriesError: if the mail is neither a patch nor a cover letter.
    """
    tracking, arch = tracking or Tracking(), host_arch().name
    mail = read_headers(data)
    number = mail.subject.number
    if number != 0 and not may_have_patch(data):
        raise SeriesError("the mail has no patch", hint="b4 gives it on standard input")
    whole = whole or number == 0
    repository = UserRepository.open(repo, f"b4-check: {repo}", SourceError, context)
    if not whole and not source and (commit := _commit_of(mail, data, repository, context)):
        return KernelRequest(source=f"git:{repo}@{commit}", arch=arch)
    base = source or f"git:{repo}@{_base(data, repository, tracking)}"
    single = mail.subject.total in (None, 1) and number != 0
    blob = tracking.object_id("thread-blob")
    if single or not mail.message_id:
        box = _kept(data, context)
        return KernelRequest(source=base, series=f"mbox:{box}", arch=arch)
    if blob and not mail_from:
        with context.workspace.unfinished("thread") as room:
            repository.save(blob, room / "mbox")
            mail_from = str(_kept((room / "mbox").read_bytes(), context))
    series = f"lore:{mail.message_id}"
    parse_series(series, mail_from)
    first = None if whole else number
    return KernelRequest(source=base, series=series, mail_from=mail_from, first=first, arch=arch)


def _kept(data: bytes, context: Context) -> Path:
    """Return a file in the cache with these mails, so that the run can be repeated."""
    path = context.workspace.room("sources") / f"b4-{digest(data)[:16]}.mbox"
    if not path.exists():
        atomic_write(path, data)
    return path


def _base(data: bytes, repository: UserRepository, tracking: Tracking) -> str:
    """Return the commit that the series is made for if the repository has it; else ``HEAD``."""
    named: list[str] = [tracking.object_id("base-commit")]
    named += [each.decode() for each in _BASE.findall(data)]
    for commit in filter(None, named):
        if repository.git(["cat-file", "-e", f"{commit}^{{commit}}"], ok=None).exit_code == 0:
            return commit
    return "HEAD"


def _commit_of(mail: Mail, data: bytes, repository: UserRepository, context: Context) -> str:
    """Return the commit of the branch that makes the same change as a mail; empty if none does."""
    log = ["log", "--no-merges", "--format=%H %P", f"-n{_MOST_COMMITS}", "--fixed-strings"]
    found = repository.git([*log, f"--grep={mail.subject.title}", "HEAD"], ok=None)
    if found.exit_code != 0:
        return ""
    with context.workspace.unfinished("patch-id") as room:
        (room / "mail").write_bytes(data)
        wanted = _patch_id(room / "mail", context)
        for row in found.stdout.splitlines():
            commit, _, parent = row.partition(" ")
            if not parent:
                continue
            diff = [*DIFF, "--find-renames", f"--output={room / 'diff'}"]  # as b4 makes mails
            repository.contents([*diff, parent, commit])
            if _patch_id(room / "diff", context) == wanted:
                return commit
    return ""


def _patch_id(file: Path, context: Context) -> str:
    """Return git's name for a change, which does not depend on line numbers and white space."""
    done = Store.of(context).git(["patch-id", "--stable"], context.deadline, stdin=file)
    return done.stdout.partition(" ")[0]
