# SPDX-License-Identifier: GPL-2.0-only
"""Which kernel was under test: its source, series and configuration, and where its parts lie."""

from __future__ import annotations

from typing import Literal

from harness.records.base import FIRST_ARCH, Record

#: How a patch applied; see `PatchIdentity`.
How = Literal["exact", "3way", "offset", "fuzz", "planned"]


class RefusedSource(Record, frozen=True, kw_only=True):
    """A newer version of a source, which was not used because the series does not apply to it.

    Attributes:
        origin: as in `SourceIdentity`.
        tree: its git tree ID.
        reason: the patch that does not apply, and why.
    """

    origin: str
    tree: str
    reason: str


class SourceIdentity(Record, frozen=True, kw_only=True):
    """Which kernel source it was.

    Attributes:
        spec: what the caller wrote, such as ``debian:linux-source-6.12``.
        kind: the spec's form: ``debian``, ``tree``, ``git``, ``tar`` or ``image``.
        origin: what it became: package and version, commit, or the file's SHA-256.
        tree: git tree ID of the source without any series; empty for ``image``.
        refused: the version that the spec means, where an older one was used because the series
            does not apply to it; None otherwise.
    """

    spec: str
    kind: str
    origin: str
    tree: str = ""
    refused: RefusedSource | None = None


class PatchIdentity(Record, frozen=True, kw_only=True):
    """One patch of a series.

    Attributes:
        name: its file name, or its subject where it came by mail or from git.
        digest: SHA-256 of the text that was applied.
        how: ``exact``; ``3way`` (merged with the blobs it was made from); ``offset`` (all of its
            lines, elsewhere); ``fuzz`` (with less context than it has); ``planned`` (it was to be
            applied, see `KernelParts`).
        detail: which files or hunks, where it is not ``exact``.
        resolved: path of the replacement from ``--resolve``; empty for the series' own patch.
        replaces: SHA-256 of the series' own patch where it was replaced; empty otherwise.
        message_id: of the mail that it came in, without ``<>``; empty if it did not come by mail.
    """

    name: str
    digest: str
    how: How = "exact"
    detail: str = ""
    resolved: str = ""
    replaces: str = ""
    message_id: str = ""


class SeriesIdentity(Record, frozen=True, kw_only=True):
    """Which patches were put on top.

    Attributes:
        spec: what the caller wrote, or ``none``.
        patches: in the order they were applied.
        tree: git tree ID of the patched source; that of the source if it has no patches.
        notes: one line for each choice made while reading it, such as which revision was taken.
        message_id: of its cover letter, or of its first patch if it has none, without ``<>``;
            empty if it did not come by mail.
        subject: of that mail.
    """

    spec: str
    patches: tuple[PatchIdentity, ...] = ()
    tree: str = ""
    notes: tuple[str, ...] = ()
    message_id: str = ""
    subject: str = ""


class ConfigIdentity(Record, frozen=True, kw_only=True):
    """Which configuration it was built with.

    Attributes:
        features: the names asked for, in order, without the base.
        digest: SHA-256 of the final ``.config``; empty where it is unknown.
        known: False for an image whose configuration could not be found, and before it is made.
        notes: one line for each symbol that was requested and that the kernel lacks, and why.
        hgm: whether CONFIG_HUGETLB_HIGH_GRANULARITY_MAPPING is on; None where unknown.
    """

    features: tuple[str, ...] = ()
    digest: str = ""
    known: bool = True
    notes: tuple[str, ...] = ()
    hgm: bool | None = None


class KernelParts(Record, frozen=True, kw_only=True):
    """What a kernel is to be made of, as far as that is known before it is there.

    Attributes:
        source: which source.
        series: which patches; its ``tree`` is empty, and its patches are ``planned``, until all of
            them have been applied.
        config: which configuration; not ``known`` until Kconfig has made it.
        toolchain: compiler and linker, one line.
    """

    source: SourceIdentity
    series: SeriesIdentity
    config: ConfigIdentity
    toolchain: str = ""


class Kernel(Record, frozen=True, kw_only=True):
    """A kernel that can be booted, and where its parts lie in the cache.

    Attributes:
        key: content hash of everything that went into it.
        release: what ``uname -r`` will print.
        arch: its architecture, as ``uname -m`` prints it.
        image: absolute path of what QEMU boots: a bzImage, or an arm64 Image.
        config: absolute path of the ``.config``; empty where unknown.
        headers: absolute path of its UAPI headers (an ``include`` directory); empty where it
            has none, as for ``image``.
        vmlinux: absolute path of the ELF file with symbols; empty where there is none.
        coverage: absolute path of the sources whose lines it counts, each with the compiler's
            ``.gcno`` beside it; empty where it counts none.
        modules: absolute path of a directory with the modules that the guest's init loads, in the
            order of their names; empty where they are built in.
        toolchain: compiler and linker, one line.
        source: which source.
        series: which patches.
        configuration: which configuration.
        cached: whether it was found finished in the cache.
        build_seconds: wall time of the build that made it.
        make_seconds: those of them that make took, for the kernel and its UAPI headers.
    """

    key: str
    release: str
    image: str
    source: SourceIdentity
    series: SeriesIdentity
    configuration: ConfigIdentity
    arch: str = FIRST_ARCH
    config: str = ""
    headers: str = ""
    vmlinux: str = ""
    coverage: str = ""
    modules: str = ""
    toolchain: str = ""
    cached: bool = False
    build_seconds: float = 0.0
    make_seconds: float = 0.0


class KernelSummary(Record, frozen=True, kw_only=True):
    """The kernel's part of ``result.json``.

    Attributes:
        release: ``uname -r``.
        key: content hash of everything that went into it.
        source: which source.
        series: which patches.
        config: which configuration.
        toolchain: what built it; empty where unknown.
        cached: whether no build was needed.
        build_seconds: wall time of the build that made it.
        make_seconds: those of them that make took, for the kernel and its UAPI headers.
    """

    release: str
    key: str
    source: SourceIdentity
    series: SeriesIdentity
    config: ConfigIdentity
    toolchain: str = ""
    cached: bool = False
    build_seconds: float = 0.0
    make_seconds: float = 0.0
