# SPDX-License-Identifier: GPL-2.0-only
"""Applies patches to a tree in a scratch index: there is no work tree to write outside of.

A patch is applied as it is; if that fails, or succeeds only at an offset, it is merged three ways
with the blobs it was made from, if the store has them; then it may apply at an offset, as with
``git am``; then, with ``fuzz``, with less context. git alone decides whether a patch applies.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.command import Completed
from harness.context import Context
from harness.errors import SeriesError
from harness.kernel.git import Store
from harness.kernel.series import diagnosis
from harness.kernel.series.apply_log import ApplyLog, read_apply_log
from harness.kernel.series.diagnosis import Misfit
from harness.kernel.series.patch import Patch, printable
from harness.kernel.series.refusal import Refusal, first_misfit
from harness.records.kernel import How, PatchIdentity
from harness.workspace import boot_id, digest, newest_first

#: With --fuzz, at least this many lines of context before and after a change must match.
LEAST_CONTEXT = 1

#: How many indexes of trees are kept, 9 MB each.
_INDEXES_KEPT = 8

_MODES_REFUSED = {"160000": "a submodule"}
_LINK = "120000"


@dataclass(frozen=True)
class ScratchIndex:
    """A private git index to which patches are applied, with an empty directory as its work tree.

    Attributes:
        room: the private directory.
        store: takes the blobs and trees.
        context: deadline and progress.
    """

    room: Path
    store: Store
    context: Context

    @classmethod
    @contextmanager
    def on(cls, base: str, context: Context) -> Iterator[ScratchIndex]:
        """Yield a scratch index that holds the tree ``base``."""
        with cls.empty(context) as scratch:
            scratch._fill(base)
            yield scratch

    @classmethod
    @contextmanager
    def empty(cls, context: Context) -> Iterator[ScratchIndex]:
        """Yield a scratch index that holds nothing."""
        with context.workspace.unfinished("series") as room:
            (room / "empty").mkdir()
            yield cls(room, Store.of(context), context)

    def _fill(self, base: str) -> None:
        """Make the index hold a tree; a kept index saves reading 6,000 tree objects."""
        kept = self._kept(base)
        try:
            os.link(kept, self.index)  # git replaces an index, it does not write into it
            os.utime(kept)
        except FileNotFoundError:
            self.git("read-tree", base)
            self.keep(base)

    def keep(self, tree: str) -> None:
        """Keep the index, which holds ``tree``, for the next use that starts from that tree."""
        kept = self._kept(tree)
        with contextlib.suppress(FileExistsError):
            os.link(self.index, kept)
        old = newest_first(kept.parent.glob("index-*"))[_INDEXES_KEPT:]
        for path in (*old, *kept.parent.glob("desk-*")):  # desk-*: of an older program
            path.unlink(missing_ok=True)

    def _kept(self, tree: str) -> Path:
        # Valid for this boot only: git may accept an index that a power cut damaged.
        name = f"index-{digest(boot_id(), tree)[:16]}"
        return self.context.workspace.room("sources") / name

    @property
    def index(self) -> Path:
        """Return the path of the index."""
        return self.room / "index"

    def git(self, *arguments: str) -> str:
        """Run git on the index and return its output; a failure is an infrastructure error."""
        return self._git(list(arguments)).stdout

    def _git(self, arguments: list[str], *, any_end: bool = False) -> Completed:
        return self.store.git(
            arguments,
            self.context.deadline,
            index=self.index,
            # Three-way merges read and write the work tree: this one is empty.
            work_tree=self.room / "empty",
            ok=None if any_end else (0,),
        )

    def tree(self) -> str:
        """Write the index as a tree and return its ID."""
        return self.git("write-tree").strip()

    def put_each(
        self, patches: Sequence[Patch], *, fuzz: bool = False
    ) -> Iterator[PatchIdentity | Refusal]:
        """Apply patches one after the other and yield each result; a refused one is left out."""
        exact = self.put_exactly(patches)
        for index, patch in enumerate(patches):
            self.context.progress.step(patch.number, patches[-1].number, "patches")
            yield exact[index] if exact else self.put(patch, fuzz=fuzz)

    def put_exactly(self, patches: Sequence[Patch]) -> tuple[PatchIdentity, ...]:
        """Apply all patches with one git if every hunk is where they say; otherwise none.

        Each git process reads and writes the whole index, so a series costs as much as one patch.
        """
        if len(patches) == 1 or len({patch.strip for patch in patches}) != 1:
            return ()
        files = [self.room / f"patch.{number}" for number in range(len(patches))]
        for file, patch in zip(files, patches, strict=True):
            file.write_bytes(patch.data)
        if not self._apply(files, f"-p{patches[0].strip}").exact:
            return ()
        return tuple(patch_identity(patch, "exact") for patch in patches)

    def put(self, patch: Patch, *, fuzz: bool = False) -> PatchIdentity | Refusal:
        """Apply a patch; a refused one leaves the index as it was."""
        (self.room / "patch").write_bytes(patch.data)
        first = self._try(patch)
        if first.exact:
            return patch_identity(patch, "exact")
        if first.applied or first.conflict:
            before = self.tree()
            merged = self._try(patch, "--3way")
            if merged.exact and self.tree() == before:
                return patch_identity(patch, "3way", "changes nothing: the tree has it already")
            if merged.exact:
                return patch_identity(patch, "3way", *merged.merged)
            if elsewhere := self._put_elsewhere(patch, fuzz=fuzz):
                return elsewhere
        return self._refusal(patch, first)

    def numstat(self, patch: Patch) -> str:
        """Return what ``git apply --numstat -z`` prints for a patch; nothing if it is damaged."""
        (self.room / "patch").write_bytes(patch.data)
        argv = ["apply", "--numstat", "-z", f"-p{patch.strip}", str(self.room / "patch")]
        done = self._git(argv, any_end=True)
        return done.stdout if done.exit_code == 0 else ""

    def _put_elsewhere(self, patch: Patch, *, fuzz: bool) -> PatchIdentity | None:
        """Apply a patch with offsets, or else, with ``fuzz``, with the most context that matches.

        The first way merges those files whose blobs are there and applies the others at an offset.
        """
        ways: list[tuple[str, ...]] = [("--3way",), ()]
        if fuzz:
            ways.append((f"-C{LEAST_CONTEXT}",))
        for options in ways:
            log = self._try(patch, *options, keep=True)
            if log.applied:
                how: How = "fuzz" if any(p.context >= 0 for p in log.placed) else "offset"
                return patch_identity(patch, how, *(placed.text() for placed in log.placed))
        return None

    def _try(self, patch: Patch, *options: str, keep: bool = False) -> ApplyLog:
        return self._apply([self.room / "patch"], f"-p{patch.strip}", *options, keep=keep)

    def _apply(self, files: Sequence[Path], *options: str, keep: bool = False) -> ApplyLog:
        """Apply patches; undo it if a hunk was not in its place, unless ``keep``."""
        before = self.room / "index.before"
        before.unlink(missing_ok=True)
        os.link(self.index, before)
        argv = ["apply", "--cached", "--verbose", "--whitespace=nowarn", *options]
        done = self._git([*argv, *map(str, files)], any_end=True)
        log = read_apply_log(done.exit_code, done.stderr)
        if not log.applied or not (log.exact or keep):
            before.replace(self.index)
        return log

    def _refusal(self, patch: Patch, log: ApplyLog) -> Refusal:
        """Return why a patch does not apply, with the lines that differ."""
        if log.damaged:
            return Refusal(reason=f"is damaged: {log.damaged}", damaged=True)
        if not log.conflict:
            return Refusal(reason=f"does not apply: {log.hopeless[0]}")
        misfits = tuple(self._misfits(patch, log))
        fuzzy = self._try(patch, f"-C{LEAST_CONTEXT}")
        return Refusal(
            reason=f"does not apply: {first_misfit(misfits, log)}",
            misfits=misfits,
            fuzzy="; ".join(placed.text() for placed in fuzzy.placed) if fuzzy.applied else "",
        )

    def _misfits(self, patch: Patch, log: ApplyLog) -> Iterator[Misfit]:
        """Yield the hunks and the whole files that do not fit."""
        files = diagnosis.parse(patch.data.decode(errors="replace"), patch.strip)
        told = dict(log.failed)
        for path, line in told.items():
            text = self.text(path) or ""
            found = [
                misfit
                for file in files
                if file.path == path
                for misfit in diagnosis.misfits(file, text)
            ]
            yield from found or [Misfit(path=path, line=line, reason="git finds no place for it")]
        for error in log.errors:
            path, _, reason = error.partition(": ")
            if not reason:
                yield Misfit(path="", reason=error)
            elif path not in told:
                yield Misfit(path=path, reason=reason.replace("in index", "in this tree"))

    def text(self, path: str) -> str | None:
        """Return a file's text; None if it is absent."""
        done = self._git(["cat-file", "blob", f":0:{path}"], any_end=True)
        return done.stdout if done.exit_code == 0 else None

    def check_links(self, base: str) -> None:
        """Refuse a symbolic link that leads out of the tree, and a submodule.

        Raises:
            SeriesError: naming the path.
        """
        changed = self.git("diff-index", "--cached", "--raw", "-z", "--no-renames", base, "--")
        fields = changed.split("\0")
        for meta, path in zip(fields[::2], fields[1::2], strict=False):
            _, mode, _, blob, _ = meta.split(" ")
            if mode in _MODES_REFUSED:
                raise _forbidden(path, _MODES_REFUSED[mode])
            if mode == _LINK:
                target = self.git("cat-file", "blob", blob)
                if leaves(path, target):
                    raise _forbidden(path, f"a symbolic link to {printable(target)!r}")


def leaves(path: str, target: str) -> bool:
    """Return whether a symbolic link at ``path`` may lead out of the tree.

    ``..`` after a name counts as leading out: that name may be a link itself.
    """
    words = target.split("/")
    up = 0
    while up < len(words) and words[up] in ("..", "."):
        up += 1
    climbed = words[:up].count("..")
    depth = len([word for word in posixpath.dirname(path).split("/") if word])
    return target.startswith("/") or not target or ".." in words[up:] or climbed > depth


def _forbidden(path: str, what: str) -> SeriesError:
    return SeriesError(
        f"the series makes {printable(path)!r} {what}, which leads out of the tree",
        hint="nothing was built; do not trust this series unless you know why it does so",
    )


def patch_identity(patch: Patch, how: How, *details: str) -> PatchIdentity:
    """Return the record of a patch that applies so."""
    return PatchIdentity(
        name=patch.name,
        digest=hashlib.sha256(patch.data).hexdigest(),
        how=how,
        detail="; ".join(details),
        resolved=patch.resolved,
        replaces=patch.replaces,
    )
