# SPDX-License-Identifier: GPL-2.0-only
"""From a source spec to a git tree in the store; which spec gave which tree is remembered."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from harness import command
from harness.apt import Apt, Offer
from harness.arch import Arch
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import NoSpace, SourceError
from harness.kernel import debian, specs, toolchain, user_tree
from harness.kernel.git import Store
from harness.kernel.specs import SourceSpec
from harness.kernel.user_repository import UserRepository, last_error
from harness.records.base import Record, read_json, to_json
from harness.records.kernel import SourceIdentity
from harness.workspace import atomic_write, digest, file_digest

_VERSION = re.compile(r"^(VERSION|PATCHLEVEL|SUBLEVEL)[ \t]*=[ \t]*(\d+)[ \t]*$", re.MULTILINE)
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")


class Source(Record, frozen=True, kw_only=True):
    """A source that is in the store; ``sources/*.json`` hold these.

    Attributes:
        identity: what it is, for the record of a run.
        version: ``VERSION.PATCHLEVEL.SUBLEVEL`` of its Makefile.
        lineage: name of a line of similar sources, such as a package; they are built in one
            private work tree, see `harness.kernel.worktree_pool`.
    """

    identity: SourceIdentity
    version: str
    lineage: str


def resolve(spec: SourceSpec, context: Context, *, refresh: bool = False) -> Source:
    """Return the source that a spec names, fetched if it is not in the store yet.

    Args:
        spec: anything but an ``image:``.
        context: cache, deadline, progress.
        refresh: fetch the newest version of a source that is already in the store.

    Raises:
        SourceError: if it is absent, damaged, or not a kernel source.
    """
    match spec.kind:
        case "debian":
            return _debian(spec, context, refresh)
        case "tar":
            return _tar(spec, context, refresh)
        case "git":
            return _git(spec, context)
        case "tree":
            return _tree(spec, context)
        case "image":
            raise ValueError("an image has no source")


def check(spec: SourceSpec, wanted: Arch, context: Context) -> None:
    """Check that the path of a spec exists, if it names one on this host.

    Args:
        spec: the source.
        wanted: the architecture that it is to be built for.
        context: cache, deadline, progress.

    Raises:
        SourceError: if it is absent, or not a kernel source.
        InfrastructureError: if Debian has to be asked, and cannot be.
    """
    match spec.kind:
        case "debian":
            if read_json(_debian_memory(context, spec), Source) is None:
                toolchain.require(wanted)  # a missing tool is reported before a fetch
                debian.find(spec, context)
        case "tree":
            _tree_version(spec)
        case "tar" if not specs.is_url(spec.where):
            check_file(spec)
        case "git" if not specs.is_url(spec.where):
            _repository(spec, context).commit(spec.revision)


def check_file(spec: SourceSpec) -> os.stat_result:
    """Return the status of the file that a ``tar:`` or ``image:`` names.

    Raises:
        SourceError: if it is absent or not a file.
    """
    path = Path(spec.where)
    try:
        stat = path.stat()
    except OSError as error:
        raise _absent(spec, error) from error
    if not path.is_file():
        raise SourceError(
            f"--kernel {spec.text}: {path} is not a file", hint="for a directory write tree:PATH"
        )
    return stat


def kernel_version(makefile: str | None) -> str:
    """Return ``VERSION.PATCHLEVEL.SUBLEVEL`` of a kernel's top Makefile; empty if it has none."""
    found = dict(_VERSION.findall(makefile or ""))
    if not {"VERSION", "PATCHLEVEL"} <= found.keys():
        return ""
    return f"{found['VERSION']}.{found['PATCHLEVEL']}.{found.get('SUBLEVEL', '0')}"


def tree_version(store: Store, tree: str, name: str, deadline: Deadline) -> str:
    """Return the version of a tree in the store.

    Raises:
        SourceError: if it has no kernel's Makefile or no Kconfig.
    """
    version = kernel_version(store.text(tree, "Makefile", deadline))
    if not version or store.text(tree, "Kconfig", deadline) is None:
        raise _not_a_source(name)
    return version


def _not_a_source(name: str) -> SourceError:
    return SourceError(
        f"{name} is not a kernel source: it has no Makefile with a VERSION, or no Kconfig",
        hint="point it at the top directory of a Linux tree",
    )


def _debian(spec: SourceSpec, context: Context, refresh: bool) -> Source:
    memory = _debian_memory(context, spec)
    known = read_json(memory, Source)
    if known is not None and not refresh:
        return _under_spec(known, spec)
    with context.workspace.lock(f"source {spec.where}", context.deadline, context.progress):
        known = read_json(memory, Source)
        if known is not None and not refresh:
            return _under_spec(known, spec)
        lists, offer = debian.find(spec, context, refresh=refresh)
        exact = _memory(context, f"debian-{offer.package}={offer.version}")
        found = read_json(exact, Source)
        if found is None:
            found = _remember(exact, _debian_package(spec, lists, offer, context), context)
        return _remember(memory, _under_spec(found, spec), context)


def _debian_package(spec: SourceSpec, lists: Apt, offer: Offer, context: Context) -> Source:
    """Fetch and import one version of a package."""
    context.progress.stage("fetch", f"{offer.package} {offer.version} from {offer.suite}")
    with context.workspace.unfinished("deb") as room:
        package = debian.download(lists, offer, room)
        origin = debian.origin(offer, file_digest(package))
        context.progress.stage("import", package.name)
        source = _import(debian.tarball(package, room, context.deadline), spec, context)
    identity = msgspec.structs.replace(source.identity, origin=origin)
    return msgspec.structs.replace(source, identity=identity)


def _tar(spec: SourceSpec, context: Context, refresh: bool) -> Source:
    path = Path(spec.where)
    if specs.is_url(spec.where):
        return _tar_from_url(spec, context, refresh)
    stat = check_file(spec)
    # Like make, trust a file whose size and mtime did not change.
    memory = _memory(
        context, f"tar-{digest(spec.where, spec.sha256, f'{stat.st_size} {stat.st_mtime_ns}')}"
    )
    known = read_json(memory, Source)
    return _under_spec(known, spec) if known else _tar_from_file(path, spec, memory, context)


def _tar_from_url(spec: SourceSpec, context: Context, refresh: bool) -> Source:
    memory = _memory(context, f"tar-{digest(spec.where, spec.sha256)}")
    known = read_json(memory, Source)
    if known is not None and not refresh:
        return _under_spec(known, spec)
    from harness.kernel import download  # 140 ms of requests, needed only for a URL

    context.progress.stage("fetch", spec.where)
    with context.workspace.unfinished("tar") as room:
        path = room / "source.tar"
        download.fetch(spec.where, path, context.deadline, context.progress)
        return _tar_from_file(path, spec, memory, context)


def _tar_from_file(path: Path, spec: SourceSpec, memory: Path, context: Context) -> Source:
    checksum = file_digest(path)
    if spec.sha256 and checksum != spec.sha256:
        raise SourceError(
            f"{spec.where} has the SHA-256 {checksum}, not {spec.sha256}",
            hint="fetch it again, or correct #sha256=",
        )
    context.progress.stage("import", spec.where)
    source = _import(path, spec, context)
    identity = msgspec.structs.replace(source.identity, origin=f"sha256 {checksum}")
    return _remember(memory, msgspec.structs.replace(source, identity=identity), context)


def _import(path: Path, spec: SourceSpec, context: Context) -> Source:
    """Import a tarball into the store and return its source, without an origin yet."""
    from harness.kernel import tarball  # 10 ms of tarfile, needed only for a tarball

    store = Store.of(context)
    name = Path(spec.where).name if spec.kind == "tar" else path.name
    tree = tarball.import_tarball(path, store, context.workspace, context.deadline, name=name)
    return _source(spec, "", tree, store, context)


def _git(spec: SourceSpec, context: Context) -> Source:
    store, deadline = Store.of(context), context.deadline
    repository = None if specs.is_url(spec.where) else _repository(spec, context)
    if repository is None:
        commit = _remote_commit(spec, store, deadline)
    else:
        commit = repository.commit(spec.revision)
    memory = _memory(context, f"git-{digest(spec.where, commit)}")
    known = read_json(memory, Source)
    if known is not None:
        return _under_spec(known, spec)
    context.progress.stage("fetch", f"{spec.where} {commit[:12]}")
    if repository is None:
        tree = _fetch(spec, commit, store, deadline)
    else:
        tree = _take(commit, repository, store, context)
    return _remember(memory, _source(spec, f"commit {commit}", tree, store, context), context)


def _fetch(spec: SourceSpec, commit: str, store: Store, deadline: Deadline) -> str:
    """Fetch a commit from a URL and return its tree."""
    fetch = ["fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head"]
    fetch += [spec.where, f"+{commit}:refs/hgm/{commit}"]
    done = store.git(fetch, deadline, ok=None)
    if done.exit_code != 0:
        raise _fetch_failed(spec, done)
    return store.git(["rev-parse", f"{commit}^{{tree}}"], deadline).stdout.strip()


def _take(commit: str, repository: UserRepository, store: Store, context: Context) -> str:
    """Copy a commit's tree from a repository on this host and return it."""
    tree = repository.contents(["cat-file", "commit", commit]).split()[1]
    repository.take({tree: ""})
    store.git(["update-ref", f"refs/hgm/{tree}", tree], context.deadline)
    listed = store.git(["ls-tree", "-r", "-z", "--full-tree", tree], context.deadline).stdout
    for row in listed.split("\0"):
        if row.startswith("160000 "):
            context.progress.note(
                f"{row.partition(chr(9))[2]} is a submodule, and its files are not in the "
                "revision; for those of a checkout write tree:PATH"
            )
    return tree


def _repository(spec: SourceSpec, context: Context) -> UserRepository:
    return UserRepository.open(Path(spec.where), f"--kernel {spec.text}", SourceError, context)


def _remote_commit(spec: SourceSpec, store: Store, deadline: Deadline) -> str:
    """Return the commit ID that a revision means at a URL now."""
    if _COMMIT.match(spec.revision):
        return spec.revision
    done = store.git(["ls-remote", spec.where, spec.revision], deadline, ok=None)
    if done.exit_code != 0:
        raise _fetch_failed(spec, done)
    lines = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]
    # An annotated tag is listed twice; the ^{} one is the commit.
    names = {name: commit for commit, name in lines}
    peeled = [commit for name, commit in names.items() if name.endswith("^{}")]
    found = peeled or list(names.values())
    if not found:
        raise SourceError(
            f"--kernel {spec.text}: {spec.where} has no branch or tag {spec.revision!r}",
            hint=f"`git ls-remote {spec.where}` lists them; or give a full commit ID",
        )
    return found[0]


def _fetch_failed(spec: SourceSpec, done: command.Completed) -> SourceError | NoSpace:
    error = command.failure(done)
    if isinstance(error, NoSpace):
        return error
    return SourceError(
        f"--kernel {spec.text}: git cannot fetch it: {last_error(done.stderr)}",
        hint="check the URL, the revision and the network",
    )


def _tree(spec: SourceSpec, context: Context) -> Source:
    version = _tree_version(spec)
    real = Path(spec.where).resolve()
    lineage = f"tree {real}"
    index = context.workspace.room("sources") / f"tree-{digest(str(real))[:16]}.index"
    repository = _repository(spec, context) if os.path.lexists(real / ".git") else None
    with context.workspace.lock(lineage, context.deadline, context.progress):
        tree = user_tree.snapshot(real, index, repository, context)
    origin = user_tree.describe(real, tree, repository)
    identity = SourceIdentity(spec=spec.text, kind="tree", origin=origin, tree=tree)
    return Source(identity=identity, version=version, lineage=lineage)


def _tree_version(spec: SourceSpec) -> str:
    """Return the version of a tree: that of its Makefile."""
    path = Path(spec.where)
    try:
        makefile = (path / "Makefile").read_text(errors="replace")
    except FileNotFoundError:
        makefile = ""
        if not path.exists():
            raise _absent(spec, FileNotFoundError(2, "No such file or directory")) from None
    except OSError as error:
        raise _absent(spec, error) from error
    version = kernel_version(makefile)
    if not version or not (path / "Kconfig").is_file():
        raise _not_a_source(str(path))
    return version


def _source(spec: SourceSpec, origin: str, tree: str, store: Store, context: Context) -> Source:
    """Return the record of a tree in the store."""
    version = tree_version(store, tree, spec.where, context.deadline)
    identity = SourceIdentity(spec=spec.text, kind=spec.kind, origin=origin, tree=tree)
    return Source(identity=identity, version=version, lineage=f"{spec.kind} {spec.where}")


def _debian_memory(context: Context, spec: SourceSpec) -> Path:
    return _memory(context, spec.text.replace(":", "-", 1))


def _memory(context: Context, name: str) -> Path:
    return context.workspace.room("sources") / f"{name}.json"


def _remember(memory: Path, source: Source, context: Context) -> Source:
    atomic_write(memory, to_json(source))
    return source


def _under_spec(source: Source, spec: SourceSpec) -> Source:
    """Return a recorded source under the spec that asks for it now."""
    identity = msgspec.structs.replace(source.identity, spec=spec.text)
    return msgspec.structs.replace(source, identity=identity)


def _absent(spec: SourceSpec, error: OSError) -> SourceError:
    return SourceError(
        f"--kernel {spec.text}: {spec.where}: {error.strerror}", hint="check the path"
    )
