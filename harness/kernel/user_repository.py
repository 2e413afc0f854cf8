# SPDX-License-Identifier: GPL-2.0-only
"""A git repository of the user's: read, never written to, and explained when it cannot be read.

Its configuration can make git start programs (fsmonitor, signature checks, filters, lazy fetches),
so git never sees it. Revisions, the index and the history are read through a view: a directory in
the cache with a configuration of ours and links to the repository's refs and objects, which git
takes for the common directory. Contents are read from the store, which borrows the objects.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import command
from harness.context import Context
from harness.errors import HarnessError, NoSpace, UserError
from harness.kernel.git import Store, environment
from harness.kernel.specs import is_url
from harness.workspace import atomic_write, digest

_OBJECT_ID = re.compile(r"[0-9a-f]{40,64}\Z")
#: In git's messages; not the name of a pack.
_OBJECT_IDS = re.compile(r"(?<!-)\b[0-9a-f]{40}\b")

#: What a view has links to; each may be absent.
_LINKED = ("objects", "refs", "packed-refs", "logs", "shallow", "reftable")

#: Extensions without which git cannot read a repository: names of objects, format of the refs.
_EXTENSIONS = {"extensions.objectformat": "objectFormat", "extensions.refstorage": "refStorage"}

_SETTINGS = r"^(extensions\.(partialclone|objectformat|refstorage)|remote\..*\.(url|promisor))$"

#: Modes of what is a blob.
_FILES = ("100644", "100755", "120000")

#: How missing objects may be fetched: no program that a URL of theirs names is started.
_PROTOCOLS = "file:git:http:https:ssh"


def git_dir(path: Path) -> Path | None:
    """Return the git directory (or gitfile) of a checkout or bare repository; None if neither."""
    if (path / ".git").exists():
        return path / ".git"
    return path if (path / "objects").is_dir() and (path / "HEAD").is_file() else None


@dataclass(frozen=True)
class UserRepository:
    """A repository that an argument names.

    Attributes:
        path: as the argument names it, absolute.
        git_dir: its git directory; of a linked work tree, that of the work tree.
        common: the git directory that it shares with its other work trees.
        settings: those values of its configuration that matter here.
        argument: the argument, for messages: ``--kernel git:/linux@v6.12``.
        error: what is raised.
        context: cache, deadline, progress.
    """

    path: Path
    git_dir: Path
    common: Path
    settings: Mapping[str, str]
    argument: str
    error: type[UserError]
    context: Context

    @classmethod
    def open(
        cls, path: Path, argument: str, error: type[UserError], context: Context
    ) -> UserRepository:
        """Return the repository at a path.

        Raises:
            UserError: an ``error``, if there is none or git cannot read its configuration.
        """
        try:
            own = _found(path, argument, error)
            target = own / "commondir"
            is_linked = target.is_file()
            common = Path(own, target.read_text(errors="replace").strip()) if is_linked else own
        except OSError as failed:
            raise error(f"{argument}: {path}: {failed.strerror}", hint="check the path") from failed
        listing = ["git", "config", "-z", "--file", str(common / "config"), "--get-regexp"]
        variables = environment(common)
        done = command.run([*listing, _SETTINGS], context.deadline, env=variables, ok=None)
        if done.exit_code not in (0, 1):  # 1: it has none of them
            raise error(
                f"{argument}: git cannot read {path}: {last_error(done.stderr)}",
                hint=f"correct {common / 'config'}",
            )
        rows = (row.partition("\n") for row in done.stdout.split("\0") if row)
        settings = {name: value for name, _, value in rows}
        return cls(path, own, common, settings, argument, error, context)

    @property
    def objects(self) -> Path:
        """Return its object directory."""
        return self.common / "objects"

    def git(
        self,
        arguments: Sequence[str],
        *,
        work_tree: Path | None = None,
        ok: Sequence[int] | None = (0,),
    ) -> command.Completed:
        """Run a git command that reads its refs, its index or its history.

        Args:
            arguments: git's.
            work_tree: the top of the work tree, for a command that needs one.
            ok: the exit codes that are not an error; None for all.

        Raises:
            UserError: if git fails, see `failure`.
        """
        variables = {**environment(self.git_dir), "GIT_COMMON_DIR": str(self._view())}
        # The user's index; git finds it in the git directory, also in that of a linked work tree.
        del variables["GIT_INDEX_FILE"]
        if work_tree is not None:
            variables["GIT_WORK_TREE"] = str(work_tree)
        argv, deadline = ["git", *arguments], self.context.deadline
        done = command.run(argv, deadline, env=variables, cwd=work_tree, ok=None)
        if ok is not None and done.exit_code not in ok:
            raise self.failure(done)
        return done

    def _view(self) -> Path:
        """Return the view's directory, created if it does not exist."""
        workspace = self.context.workspace
        view = workspace.room("sources") / f"view-{digest(str(self.common))[:16]}"
        config = "[core]\n\trepositoryFormatVersion = 1\n\tbare = false\n[extensions]\n"
        for name, key in _EXTENSIONS.items():
            if re.fullmatch(r"[a-z0-9]+", value := self.settings.get(name, "")):
                config += f"\t{key} = {value}\n"
        if not view.is_dir():
            with workspace.unfinished("view") as new:
                for name in _LINKED:
                    (new / name).symlink_to(self.common / name)
                (new / "config").write_text(config)
                workspace.publish(new, view)
        if (view / "config").read_text() != config:
            atomic_write(view / "config", config)
        return view

    def commit(self, revision: str) -> str:
        """Return the commit ID that a revision means now.

        Raises:
            UserError: if there is no such revision, it is not a commit, or its object is missing.
        """
        if self.settings.get("extensions.objectformat", "sha1") != "sha1":
            raise self._error(
                f"{self.path} names its objects by {self.settings['extensions.objectformat']}, "
                "not by SHA-1",
                "check the revision out and write --kernel tree:PATH",
            )
        options = ["rev-parse", "--verify", "--quiet", "--end-of-options"]
        done = self.git([*options, f"{revision}^{{commit}}"], ok=None)
        if done.exit_code == 0:
            return done.stdout.strip()
        named = self.git([*options, revision], ok=None).stdout.strip()
        if named and not _OBJECT_ID.match(revision):
            kind = self.git(["cat-file", "-t", named], ok=None)
            if kind.exit_code != 0:
                raise self.failure(kind, {named: ""})
            if kind.stdout.strip() not in ("commit", "tag"):
                raise self._error(f"{revision!r} is a {kind.stdout.strip()}, not a commit", "")
        if absent := self._absent_alternate():
            raise self._error(*absent)
        if self.is_shallow():
            raise self._error(
                f"{self.path} has no revision {revision!r}, and it is a shallow clone",
                self.command_hint("fetch --unshallow --tags", "fetches the rest"),
            )
        raise self._error(
            f"{self.path} has no revision {revision!r}",
            self.command_hint("log --oneline", "lists its commits"),
        )

    def contents(self, arguments: Sequence[str]) -> str:
        """Return what a git command prints that reads objects by their IDs.

        It runs in the store, which borrows this repository's objects.

        Raises:
            UserError: if git fails, see `failure`.
        """
        done = self._contents(arguments)
        if done.exit_code != 0:
            raise self.failure(done)
        return done.stdout

    def _contents(self, arguments: Sequence[str]) -> command.Completed:
        store, deadline = Store.of(self.context), self.context.deadline
        return command.run(["git", *arguments], deadline, env=self._borrowed(store), ok=None)

    def save(self, blob: str, target: Path) -> None:
        """Write the bytes of a blob to a new file.

        Raises:
            UserError: if the repository does not have it.
        """
        argv, deadline = ["git", "cat-file", "blob", blob], self.context.deadline
        variables = self._borrowed(Store.of(self.context))
        if command.run(argv, deadline, env=variables, log=target, ok=None).exit_code != 0:
            raise self._error(f"{self.path} lacks blob {blob}", "")

    def changed(self, old: str, new: str) -> Iterator[tuple[str, str]]:
        """Yield the blobs of the files in which two commits differ, of both, with their paths."""
        raw = self.contents(["diff-tree", "-r", "-z", "--no-renames", old, new]).split("\0")
        for row, path in zip(raw[::2], raw[1::2], strict=False):
            modes, blobs = row.lstrip(":").split()[:2], row.split()[2:4]
            yield from (
                (blob, path) for mode, blob in zip(modes, blobs, strict=True) if mode in _FILES
            )

    def lend(self, bare: Path) -> None:
        """Let a bare repository of ours borrow the objects of this one, and of the store."""
        lines = [str(self.objects), str(Store.of(self.context).objects)]
        (bare / "objects" / "info").mkdir(exist_ok=True)
        atomic_write(bare / "objects" / "info" / "alternates", "\n".join(lines) + "\n")
        if self.is_shallow():
            atomic_write(bare / "shallow", (self.common / "shallow").read_bytes())

    def _borrowed(self, store: Store) -> dict[str, str]:
        return {**store.environment(), **store.borrowing(self.objects)}

    def take(self, names: Mapping[str, str]) -> None:
        """Copy objects to the store, with all that the trees among them name.

        Nothing else of the repository is read, and each object's bytes must give its name.

        Args:
            names: IDs of trees and blobs with their paths in the repository.

        Raises:
            UserError: if one of them is missing or damaged.
        """
        if not names:
            return
        self.complete(names)
        store, deadline = Store.of(self.context), self.context.deadline
        # What the store was given before is complete there.
        listing = ["for-each-ref", "--format=^%(objectname)", "refs/hgm/"]
        known = store.git(listing, deadline).stdout
        with self.context.workspace.unfinished("objects") as room:
            objects, names_file = room / "objects", room / "names"
            (objects / "pack").mkdir(parents=True)
            names_file.write_text("".join(f"{name}\n" for name in names) + known)
            variables = store.quarantine(objects) | store.borrowing(store.objects, self.objects)
            pack = ["git", "pack-objects", "-q", "--revs", "--non-empty"]
            pack += [str(objects / "pack" / "pack")]
            done = command.run(pack, deadline, env=variables, stdin=names_file, ok=None)
            if done.exit_code != 0:
                raise self.failure(done, names)
            for index in (objects / "pack").glob("*.idx"):
                verify = ["git", "verify-pack", str(index)]
                if command.run(verify, deadline, env=variables, ok=None).exit_code != 0:
                    raise self._error(
                        f"{self.path}: an object needed here has other contents than its name says",
                        self.command_hint("fsck", "shows which; clone it again"),
                    )
            store.admit(objects)

    def complete(self, names: Mapping[str, str]) -> None:
        """Fetch to the store those of some objects that a partial clone lacks.

        From the remote that it is a partial clone of, as git itself would; the clone is not
        written to.

        Args:
            names: as for `take`.

        Raises:
            UserError: if there is no such remote, or it does not have them.
        """
        if not self.is_partial or not (lacking := self._lacking(names)):
            return
        store, deadline = Store.of(self.context), self.context.deadline
        self.context.progress.stage(
            "fetch", f"{len(lacking)} objects that {self.path} lacks, from {self._promisor()}"
        )
        with self.context.workspace.unfinished("lacking") as room:
            wanted = room / "names"
            wanted.write_text("".join(f"{name}\n" for name in lacking))
            fetch = ["git", "-c", "fetch.negotiationAlgorithm=noop", "fetch", "--quiet"]
            fetch += ["--no-tags", "--no-write-fetch-head", "--stdin", "--", self._promisor()]
            variables = {**store.environment(), "GIT_ALLOW_PROTOCOL": _PROTOCOLS}
            done = command.run(fetch, deadline, env=variables, stdin=wanted, ok=None)
        if done.exit_code != 0:
            raise self.failure(done, names, asked=self._promisor())

    @property
    def is_partial(self) -> bool:
        """Return whether it is a partial clone of a known remote."""
        return bool(self._promisor())

    def _promisor(self) -> str:
        """Return the URL or path of the remote that this is a partial clone of; empty if none."""
        names = [self.settings.get("extensions.partialclone", "")]
        names += [
            name.removeprefix("remote.").removesuffix(".promisor")
            for name, value in self.settings.items()
            if name.endswith(".promisor") and value != "false"
        ]
        urls = (self.settings.get(f"remote.{name}.url", "") for name in names)
        url = next(filter(None, urls), "")
        return url if not url or is_url(url) else str(self.path / url)

    def _lacking(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return those of some objects, and of what their trees name, that are missing."""
        with self.context.workspace.unfinished("lacking") as room:
            asked = room / "names"
            asked.write_text("".join(f"{name}\n" for name in names))
            store, deadline = Store.of(self.context), self.context.deadline
            variables = self._borrowed(store)
            check = ["git", "cat-file", "--batch-check=%(objectname)"]
            found = command.run(check, deadline, env=variables, stdin=asked, ok=None).stdout
            rows = [line.split() for line in found.splitlines()]
            lacking = {row[0]: None for row in rows if row[1:] == ["missing"]}
            asked.write_text("".join(f"{row[0]}\n" for row in rows if not row[1:]))
            walk = ["git", "rev-list", "--objects", "--no-object-names", "--missing=print"]
            walked = command.run([*walk, "--stdin"], deadline, env=variables, stdin=asked, ok=None)
        lacking |= {line[1:]: None for line in walked.stdout.splitlines() if line[:1] == "?"}
        return tuple(lacking)

    def failure(
        self, done: command.Completed, names: Mapping[str, str] | None = None, asked: str = ""
    ) -> HarnessError:
        """Return the error for a git that failed because of this repository.

        Args:
            done: the git.
            names: as for `take`, the objects that it needed.
            asked: the remote that it asked for them.
        """
        error = command.failure(done)
        if isinstance(error, NoSpace):
            return error
        if absent := self._absent_alternate():
            return self._error(*absent)
        why = last_error(done.stderr)
        lacking = self._lacking(names or ()) or tuple(_OBJECT_IDS.findall(done.stderr))[:1]
        if not lacking:
            return self._error(f"git cannot read {self.path}: {why}", "")
        what = f"{self.path}: {self._described(lacking[0], names or {})} is missing or damaged"
        if others := len(lacking) - 1:
            what += f", and so {'are' if others > 1 else 'is'} {others} more"
        if asked:
            what += f"; {asked}, of which it is a partial clone, did not send it: {why}"
        if self.is_partial:
            hint = self.command_hint("fetch --refetch --no-filter", "fetches all objects")
        else:
            hint = self.command_hint("fsck", "shows all damage; clone it again")
        return self._error(what, hint)

    def _described(self, missing: str, names: Mapping[str, str]) -> str:
        """Return an object's ID with its path, where it has one."""
        path = names.get(missing, "")
        for tree in names if not path else ():
            listed = self._contents(["ls-tree", "-r", "-t", "-z", "--full-tree", tree]).stdout
            rows = (row.partition("\t") for row in listed.split("\0") if row)
            path = next((name for entry, _, name in rows if entry.split()[2] == missing), "")
        return f"{path!r} (object {missing})" if path else f"object {missing}"

    def is_shallow(self, commit: str = "") -> bool:
        """Return whether it is a shallow clone; with a commit, whether its history ends there."""
        boundary = self.common / "shallow"
        return boundary.is_file() and commit in boundary.read_text()

    def command_hint(self, arguments: str, does: str) -> str:
        """Return a hint with a git command to type."""
        return f"`git -C {shlex.quote(str(self.path))} {arguments}` {does}"

    def _absent_alternate(self) -> tuple[str, str] | None:
        """Return message and hint if a repository that this one borrows objects from is gone."""
        listing = self.objects / "info" / "alternates"
        lines: list[str] = []
        with contextlib.suppress(OSError):
            lines = listing.read_text(errors="replace").splitlines()
        for line in lines:
            if line and not line.startswith(("#", '"')) and not (self.objects / line).is_dir():
                return (
                    f"{self.path} borrows objects from {line}, which does not exist",
                    f"restore it, correct {listing}, or clone again without --shared/--reference",
                )
        return None

    def _error(self, message: str, hint: str) -> UserError:
        return self.error(f"{self.argument}: {message}", hint=hint)


def _found(path: Path, argument: str, error: type[UserError]) -> Path:
    """Return the git directory of what is at a path."""
    found = git_dir(path)
    if found is None:
        what = "does not exist"
        if path.is_file():
            what = "is a file, not a git repository"
        elif path.exists():
            what = "is not a git repository"
        raise error(f"{argument}: {path} {what}", hint="check the path")
    if not found.is_file():
        return found
    # Of a linked work tree or a submodule.
    target = Path(path, found.read_text(errors="replace").removeprefix("gitdir:").strip())
    if not target.exists():
        raise error(
            f"{argument}: {found} names {target}, which does not exist",
            hint="if its repository was moved, run `git worktree repair` there",
        )
    return target


def last_error(stderr: str) -> str:
    """Return git's error in one line: the first ``fatal:`` of the remote's, else its own."""
    lines = [line.removeprefix("remote: ").strip() for line in stderr.splitlines()]
    for word in ("fatal: ", "error: "):
        for line in lines:
            if line.startswith(word):
                return line.removeprefix(word)
    return next((line for line in reversed(lines) if line), "git gave no reason")
