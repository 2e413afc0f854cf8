# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck bench build` and `edit`: what the harness adds to make."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from harness.arch import arch
from harness.context import Context
from harness.kernel.obtain import KernelRequest, obtain, resolve_request
from harness.records.base import from_json
from harness.records.bench import Ratio
from harness.records.kernel import Kernel
from harness.reproducer import kernel_words, probe_words
from harness.selfcheck.baseline import BareTree, hgm, own_cache

_EDITED = "mm/hugetlb.c"
_PROBE = "baseline/memfd-alias/2M"


def build(request: KernelRequest, rounds: int, context: Context) -> tuple[Ratio, ...]:
    """Compare `hgm kernel build` with a bare make of the same targets, in turn.

    Each has its own copy of the source, every other round the bare make comes first, and the disk
    is synced before each.

    Returns:
        The ratio of wall times; that of make alone, without copying and configuring the source;
        and that of processor times.

    Raises:
        CommandFailed: if a build fails.
    """
    kernel = obtain(request, context, build_log=Path(os.devnull))
    ours, make_seconds, bare = [], [], []

    def hgm_build() -> None:
        with own_cache(context.workspace) as own:
            words = ("kernel", "build", *kernel_words(request), "--log", os.devnull)
            ours.append(hgm(words, own, context))
            make_seconds.append(_made_in(next((own.cache / "kernels").iterdir())))

    def bare_make() -> None:
        with own_cache(context.workspace) as own:
            bare.append(BareTree(own, arch(kernel.arch), context).build(kernel, "headers_install"))

    sides = [("hgm kernel build", hgm_build), ("make", bare_make)]
    for number in range(rounds):
        for name, build_once in sides:
            context.progress.stage("bench", f"round {number + 1} of {rounds}: {name}")
            build_once()
        sides.reverse()
    wall = [each.wall for each in bare]
    return (
        _ratio("hgm kernel build", [each.wall for each in ours], wall),
        _ratio("its make", make_seconds, wall),
        _ratio("its CPU time", [each.cpu for each in ours], [each.cpu for each in bare]),
    )


def _ratio(what: str, seconds: Sequence[float], base: Sequence[float]) -> Ratio:
    return Ratio(what=what, base="bare make", seconds=tuple(seconds), base_seconds=tuple(base))


def edit(request: KernelRequest, rounds: int, context: Context) -> tuple[Ratio, Ratio]:
    """Compare `hgm run` after a change of one line with a bare incremental make.

    The line is changed in a copy of the source; the rest was built in both build directories.

    Returns:
        The ratio of the full makes; that of the changed line.

    Raises:
        CommandFailed: if a build or a run fails.
    """
    parts = resolve_request(request, context)
    with own_cache(context.workspace) as own:
        context.progress.stage("bench", "copying the source")
        tree = BareTree(own, arch(request.arch), context)
        tree.switch(parts.source.tree)
        edited = KernelRequest(
            source=f"tree:{tree.source}", features=request.features, arch=request.arch
        )
        run = ("run", *kernel_words(edited), *probe_words((_PROBE,)))
        run = (*run, "--runs-dir", str(own.cache / "runs"))
        context.progress.stage("bench", "a full build by each")
        hgm(run, own, context)
        built = next((own.cache / "kernels").iterdir())
        tree.configure(built / "config")
        everything = _ratio("make of everything", [_made_in(built)], [tree.make().wall])
        pairs = []
        for number in range(rounds):
            context.progress.stage("bench", f"round {number + 1} of {rounds}")
            line = f'static const char hgm_bench_{number}[] __used = "{number}";\n'
            with (tree.source / _EDITED).open("a") as file:
                file.write(line)
            base = tree.make()
            pairs.append((hgm(run, own, context), base))
    what = "one line, to the verdict"
    line_ratio = _ratio(what, [each.wall for each, _ in pairs], [base.wall for _, base in pairs])
    return everything, line_ratio


def _made_in(entry: Path) -> float:
    """Return the seconds that make took for a kernel of the cache."""
    return from_json((entry / "manifest.json").read_bytes(), Kernel).make_seconds
