# SPDX-License-Identifier: GPL-2.0-only
"""A range of commits in a user's repository, as patches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.context import Context
from harness.errors import SeriesError
from harness.kernel.series.patch import Patch, printable
from harness.kernel.specs import SeriesSpec
from harness.kernel.user_repository import UserRepository

#: Prints a commit as a patch: whole blobs by their full names, whatever their size and whatever an
#: attribute says.
DIFF = (
    *("-c", "core.bigFileThreshold=512m", "-c", "core.attributesFile=/dev/null"),
    *("diff-tree", "-p", "--binary", "--full-index", "--no-renames"),
    *("--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/"),
)


def read_commits(spec: SeriesSpec, context: Context) -> tuple[Patch, ...]:
    """Return the commits of a ``git:REPO@A..B`` as patches, oldest first.

    The blobs that they change are copied to the store, so that a patch can be merged three ways.

    Raises:
        SeriesError: if git cannot read the repository or a revision, or the range is empty, has a
            merge, or has no parent for its first commit.
    """
    where, argument = Path(spec.where), f"series {spec.text}"
    repository = UserRepository.open(where, argument, SeriesError, context)
    first, last = map(repository.commit, spec.revisions)
    listing = ["rev-list", "--reverse", "--topo-order", "--parents", f"{first}..{last}"]
    rows = [row.split() for row in repository.git(listing).stdout.splitlines()]
    if not rows:
        raise SeriesError(
            f"series {spec.text} is empty: {spec.revisions[1]} is an ancestor of "
            f"{spec.revisions[0]}",
            hint="write the commit before the first patch, then that of the last",
        )
    for row in rows:
        _require_one_parent(row, spec, repository)
    pairs = [(parent, commit) for commit, parent in rows]
    repository.take({blob: path for pair in pairs for blob, path in repository.changed(*pair)})
    with context.workspace.unfinished("commits") as room:
        return tuple(_patch(*pair, repository, room) for pair in pairs)


def _require_one_parent(row: Sequence[str], spec: SeriesSpec, repository: UserRepository) -> None:
    """Raise SeriesError if a commit is a merge, or the history ends with it."""
    commit, *parents = row
    if len(parents) > 1:
        raise SeriesError(
            f"series {spec.text}: {commit[:12]} is a merge, which is not a patch",
            hint="make the range linear with `git rebase`, or test it as --kernel git:REPO@REV",
        )
    if not parents and repository.is_shallow(commit):
        raise SeriesError(
            f"series {spec.text}: {repository.path} is a shallow clone that ends at "
            f"{commit[:12]}, within the range",
            hint=repository.command_hint("fetch --unshallow", "fetches the rest"),
        )
    if not parents:
        raise SeriesError(
            f"series {spec.text}: {commit[:12]} has no parent, so it is not a patch",
            hint=f"start the range at an ancestor of {spec.revisions[1]}",
        )


def _patch(parent: str, commit: str, repository: UserRepository, room: Path) -> Patch:
    out = room / "patch"
    repository.contents([*DIFF, f"--output={out}", parent, commit])
    subject = repository.contents(["log", "--no-walk", "--format=%s", commit])
    return Patch(name=f"{commit[:12]} {printable(subject)}", data=out.read_bytes())
