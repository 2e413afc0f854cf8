# SPDX-License-Identifier: GPL-2.0-only
"""From a patched source and its fragments to a finished kernel in the cache."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from harness import cache
from harness.arch import Arch
from harness.context import Context
from harness.errors import CommandFailed
from harness.kernel import finished, interrupted
from harness.kernel.finished import BuildInputs
from harness.kernel.git import Store
from harness.kernel.make import Make
from harness.kernel.worktree_pool import Worktree
from harness.progress import Progress
from harness.records.kernel import Kernel


def build(
    inputs: BuildInputs, context: Context, log: Path, headers_ready: Callable[[Kernel], None]
) -> Kernel:
    """Build a kernel under its work tree's lock and publish it.

    A process that waited for the lock may find that the kernel has been built meanwhile.

    Args:
        inputs: what it is built from.
        context: cache, deadline, progress.
        log: takes make's output.
        headers_ready: is called if everything has to be compiled, once the UAPI headers are there.

    Raises:
        ConfigError: for a symbol that this source cannot have.
        CompileError: with the first error of the build.
    """
    workspace, progress, deadline = context.workspace, context.progress, context.deadline
    worktree = _worktree(inputs, context)
    with workspace.lock(worktree.lock, deadline, progress):
        known = finished.find(inputs, workspace)
        if known is not None:
            return known
        began = time.monotonic()
        progress.stage("checkout", inputs.patched.version)
        _switch(inputs, worktree, context)
        with workspace.unfinished("kernel") as new:
            kernel = _make(inputs, worktree, context, log, new, headers_ready)
            kernel = msgspec.structs.replace(kernel, build_seconds=time.monotonic() - began)
            kernel = finished.publish(kernel, new, workspace)
        for used in (worktree.root, workspace.cache / "ccache"):
            cache.touch(used)
    return kernel


def _worktree(inputs: BuildInputs, context: Context) -> Worktree:
    """Return where to build."""
    workspace, lineage = context.workspace, inputs.source.lineage
    if _is_user_tree(inputs):
        return Worktree.of(workspace, lineage)
    tree, store = inputs.patched.identity.tree, Store.of(context)
    return Worktree.nearest(workspace, lineage, tree, store, context.deadline)


def _is_user_tree(inputs: BuildInputs) -> bool:
    """Return whether the source is a ``tree:``, whose private work tree no other source may use."""
    return inputs.source.identity.kind == "tree"


def _switch(inputs: BuildInputs, worktree: Worktree, context: Context) -> None:
    """Make the work tree hold the patched tree."""
    tree = inputs.patched.identity.tree
    worktree.switch(tree, Store.of(context), context.deadline)
    if not _is_user_tree(inputs):
        worktree.offer(tree)


def _make(
    inputs: BuildInputs,
    worktree: Worktree,
    context: Context,
    log: Path,
    new: Path,
    headers_ready: Callable[[Kernel], None],
) -> Kernel:
    """Compile in a work tree; copy the kernel's parts to ``new``."""
    version, deadline, final = inputs.patched.version, context.deadline, inputs.final
    output = worktree.build(inputs.build_key, final.text, deadline)
    cached = context.workspace.cache
    make = Make(worktree.source, output, deadline, log, cached, inputs.arch, final.variables)
    kernel = Kernel(
        key=inputs.key,
        arch=inputs.arch.name,
        release="",
        image="",
        toolchain=inputs.tools,
        source=inputs.source.identity,
        series=inputs.patched.identity,
        configuration=inputs.configuration,
    )
    headers = new / "headers"
    known = msgspec.structs.replace(
        kernel, config=str(output / ".config"), headers=str(headers / "include")
    )
    with interrupted.guarded(output):
        _write_config(output / ".config", final.text)
        context.progress.stage("build", version)
        began = time.monotonic()
        _compile(make, headers, context.progress, lambda: headers_ready(known))
        make_seconds = time.monotonic() - began
    if (output / ".config").read_text() != final.text:
        raise CommandFailed(
            "make changed the configuration that was made for this source",
            hint="does a Kconfig file of it read a file that is neither a script nor a Kconfig?",
            log=log,
        )
    _collect(output, new, inputs.arch)
    _collect_notes(worktree.source, output, new, final.counted)
    release = (output / "include/config/kernel.release").read_text().strip()
    return msgspec.structs.replace(kernel, release=release, make_seconds=make_seconds)


def _write_config(path: Path, text: str) -> None:
    """Write a build directory's ``.config``, unless it is the same: make goes by its mtime."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _compile(
    make: Make, headers: Path, progress: Progress, headers_ready: Callable[[], None]
) -> None:
    """Build what QEMU boots and install the UAPI headers into ``headers``.

    In a new output directory the headers come first; elsewhere make would read its files twice.
    """
    full = not (make.build / "vmlinux").exists()
    install = (f"INSTALL_HDR_PATH={headers}", "headers_install")
    if full:
        make.run(install)
        headers_ready()
    objects = make.run((*install, make.arch.image), progress)
    if full:
        make.remember(objects)


def _collect(output: Path, new: Path, arch: Arch) -> None:
    """Copy what a finished build made into a new cache entry."""
    parts = {f"arch/{arch.directory}/boot/{arch.image}": arch.image, "vmlinux": "vmlinux"}
    parts |= {"System.map": "System.map", ".config": "config"}
    for made, name in parts.items():
        shutil.copyfile(output / made, new / name)


def _collect_notes(source: Path, output: Path, new: Path, counted: Sequence[str]) -> None:
    """Copy the counted sources, each with what gcov needs to know about it."""
    for path in map(Path, counted):
        notes = (output / path).with_suffix(".gcno")
        if notes.exists():
            target = new / "coverage" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, target)
            shutil.copyfile(notes, target.with_suffix(".gcno"))
