# SPDX-License-Identifier: GPL-2.0-only
"""A range of commits in somebody's repository, which is read and never written to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from harness import command
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import SeriesError
from harness.kernel import user_tree
from harness.kernel.git import Store
from harness.kernel.series.patch import Patch, printable
from harness.kernel.specs import SeriesSpec

# Whole blobs by their full names, whatever their size and whatever an attribute says.
_DIFF = (
    *("-c", "core.bigFileThreshold=512m", "-c", "core.attributesFile=/dev/null"),
    *("diff-tree", "-p", "--no-commit-id", "--binary", "--full-index", "--no-renames"),
    *("--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/"),
)

_BLOBS = re.compile(rb"^index ([0-9a-f]{40})\.\.([0-9a-f]{40})", re.MULTILINE)


def read_commits(spec: SeriesSpec, context: Context) -> tuple[Patch, ...]:
    """Return the commits of a ``git:REPO@A..B`` as patches, oldest first.

    The blobs that they change come into the store, so that a patch can be merged three ways.

    Raises:
        SeriesError: if the repository or a revision is absent, the range is empty, or it has a
            merge, whose content no patch can hold.
    """
    git_dir = user_tree.git_dir(Path(spec.where))
    if git_dir is None:
        raise SeriesError(
            f"--series {spec.text}: {spec.where} is no git repository", hint="check the path"
        )
    first, last = (_commit(spec, each, git_dir, context.deadline) for each in spec.revisions)
    listing = ["rev-list", "--reverse", "--topo-order", "--parents", f"{first}..{last}"]
    rows = [row.split() for row in _read(listing, git_dir, context.deadline).splitlines()]
    if not rows:
        raise SeriesError(
            f"--series {spec.text} is empty: {spec.revisions[1]} is reached from "
            f"{spec.revisions[0]}",
            hint="write the commit before the first patch, then that of the last",
        )
    for commit, *parents in rows:
        if len(parents) != 1:
            raise SeriesError(
                f"--series {spec.text} has the merge {commit[:12]}, which is no patch",
                hint="make the range linear with `git rebase`, or test it as --kernel git:REPO@REV",
            )
    with context.workspace.unfinished("commits") as room:
        patches = tuple(_patch(commit, git_dir, room, context.deadline) for commit, _ in rows)
        _bring_blobs(patches, git_dir, room, context)
    return patches


def _commit(spec: SeriesSpec, revision: str, git_dir: Path, deadline: Deadline) -> str:
    argv = ["rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"]
    done = user_tree.in_repository(git_dir, argv, deadline)
    if done.exit_code != 0:
        raise SeriesError(
            f"--series {spec.text}: {spec.where} has no revision {revision!r}",
            hint=done.stderr.strip() or "see `git log` there",
        )
    return done.stdout.strip()


def _read(arguments: list[str], git_dir: Path, deadline: Deadline) -> str:
    done = user_tree.in_repository(git_dir, arguments, deadline)
    if done.exit_code != 0:
        raise command.failure(done)
    return done.stdout


def _patch(commit: str, git_dir: Path, room: Path, deadline: Deadline) -> Patch:
    out = room / "patch"
    _read([*_DIFF, f"--output={out}", commit], git_dir, deadline)
    subject = _read(["show", "-s", "--format=%s", commit], git_dir, deadline)
    return Patch(name=f"{commit[:12]} {printable(subject)}", data=out.read_bytes())


def _bring_blobs(patches: Sequence[Patch], git_dir: Path, room: Path, context: Context) -> None:
    """Copy the blobs that the patches are made from and make into the store."""
    names = {name for patch in patches for pair in _BLOBS.findall(patch.data) for name in pair}
    wanted = room / "names"
    wanted.write_bytes(b"".join(name + b"\n" for name in sorted(names)))
    objects = room / "objects"
    (objects / "pack").mkdir(parents=True)
    theirs = _read(["rev-parse", "--git-path", "objects"], git_dir, context.deadline).strip()
    # Their objects are read as ours: pack-objects in their repository would write into it.
    variables = {
        **Store.of(context).quarantine(objects),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{Path(theirs).absolute()}"',
    }
    argv = ["git", "cat-file", "--batch-check=%(objectname) %(objecttype)"]
    known = command.run(argv, context.deadline, env=variables, stdin=wanted).stdout.splitlines()
    blobs = [line.split()[0] for line in known if line.endswith(" blob")]
    if not blobs:
        return
    wanted.write_text("".join(f"{name}\n" for name in blobs))
    argv = ["git", "pack-objects", "-q", str(objects / "pack" / "pack")]
    command.run(argv, context.deadline, env=variables, stdin=wanted)
    Store.of(context).admit(objects)
