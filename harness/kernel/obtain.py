# SPDX-License-Identifier: GPL-2.0-only
"""The interface of the kernel stages: obtain a kernel, its source or its configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from harness import cache
from harness.arch import arch
from harness.context import Context
from harness.errors import SourceError, SpecError
from harness.kernel import (
    config,
    debian,
    finished,
    fragments,
    point_release,
    registry,
    series,
    source,
    specs,
    toolchain,
)
from harness.kernel.config import FinalConfig
from harness.kernel.finished import BuildInputs
from harness.kernel.fragments import Fragment
from harness.kernel.git import Store
from harness.kernel.kconfig import SymbolFacts
from harness.kernel.series import Patched, Series, check
from harness.kernel.series.check import SeriesCheck
from harness.kernel.source import Source
from harness.kernel.specs import SourceSpec
from harness.records.base import Record
from harness.records.kernel import (
    ConfigIdentity,
    Kernel,
    KernelParts,
    PatchIdentity,
    SourceIdentity,
)

#: Is given a kernel that is being built, once its UAPI headers are there: before all is compiled.
HeadersReady = Callable[[Kernel], None]

#: Is given what a kernel is made of whenever more of it is known, and the ``.config`` if that is.
ToldParts = Callable[[KernelParts, str], None]


class KernelRequest(Record, frozen=True, kw_only=True):
    """Which kernel is wanted.

    Attributes:
        source: ``--kernel``'s argument.
        series: ``--series``'s argument.
        mail_from: ``--mail-from``'s argument: where ``lore:`` finds mail; empty for the default.
        resolve: ``--resolve``'s argument: a directory of replacement patches; empty for none.
        fuzz: ``--fuzz``: whether a patch may apply with less context than it has.
        features: ``--config``'s arguments: names of fragments, or paths of ``.config`` files.
        first: how many of the series' patches to apply; None for all.
        extra: ``--with``'s arguments: patches to put on top of these: paths of files, or numbers of
            patches of the series.
        refresh: fetch the newest version of a source that is already in the cache.
        arch: the kernel's architecture, as ``uname -m`` prints it.
    """

    source: str
    series: str = "none"
    mail_from: str = ""
    resolve: str = ""
    fuzz: bool = False
    features: tuple[str, ...] = ()
    first: int | None = None
    extra: tuple[str, ...] = ()
    refresh: bool = False
    arch: str


class ResolvedRequest(Record, frozen=True, kw_only=True):
    """The source and patches that a request names, before any build.

    Attributes:
        source: the source.
        version: its ``VERSION.PATCHLEVEL.SUBLEVEL``.
        patches: of the whole series, in order.
        extra: those that `KernelRequest.extra` puts on top of it.
    """

    source: SourceIdentity
    version: str
    patches: tuple[PatchIdentity, ...] = ()
    extra: tuple[PatchIdentity, ...] = ()


def check_request(request: KernelRequest, context: Context) -> None:
    """Find the mistakes in a request that can be known before anything is fetched or built.

    Raises:
        UserError: if there is one: a source, a patch or a fragment that is absent or damaged.
    """
    spec = specs.parse_source(request.source)
    series_spec = specs.parse_series(request.series, request.mail_from)
    cache.limit()
    if spec.kind == "image":
        _require_unchanged(spec, request)
        return
    guest = arch(request.arch)
    fragments.merge(fragments.load(request.features, guest))
    if series_spec.kind != "lore":  # its mail is fetched
        _patches(request, context)
    source.check(spec, guest, context)  # of Debian's, it may have to fetch package lists


def _nobody(parts: KernelParts, config_text: str) -> None:
    """Ignore what a kernel is made of."""


def nothing_beside(kernel: Kernel) -> None:
    """Do nothing beside make."""


def obtain(
    request: KernelRequest,
    context: Context,
    *,
    build_log: Path,
    tell: ToldParts = _nobody,
    headers_ready: HeadersReady = nothing_beside,
) -> Kernel:
    """Return the kernel that a request describes, built unless it is in the cache.

    Args:
        request: what is wanted.
        context: cache, deadline, progress.
        build_log: takes make's output; it is not created if make does not run.
        tell: is told what the kernel is made of before anything of it can fail.
        headers_ready: may begin what needs the headers, before make compiles everything.

    Raises:
        UserError: for a spec, source, patch, symbol or line of code that the caller can fix.
        InfrastructureError: for what this host lacks.
    """
    spec = specs.parse_source(request.source)
    keep = cache.limit()  # an invalid limit is reported now, not after a build
    if spec.kind == "image":
        return _obtain_image(spec, request, context)
    wanted, tools = _fragments_and_tools(request, context)
    with _pinned_store(context):
        inputs = _inputs(request, wanted, tools, context, build_log, tell)
        kernel = finished.find(inputs, context.workspace)
        if kernel is not None:
            return kernel
        tell(inputs.parts, inputs.final.text)
        from harness.kernel.build import build  # 40 ms that a cached kernel does without

        kernel = build(inputs, context, build_log, headers_ready)
    with cache.pin(Path(kernel.image).parent):
        cache.prune(context.workspace, keep, context.progress, remembered=True)
    return kernel


def configuration(request: KernelRequest, context: Context, *, log: Path) -> FinalConfig:
    """Return the configuration of the kernel that a request describes; nothing is built.

    Raises:
        SpecError: for ``image:``, which has its configuration.
        UserError, InfrastructureError: as `obtain`.
    """
    wanted, tools = _of_a_source(request, context)
    with _pinned_store(context):
        return _inputs(request, wanted, tools, context, log).final


def explained(
    request: KernelRequest, names: Sequence[str], context: Context, *, log: Path
) -> tuple[SymbolFacts, ...]:
    """Return why symbols of a request's configuration have their values.

    Args:
        request: what is wanted.
        names: of the symbols, without ``CONFIG_``.
        context: cache, deadline, progress.
        log: takes make's output.

    Raises:
        SpecError: for a symbol that the kernel does not have, and as `configuration`.
        UserError, InfrastructureError: as `obtain`.
    """
    wanted, tools = _of_a_source(request, context)
    with _pinned_store(context):
        _, patched = _patched(request, context)
        return config.explain(names, patched, wanted, arch(request.arch), tools, context, log)


def _of_a_source(request: KernelRequest, context: Context) -> tuple[tuple[Fragment, ...], str]:
    """Return what `_fragments_and_tools` does; raise SpecError for a kernel that is built."""
    spec = specs.parse_source(request.source)
    if spec.kind == "image":
        raise _already_built(spec)
    return _fragments_and_tools(request, context)


def _fragments_and_tools(
    request: KernelRequest, context: Context
) -> tuple[tuple[Fragment, ...], str]:
    """Return a request's fragments and the toolchain; what is wrong with them comes first."""
    guest = arch(request.arch)
    wanted = fragments.load(request.features, guest)
    fragments.merge(wanted)
    toolchain.require(guest)
    return wanted, toolchain.identify(guest, context.workspace, context.deadline)


def _inputs(
    request: KernelRequest,
    wanted: tuple[Fragment, ...],
    tools: str,
    context: Context,
    log: Path,
    tell: ToldParts = _nobody,
) -> BuildInputs:
    """Return what a request's kernel is built from: its source is fetched, patched, configured."""

    def patching(parts: KernelParts) -> None:
        tell(msgspec.structs.replace(parts, toolchain=tools), "")

    found, patched = _patched(request, context, patching)
    final = config.configure(patched, wanted, arch(request.arch), tools, context, log)
    return BuildInputs(found, patched, final, tools, request.features, arch(request.arch))


def _patched(
    request: KernelRequest,
    context: Context,
    tell: Callable[[KernelParts], None] = lambda parts: None,
) -> tuple[Source, Patched]:
    """Return a request's source, which is fetched, without and with its patches."""
    spec = specs.parse_source(request.source)
    series_spec = specs.parse_series(request.series, request.mail_from)
    # An invalid series is reported before a fetch.
    whole = _read_series(request, context)
    patches = series.with_extra(whole, request.first, request.extra, context)
    found = point_release.resolve(spec, whole, context, fuzz=request.fuzz, refresh=request.refresh)
    _warn_of_version(series_spec.text, found.version, context)
    parts = KernelParts(
        source=found.identity,
        series=series.planned(patches),
        config=ConfigIdentity(features=request.features, known=False),
    )
    tell(parts)
    patched = series.apply(patches, found, context, fuzz=request.fuzz)
    tell(msgspec.structs.replace(parts, series=patched.identity))
    return found, patched


def _already_built(spec: SourceSpec) -> SpecError:
    return SpecError(
        f"--kernel {spec.text} is already built", hint="give its source with tree: or git:"
    )


def _obtain_image(spec: SourceSpec, request: KernelRequest, context: Context) -> Kernel:
    """Return a kernel that was built elsewhere."""
    _require_unchanged(spec, request)
    from harness.kernel.prebuilt import obtain_image  # decompressors that a source does without

    kernel = obtain_image(spec, context)
    if kernel.arch != request.arch:
        raise SourceError(
            f"--kernel {spec.text} is for {kernel.arch}", hint=f"use --arch {kernel.arch}"
        )
    return kernel


def _require_unchanged(spec: SourceSpec, request: KernelRequest) -> None:
    """Refuse an image that is not there, or that is to be changed."""
    if request.features or request.extra or request.series not in ("", "none"):
        raise SourceError(
            f"--kernel {spec.text} is already built: --series, --with and --config cannot change "
            "it",
            hint="give its source with tree: or git:",
        )
    source.check_file(spec)


def _read_series(request: KernelRequest, context: Context) -> Series:
    """Return a request's series with its replacements from ``--resolve``."""
    spec = specs.parse_series(request.series, request.mail_from)
    if request.resolve and spec.kind == "none":
        raise SpecError(
            "--resolve replaces patches of a series, and there is none",
            hint="give --series, or leave out --resolve",
        )
    return series.read(spec, context, resolve_from=request.resolve)


def _patches(request: KernelRequest, context: Context) -> Series:
    """Return the patches that a request applies, in order."""
    whole = _read_series(request, context)
    return series.with_extra(whole, request.first, request.extra, context)


def _warn_of_version(series_name: str, version: str, context: Context) -> None:
    if warning := registry.version_warning(series_name, version):
        context.progress.note(warning)


def resolve_request(request: KernelRequest, context: Context) -> ResolvedRequest:
    """Return the source and patches that a request names; the patches are applied once.

    Raises:
        SpecError: for an unknown form, and for ``image:``, to which no patch can be applied.
        SourceError, SeriesError: as `obtain`.
    """
    spec = specs.parse_source(request.source)
    if spec.kind == "image":
        raise _already_built(spec)
    with _pinned_store(context):
        whole = _read_series(request, context)
        patches = series.with_extra(whole, None, request.extra, context)
        found = point_release.resolve(
            spec, whole, context, fuzz=request.fuzz, refresh=request.refresh
        )
        patched = series.apply(patches, found, context, fuzz=request.fuzz)
    applied, count = patched.identity.patches, len(whole.patches)
    return ResolvedRequest(
        source=found.identity,
        version=found.version,
        patches=applied[:count],
        extra=applied[count:],
    )


def source_used(request: KernelRequest, context: Context) -> str:
    """Return the ``--kernel`` argument of the very source that a request's kernel is made of.

    That is another one than the request's where its series needs an older point release.

    Raises:
        SourceError, SeriesError: as `obtain`.
    """
    spec = specs.parse_source(request.source)
    if spec.kind != "debian":
        return request.source
    with _pinned_store(context):
        whole = _read_series(request, context)
        found = point_release.resolve(
            spec, whole, context, fuzz=request.fuzz, refresh=request.refresh
        )
    if found.identity.refused is None:
        return request.source
    package, _, version = debian.named(found.identity.origin).partition(" ")
    return f"debian:{package}={version}"


def patch_texts(request: KernelRequest, context: Context) -> tuple[str, ...]:
    """Return the patches of a request's whole series as texts, in order."""
    patches = _read_series(request, context).patches
    return tuple(patch.data.decode(errors="replace") for patch in patches)


def patch_stat(request: KernelRequest, number: int, context: Context) -> str:
    """Return what one patch of a request's series changes, as ``git apply --stat`` prints it.

    Args:
        request: whose series.
        number: which patch, from 1.
        context: cache, deadline, progress.
    """
    patch = _read_series(request, context).patches[number - 1]
    with context.workspace.unfinished("stat") as room:
        (room / "patch").write_bytes(patch.data)
        argv = ["apply", "--stat", f"-p{patch.strip}", str(room / "patch")]
        return Store.of(context).git(argv, context.deadline).stdout.rstrip()


def fetch(text: str, context: Context, *, refresh: bool = True) -> SourceIdentity:
    """Fetch a source without building it, the newest version of it unless ``refresh`` is False.

    Raises:
        SpecError: for an unknown form, and for ``image:``, which needs no fetch.
        SourceError: as `harness.kernel.source.resolve`.
    """
    spec = specs.parse_source(text)
    if spec.kind == "image":
        raise SpecError(f"{text} is not a source", hint="an image: needs no fetch")
    with _pinned_store(context):
        return source.resolve(spec, context, refresh=refresh).identity


def check_series(request: KernelRequest, context: Context) -> SeriesCheck:
    """Return how each patch of a request's series applies to its source; nothing is built.

    Raises:
        UserError: for a source or series that cannot be read at all.
    """
    spec = specs.parse_source(request.source)
    series_spec = specs.parse_series(request.series, request.mail_from)
    if spec.kind == "image" or series_spec.kind == "none":
        raise SpecError(
            "a series check needs a source and a series",
            hint="such as --kernel tree:PATH --series dir:PATH",
        )
    with _pinned_store(context):
        patches = _patches(request, context)
        found = source.resolve(spec, context)
        _warn_of_version(series_spec.text, found.version, context)
        return check.check(patches, found, context, fuzz=request.fuzz)


@contextlib.contextmanager
def _pinned_store(context: Context) -> Iterator[None]:
    with cache.pin(Store.of(context).path):
        yield
