# SPDX-License-Identifier: GPL-2.0-only
"""A range of commits in a user's repository, as patches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from harness import command
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import SeriesError
from harness.kernel.git import Store
from harness.kernel.series.patch import Patch, printable
from harness.kernel.specs import SeriesSpec
from harness.kernel.user_repository import UserRepository

# Whole blobs by their full names, whatever their size and whatever an attribute says.
_DIFF = (
    *("-c", "core.bigFileThreshold=512m", "-c", "core.attributesFile=/dev/null"),
    *("diff-tree", "-p", "--no-commit-id", "--binary", "--full-index", "--no-renames"),
    *("--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/"),
)

_BLOBS = re.compile(rb"^index ([0-9a-f]{40})\.\.([0-9a-f]{40})", re.MULTILINE)


def read_commits(spec: SeriesSpec, context: Context) -> tuple[Patch, ...]:
    """Return the commits of a ``git:REPO@A..B`` as patches, oldest first.

    The blobs that they change are copied to the store, so that a patch can be merged three ways.

    Raises:
        SeriesError: if git cannot read the repository or a revision, or the range is empty, has a
            merge, or has no parent for its first commit.
    """
    deadline = context.deadline
    repository = UserRepository.open(Path(spec.where), f"--series {spec.text}", SeriesError)
    first, last = (repository.commit(each, deadline) for each in spec.revisions)
    listing = ["rev-list", "--reverse", "--topo-order", "--parents", f"{first}..{last}"]
    rows = [row.split() for row in repository.git(listing, deadline).splitlines()]
    if not rows:
        raise SeriesError(
            f"--series {spec.text} is empty: {spec.revisions[1]} is an ancestor of "
            f"{spec.revisions[0]}",
            hint="write the commit before the first patch, then that of the last",
        )
    for row in rows:
        _require_one_parent(row, spec, repository, deadline)
    with context.workspace.unfinished("commits") as room:
        patches = tuple(_patch(commit, repository, room, deadline) for commit, _ in rows)
        _bring_blobs(patches, repository, room, context)
    return patches


def _require_one_parent(
    row: Sequence[str], spec: SeriesSpec, repository: UserRepository, deadline: Deadline
) -> None:
    """Raise SeriesError if a commit is a merge, or the history ends with it."""
    commit, *parents = row
    if len(parents) > 1:
        raise SeriesError(
            f"--series {spec.text}: {commit[:12]} is a merge, which is not a patch",
            hint="make the range linear with `git rebase`, or test it as --kernel git:REPO@REV",
        )
    if not parents and repository.is_shallow(deadline, commit):
        raise SeriesError(
            f"--series {spec.text}: {repository.path} is a shallow clone that ends at "
            f"{commit[:12]}, within the range",
            hint=repository.command_hint("fetch --unshallow", "fetches the rest"),
        )
    if not parents:
        raise SeriesError(
            f"--series {spec.text}: {commit[:12]} has no parent, so it is not a patch",
            hint=f"start the range at an ancestor of {spec.revisions[1]}",
        )


def _patch(commit: str, repository: UserRepository, room: Path, deadline: Deadline) -> Patch:
    out = room / "patch"
    repository.git([*_DIFF, f"--output={out}", commit], deadline)
    subject = repository.git(["show", "-s", "--format=%s", commit], deadline)
    return Patch(name=f"{commit[:12]} {printable(subject)}", data=out.read_bytes())


def _bring_blobs(
    patches: Sequence[Patch], repository: UserRepository, room: Path, context: Context
) -> None:
    """Copy the blobs before and after each patch to the store."""
    names = {name for patch in patches for pair in _BLOBS.findall(patch.data) for name in pair}
    wanted = room / "names"
    wanted.write_bytes(b"".join(name + b"\n" for name in sorted(names)))
    objects = room / "objects"
    (objects / "pack").mkdir(parents=True)
    # The store borrows their objects: pack-objects in their repository would write there.
    variables = {
        **Store.of(context).quarantine(objects),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{repository.objects(context.deadline)}"',
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
