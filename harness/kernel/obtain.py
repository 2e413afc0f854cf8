# SPDX-License-Identifier: GPL-2.0-only
"""The kernel room's whole story: from a request to a kernel that can be booted."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harness import cache
from harness.context import Context
from harness.errors import NoSpace, SourceError, SpecError
from harness.kernel import fragments, registry, series, source, specs, toolchain
from harness.kernel.fragments import Fragment
from harness.kernel.git import Store
from harness.kernel.series import Patched, Series, check
from harness.kernel.series.check import SeriesCheck
from harness.kernel.source import Source
from harness.kernel.specs import SeriesSpec, SourceSpec
from harness.records.base import Record, from_json, to_json
from harness.records.kernel import (
    ConfigIdentity,
    Kernel,
    PatchIdentity,
    SeriesIdentity,
    SourceIdentity,
)
from harness.workspace import Workspace, atomic_write, digest, file_digest

if TYPE_CHECKING:
    from harness.kernel.worktree_pool import Slot

#: Raised whenever the same inputs would no longer give the same kernel entry.
RECIPE = "2"

#: The symbol whose presence every record tells.
HGM_SYMBOL = "HUGETLB_HIGH_GRANULARITY_MAPPING"


class KernelRequest(Record, frozen=True, kw_only=True):
    """Which kernel is wanted.

    Attributes:
        source: ``--kernel``'s argument.
        series: ``--series``'s argument.
        mail_from: ``--mail-from``'s argument: where ``lore:`` finds its mail; empty for the net.
        resolve: ``--resolve``'s argument: a directory of replacement patches; empty for none.
        fuzz: ``--fuzz``: whether a patch may stand elsewhere than it says, or with less context.
        features: ``--config``'s arguments: names of fragments, or paths of ``.config`` files.
        first: how many of the series' patches to put on; None for all.
        refresh: fetch the newest version, where a recorded one would do.
    """

    source: str
    series: str = "none"
    mail_from: str = ""
    resolve: str = ""
    fuzz: bool = False
    features: tuple[str, ...] = ()
    first: int | None = None
    refresh: bool = False


def obtain(request: KernelRequest, context: Context, *, build_log: Path) -> Kernel:
    """Return the kernel that a request describes, built unless the cache has it.

    Args:
        request: what is wanted.
        context: cache, deadline, progress.
        build_log: takes make's output; it is not made where nothing is built.

    Raises:
        UserError: for a spec, source, patch, symbol or line of code that the caller can mend.
        InfrastructureError: for what this host lacks.
    """
    spec = specs.parse_source(request.source)
    series_spec = specs.parse_series(request.series, request.mail_from)
    keep = cache.limit()  # a mistake in it is said now, and not after a build
    with _disk_errors():
        if spec.kind == "image":
            return _obtain_image(spec, request, context)
        wanted = fragments.load(request.features)
        for fragment in wanted:
            fragments.parse(fragment)  # what is wrong in a fragment is said before a fetch
        toolchain.require()  # before a fetch that would be for nothing
        tools = toolchain.identify(context.workspace, context.deadline)
        with _pinned_store(context):
            # A mistake in the series is said before a fetch.
            patches = _read_series(series_spec, request, context).first(request.first)
            found = source.resolve(spec, context, refresh=request.refresh)
            if doubt := registry.misfit(series_spec.text, found.version):
                context.progress.note(doubt)
            patched = series.apply(patches, found, context, fuzz=request.fuzz)
            plan = Plan(found, patched, wanted, tools, request.features)
            kernel = _finished(plan, context.workspace)
            if kernel is not None:
                return kernel
            kernel = _build(plan, context, build_log)
    with cache.pin(Path(kernel.image).parent):
        cache.prune(context.workspace, keep, context.progress, remembered=True)
    return kernel


def _read_series(spec: SeriesSpec, request: KernelRequest, context: Context) -> Series:
    """Return a request's series with the replacements that it names."""
    if request.resolve and spec.kind == "none":
        raise SpecError("--resolve replaces patches, and there is no --series")
    return series.read(spec, context, resolve_from=request.resolve)


class Ingredients(Record, frozen=True, kw_only=True):
    """What a request names, before anything is applied or built.

    Attributes:
        source: which source.
        version: its ``VERSION.PATCHLEVEL.SUBLEVEL``.
        patches: of the whole series, in order.
    """

    source: SourceIdentity
    version: str
    patches: tuple[PatchIdentity, ...] = ()


def ingredients(request: KernelRequest, context: Context) -> Ingredients:
    """Return which source and which patches a request names; the patches are put on it once.

    Raises:
        SpecError: for an unknown form, and for ``image:``, which no patch can be put on.
        SourceError, SeriesError: as `obtain`.
    """
    spec = specs.parse_source(request.source)
    if spec.kind == "image":
        raise SpecError(
            f"--kernel {spec.text} is built already", hint="give its source with tree: or git:"
        )
    series_spec = specs.parse_series(request.series, request.mail_from)
    with _disk_errors(), _pinned_store(context):
        patches = _read_series(series_spec, request, context)
        found = source.resolve(spec, context, refresh=request.refresh)
        patched = series.apply(patches, found, context, fuzz=request.fuzz)
    return Ingredients(
        source=found.identity, version=found.version, patches=patched.identity.patches
    )


def patch_stat(request: KernelRequest, number: int, context: Context) -> str:
    """Return what one patch of a request's series changes, as ``git apply --stat`` prints it.

    Args:
        request: whose series.
        number: which patch, from 1.
        context: cache, deadline, progress.
    """
    series_spec = specs.parse_series(request.series, request.mail_from)
    patch = _read_series(series_spec, request, context).patches[number - 1]
    with context.workspace.unfinished("stat") as room:
        (room / "patch").write_bytes(patch.data)
        argv = ["apply", "--stat", f"-p{patch.strip}", str(room / "patch")]
        return Store.of(context).git(argv, context.deadline).stdout.rstrip()


def fetch(text: str, context: Context, *, refresh: bool = True) -> SourceIdentity:
    """Fetch a source without building it, the newest version of it unless ``refresh`` is False.

    Raises:
        SpecError: for an unknown form, and for ``image:``, which is no source.
        SourceError: as `harness.kernel.source.resolve`.
    """
    spec = specs.parse_source(text)
    if spec.kind == "image":
        raise SpecError(f"{text} is no source", hint="there is nothing to fetch for image:")
    with _disk_errors(), _pinned_store(context):
        return source.resolve(spec, context, refresh=refresh).identity


def check_series(request: KernelRequest, context: Context) -> SeriesCheck:
    """Return how each patch of a request's series meets its source; nothing is built.

    Raises:
        UserError: for a source or series that cannot be read at all.
    """
    spec = specs.parse_source(request.source)
    series_spec = specs.parse_series(request.series, request.mail_from)
    if spec.kind == "image" or series_spec.kind == "none":
        raise SpecError(
            "there is nothing to check without a source and a series",
            hint="such as --kernel tree:PATH --series dir:PATH",
        )
    with _disk_errors(), _pinned_store(context):
        patches = _read_series(series_spec, request, context)
        found = source.resolve(spec, context)
        if doubt := registry.misfit(series_spec.text, found.version):
            context.progress.note(doubt)
        return check.check(patches.first(request.first), found, context, fuzz=request.fuzz)


def kernel_key(tree: str, wanted: Sequence[Fragment], tools: str) -> str:
    """Return the content hash of everything that goes into a kernel."""
    return digest(RECIPE, tree, tools, *(fragment.text for fragment in wanted))


@dataclass(frozen=True)
class Plan:
    """Everything that a kernel is made from.

    Attributes:
        source: which source.
        patched: that source with its series.
        wanted: the fragments, in order.
        tools: compiler and linker.
        features: the fragments' names as the caller gave them.
    """

    source: Source
    patched: Patched
    wanted: tuple[Fragment, ...]
    tools: str
    features: tuple[str, ...]

    @property
    def key(self) -> str:
        """Return the kernel's name in the cache."""
        return kernel_key(self.patched.identity.tree, self.wanted, self.tools)

    @property
    def directory(self) -> str:
        """Return what kernels share that can be built in one directory, as a hash."""
        return digest(RECIPE, self.tools, *(fragment.text for fragment in self.wanted))


@contextlib.contextmanager
def _pinned_store(context: Context) -> Iterator[None]:
    with cache.pin(Store.of(context).path):
        yield


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """Turn a full disk under our own writes into the error that says so."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoSpace(
            f"no space left for {error.filename or 'the cache'}",
            hint="free some space, or shrink the cache with `hgm cache prune`",
        ) from error


def _finished(plan: Plan, workspace: Workspace) -> Kernel | None:
    """Return the cache's finished kernel under the names it is asked for now; None without one."""
    known = _recorded(workspace.cache / "kernels" / plan.key)
    if known is None:
        return None
    return msgspec.structs.replace(
        known,
        source=plan.source.identity,
        series=plan.patched.identity,
        configuration=msgspec.structs.replace(known.configuration, features=plan.features),
    )


def _recorded(entry: Path) -> Kernel | None:
    """Return the finished kernel in a cache entry, marked as used now; None where none is."""
    try:
        known = from_json((entry / "manifest.json").read_bytes(), Kernel)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    cache.touch(entry)
    return msgspec.structs.replace(_located(known, entry), cached=True)


def _located(kernel: Kernel, entry: Path) -> Kernel:
    """Return a kernel with the paths of a cache entry; an absent part stays empty."""

    def path(name: str) -> str:
        return str(entry / name) if (entry / name).exists() else ""

    return msgspec.structs.replace(
        kernel,
        image=path("bzImage"),
        config=path("config"),
        headers=path("headers/include"),
        vmlinux=path("vmlinux"),
    )


def _build(plan: Plan, context: Context, log: Path) -> Kernel:
    """Build a kernel under its slot's lock and publish it; whoever waited finds it finished."""
    workspace, progress, deadline = context.workspace, context.progress, context.deadline
    slot = _slot(plan, context)
    with workspace.lock(slot.lock, deadline, progress):
        twin = _finished(plan, workspace)
        if twin is not None:
            return twin
        began = time.monotonic()
        progress.stage("checkout", plan.patched.version)
        depends = _switch(plan, slot, context)
        with workspace.unfinished("kernel") as new:
            kernel = _make(plan, slot, depends, context, log, new)
            kernel = msgspec.structs.replace(kernel, build_seconds=time.monotonic() - began)
            entry = _publish(kernel, new, workspace)
        for used in (slot.root, workspace.cache / "ccache"):
            cache.touch(used)
    return _located(kernel, entry)


def _slot(plan: Plan, context: Context) -> Slot:
    """Return where to build."""
    from harness.kernel.worktree_pool import (
        Slot,  # like make and config, what a warm run does without
    )

    if _is_developers(plan):
        return Slot.of(context.workspace, plan.source.lineage)
    return Slot.nearest(
        context.workspace,
        plan.source.lineage,
        plan.patched.identity.tree,
        Store.of(context),
        context.deadline,
    )


def _is_developers(plan: Plan) -> bool:
    """Return whether it is a tree that is worked on: it has a slot to itself, ready each time."""
    return plan.source.identity.kind == "tree"


def _switch(plan: Plan, slot: Slot, context: Context) -> tuple[str, ...]:
    """Make the slot hold the plan's tree; return what of it a configuration depends on."""
    from concurrent.futures import ThreadPoolExecutor

    from harness.kernel import config

    tree, store = plan.patched.identity.tree, Store.of(context)
    with ThreadPoolExecutor(1) as beside:  # git reads the tree for both, on a core each
        depends = beside.submit(config.inputs, tree, store, context.deadline)
        slot.switch(tree, store, context.deadline)
        if not _is_developers(plan):
            slot.offer(tree)
        return depends.result()


def _make(
    plan: Plan, slot: Slot, depends: Sequence[str], context: Context, log: Path, new: Path
) -> Kernel:
    """Configure and compile in a slot's build directory; leave the kernel's parts in ``new``."""
    from harness.kernel import build, config
    from harness.kernel.make import Make

    version = plan.patched.version
    wishes, notes = fragments.merge(plan.wanted, version)
    asked = "".join(f"{wish.line()}\n" for wish in wishes)
    directory = slot.build(plan.directory, asked, context.deadline)
    variables = fragments.debug_objects(plan.wanted)
    make = Make(slot.source, directory, context.deadline, log, context.workspace.cache, variables)
    with build.guarded(directory):
        context.progress.stage("config", " ".join(fragment.name for fragment in plan.wanted))
        text = config.make_config(wishes, make, depends)
        notes += config.account(wishes, text, slot.source, depends, version, make.kconfig)
        context.progress.stage("build", version)
        began = time.monotonic()
        build.compile_kernel(make, new / "headers", context.progress)
        make_seconds = time.monotonic() - began
    build.collect(directory, new)
    return Kernel(
        key=plan.key,
        release=(directory / "include/config/kernel.release").read_text().strip(),
        image="",
        toolchain=plan.tools,
        source=plan.source.identity,
        series=plan.patched.identity,
        configuration=_configuration(plan.features, new / "config", notes),
        make_seconds=make_seconds,
    )


def _publish(kernel: Kernel, new: Path, workspace: Workspace) -> Path:
    """Give a new entry its record and its place, and return that."""
    atomic_write(new / "manifest.json", to_json(kernel))
    entry = workspace.room("kernels") / kernel.key
    if entry.exists() and _recorded(entry) is None:
        shutil.rmtree(entry)  # damaged by somebody's hand; nobody can be using it
    workspace.publish(new, entry)
    return entry


def _configuration(
    features: tuple[str, ...], final: Path, notes: tuple[str, ...]
) -> ConfigIdentity:
    """Return the record of a final ``.config``."""
    has_hgm = fragments.values(final.read_text()).get(HGM_SYMBOL) == "y"
    return ConfigIdentity(features=features, digest=file_digest(final), notes=notes, hgm=has_hgm)


def _obtain_image(spec: SourceSpec, request: KernelRequest, context: Context) -> Kernel:
    """Return a kernel that somebody built, as a copy in the cache that no rebuild changes."""
    if request.features or request.series not in ("", "none"):
        raise SourceError(
            f"--kernel {spec.text} is built already; --series and --config come too late",
            hint="give its source with tree: or git:",
        )
    path = Path(spec.where)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(
            f"--kernel {spec.text}: {path}: {error.strerror}", hint="check the path"
        ) from error
    return _publish_image(path, data, spec, context)


def _publish_image(path: Path, data: bytes, spec: SourceSpec, context: Context) -> Kernel:
    from harness.kernel import bzimage  # decompressors, which a source does without

    release = bzimage.release(data, str(path))
    bzimage.check_whole(data, str(path))
    text = bzimage.config_beside(path, release)
    key = digest(RECIPE, data, text or "")
    checksum = hashlib.sha256(data).hexdigest()
    identity = SourceIdentity(spec=spec.text, kind="image", origin=f"{path}, sha256 {checksum}")
    known = _recorded(context.workspace.cache / "kernels" / key)
    if known is not None:
        return msgspec.structs.replace(known, source=identity)
    if text is None:
        text = bzimage.config_inside(data, context.workspace, context.deadline)
    with context.workspace.unfinished("kernel") as new:
        (new / "bzImage").write_bytes(data)
        configuration = ConfigIdentity(known=False)
        if text is not None:
            (new / "config").write_text(text)
            configuration = _configuration((), new / "config", ())
        kernel = Kernel(
            key=key,
            release=release,
            image="",
            source=identity,
            series=SeriesIdentity(spec="none"),
            configuration=configuration,
        )
        entry = _publish(kernel, new, context.workspace)
    return _located(kernel, entry)
