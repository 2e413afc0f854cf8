# SPDX-License-Identifier: GPL-2.0-only
"""A public-inbox on this host: git repositories in which each blob is a mail.

liblore reads an inbox from a server only. Here both layouts are read without public-inbox's index:
v2 (``git/0.git``, ``git/1.git`` ..., or one such epoch) and v1 (one repository). The first pass
reads every message's headers, the second the messages of the thread.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from harness import command
from harness.context import Context
from harness.errors import SeriesError
from harness.kernel import user_repository
from harness.kernel.git import environment
from harness.kernel.series.mail import Place, headers, read_place

#: The headers of a mail are shorter than this many bytes.
_HEAD_BYTES = 1 << 16


def repositories(path: Path) -> tuple[Path, ...]:
    """Return the git directories of a public-inbox, newest epoch first; empty if it is not one."""
    epochs = sorted(
        (each for each in path.glob("git/*.git") if each.stem.isdigit()),
        key=lambda each: int(each.stem),
        reverse=True,
    )
    if epochs:
        return tuple(epochs)
    own = user_repository.git_dir(path) if path.is_dir() else None
    return (own,) if own else ()


def connected(heads: Iterable[tuple[str, Place]], message_id: str) -> list[str]:
    """Return the names of the messages in the thread of one: its ancestors, replies, and theirs.

    Args:
        heads: (name, place in its thread) of each message.
        message_id: of the one.

    Returns:
        In the order given; empty if the one is not among them.
    """
    names: dict[str, list[str]] = {}
    neighbours: dict[str, set[str]] = {}
    for name, place in heads:
        names.setdefault(place.message_id, []).append(name)
        for parent in place.parents:
            neighbours.setdefault(place.message_id, set()).add(parent)
            neighbours.setdefault(parent, set()).add(place.message_id)
    if message_id not in names:
        return []
    reached, todo = {message_id}, [message_id]
    while todo:
        new = neighbours.get(todo.pop(), set()) - reached
        reached |= new
        todo += new
    return [name for own, theirs in names.items() if own in reached for name in theirs]


def thread(repositories: Sequence[Path], message_id: str, context: Context) -> Iterator[bytes]:
    """Yield the messages of the thread that a message is in, from all epochs.

    Raises:
        SeriesError: if git cannot read the inbox.
    """
    heads: list[tuple[str, Place]] = []
    for number, repository in enumerate(repositories):
        context.progress.stage("mail", str(repository))
        argv = ["cat-file", "--batch-all-objects", "--batch", "--unordered"]
        for name, data in _blobs(argv, repository, None, context):
            heads.append((f"{number} {name}", read_place(headers(data))))
    chosen = [name.split(" ") for name in connected(heads, message_id)]
    with context.workspace.unfinished("inbox") as room:
        for number, repository in enumerate(repositories):
            wanted = room / "names"
            wanted.write_text("".join(f"{name}\n" for n, name in chosen if int(n) == number))
            with wanted.open("rb") as stdin:
                argv = ["cat-file", "--batch"]
                yield from (
                    data for _, data in _blobs(argv, repository, stdin, context, whole=True)
                )


def _blobs(
    argv: list[str],
    repository: Path,
    stdin: IO[bytes] | None,
    context: Context,
    *,
    whole: bool = False,
) -> Iterator[tuple[str, bytes]]:
    """Yield (name, contents) of each blob that ``git cat-file --batch`` prints.

    Only the beginning of a blob is kept unless it is wanted ``whole``.
    """
    with command.start(
        ["git", *argv],
        env=environment(repository),
        stdin=stdin or subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        stream = process.popen.stdout
        assert stream is not None  # noqa: S101 - it was asked for three lines above
        while header := stream.readline():
            context.deadline.check()
            name, kind, *size = header.decode().split()
            if kind == "missing" or not size:
                continue
            data = stream.read(int(size[0]) + 1)[:-1]
            if kind == "blob":
                yield name, data if whole else data[:_HEAD_BYTES]
        if process.wait(context.deadline) != 0:
            raise SeriesError(
                f"git cannot read the public-inbox {repository}",
                hint=f"`git --git-dir={repository} fsck` shows why",
            )
