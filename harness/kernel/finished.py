# SPDX-License-Identifier: GPL-2.0-only
"""Finished kernels in the cache: keyed by everything that went into them, published whole."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness import cache
from harness.arch import Arch, arch
from harness.kernel import fragments
from harness.kernel.config import FinalConfig
from harness.kernel.series import Patched
from harness.kernel.source import Source
from harness.records.base import read_json, to_json
from harness.records.kernel import ConfigIdentity, Kernel, KernelParts
from harness.workspace import Workspace, atomic_write, digest

#: Raised whenever the same inputs would no longer give the same cache entry.
RECIPE = "2"

#: The symbol whose value every record has.
HGM_SYMBOL = "HUGETLB_HIGH_GRANULARITY_MAPPING"


@dataclass(frozen=True)
class BuildInputs:
    """Everything that a kernel is built from.

    Attributes:
        source: the source.
        patched: that source with its series applied.
        final: its configuration.
        tools: compiler and linker.
        features: the fragments' names as the caller gave them.
        arch: the kernel's architecture.
    """

    source: Source
    patched: Patched
    final: FinalConfig
    tools: str
    features: tuple[str, ...]
    arch: Arch

    @property
    def key(self) -> str:
        """Return the kernel's key in the cache: the hash of everything that goes into it."""
        tree, final = self.patched.identity.tree, self.final
        return digest(RECIPE, tree, self.tools, final.text, *final.variables, *final.counted)

    @property
    def build_key(self) -> str:
        """Return the hash of what all kernels share that one output directory can build."""
        return digest(RECIPE, self.tools, self.final.asked, *self.final.variables)

    @property
    def configuration(self) -> ConfigIdentity:
        """Return the record of the configuration."""
        return config_identity(self.features, self.final.text, self.final.notes)

    @property
    def parts(self) -> KernelParts:
        """Return the record of all of it."""
        return KernelParts(
            source=self.source.identity,
            series=self.patched.identity,
            config=self.configuration,
            toolchain=self.tools,
        )


def find(inputs: BuildInputs, workspace: Workspace) -> Kernel | None:
    """Return the cached kernel, recorded as this request got it; None if it is not built yet."""
    known = recorded(workspace.cache / "kernels" / inputs.key)
    if known is None:
        return None
    return msgspec.structs.replace(
        known,
        source=inputs.source.identity,
        series=inputs.patched.identity,
        configuration=inputs.configuration,
    )


def recorded(entry: Path) -> Kernel | None:
    """Return the kernel in a cache entry and mark it as used now; None if there is none."""
    known = read_json(entry / "manifest.json", Kernel)
    if known is None:
        return None
    cache.touch(entry)
    return msgspec.structs.replace(_located(known, entry), cached=True)


def publish(kernel: Kernel, new: Path, workspace: Workspace) -> Kernel:
    """Move a new kernel's directory, with its manifest, into the cache; return it with its paths.

    Args:
        kernel: its record, without paths.
        new: an unfinished directory with its files.
        workspace: the cache.
    """
    atomic_write(new / "manifest.json", to_json(kernel))
    entry = workspace.room("kernels") / kernel.key
    if entry.exists() and recorded(entry) is None:
        shutil.rmtree(entry)  # damaged by hand; no process can be using it
    workspace.publish(new, entry)
    return _located(kernel, entry)


def _located(kernel: Kernel, entry: Path) -> Kernel:
    """Return a kernel with the paths in a cache entry; the path of an absent part is empty."""

    def path(name: str) -> str:
        return str(entry / name) if (entry / name).exists() else ""

    return msgspec.structs.replace(
        kernel,
        image=path(arch(kernel.arch).image),
        config=path("config"),
        headers=path("headers/include"),
        vmlinux=path("vmlinux"),
        coverage=path("coverage"),
        modules=path("modules"),
    )


def config_identity(features: tuple[str, ...], text: str, notes: tuple[str, ...]) -> ConfigIdentity:
    """Return the record of a final ``.config``."""
    checksum = hashlib.sha256(text.encode()).hexdigest()
    has_hgm = fragments.values(text).get(HGM_SYMBOL) == "y"
    return ConfigIdentity(features=features, digest=checksum, notes=notes, hgm=has_hgm)
