# SPDX-License-Identifier: GPL-2.0-only
"""What the harness adds to make: a whole build, and one changed line up to the verdict.

Both work in a cache of their own that is removed afterwards; it shares the sources, the guest image
and the compiled probes of the user's. The bare make beside it is what a developer types: all cores,
gcc, the same configuration and targets, no compiler cache.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import command, records
from harness.campaigns.bench import Ratio
from harness.errors import InfrastructureError
from harness.kernel.git import Store
from harness.kernel.obtain import KernelRequest, ingredients, obtain
from harness.kernel.slot import Slot
from harness.records import Kernel
from harness.session import Tools
from harness.workspace import Workspace

#: Rooms of the cache that cost minutes to fill and change nothing in what is measured.
_SHARED = ("sources", "sources.git", "images", "recipes", "probes", "accel", "facts")

_EDITED = "mm/hugetlb.c"
_PROBE = "baseline/memfd-alias/2M"


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        wall: seconds on the clock.
        cpu: seconds of processor time, all its processes together.
    """

    wall: float
    cpu: float


def build(request: KernelRequest, rounds: int, tools: Tools) -> tuple[Ratio, ...]:
    """Compare a whole `hgm kernel build` with a bare make of the same targets, in turn.

    Each has a copy of the source to itself, every other round the bare make comes first, and what
    one has written is on the disk before the other begins.

    Returns:
        The ratio of wall times; that of make's wall time alone, without the private copy of the
        source and its configuration; and that of processor times.

    Raises:
        CommandFailed: if a build fails.
    """
    kernel = obtain(request, **tools.arguments(), build_log=Path(os.devnull))
    ours, make_seconds, bare = [], [], []

    def harness_builds() -> None:
        with _own_cache(tools.workspace) as own:
            words = ("kernel", "build", *_words(request), "--log", os.devnull)
            ours.append(_hgm(words, own, tools))
            make_seconds.append(_made_in(next((own.cache / "kernels").iterdir())))

    def developer_builds() -> None:
        with _own_cache(tools.workspace) as own:
            source = _developers_tree(kernel.series.tree, own, tools)
            _configure(source, own.cache / "bare", Path(kernel.config), tools)
            bare.append(_make(source, own.cache / "bare", tools, "headers_install"))

    sides = [("hgm kernel build", harness_builds), ("make", developer_builds)]
    for number in range(rounds):
        for name, build_once in sides:
            tools.progress.stage("bench", f"round {number + 1} of {rounds}: {name}")
            build_once()
        sides.reverse()
    wall = [each.wall for each in bare]
    return (
        _ratio("hgm kernel build", [each.wall for each in ours], wall),
        _ratio("its make", make_seconds, wall),
        _ratio("its CPU time", [each.cpu for each in ours], [each.cpu for each in bare]),
    )


def _ratio(what: str, seconds: Sequence[float], base: Sequence[float]) -> Ratio:
    return Ratio(what, "bare make", tuple(seconds), tuple(base))


def edit(request: KernelRequest, rounds: int, tools: Tools) -> tuple[Ratio, Ratio]:
    """Compare one changed line, from `hgm run` to its verdict, with a bare incremental make.

    The line is put into a copy of the source; each build directory has all the rest built.

    Returns:
        The ratio of the makes that built all the rest; that of the changed line.

    Raises:
        CommandFailed: if a build or a run fails.
    """
    parts = ingredients(request, **tools.arguments())
    with _own_cache(tools.workspace) as own:
        tools.progress.stage("bench", "a copy of the source")
        tree, bare = _developers_tree(parts.source.tree, own, tools), own.cache / "bare"
        features = [word for feature in request.features for word in ("--config", feature)]
        run = ("run", "--kernel", f"tree:{tree}", *features, "--probe", _PROBE)
        run = (*run, "--runs-dir", str(own.cache / "runs"))
        tools.progress.stage("bench", "everything built once by each")
        _hgm(run, own, tools)
        built = next((own.cache / "kernels").iterdir())
        _configure(tree, bare, built / "config", tools)
        everything = _ratio(
            "make of everything", [_made_in(built)], [_make(tree, bare, tools).wall]
        )
        pairs = []
        for number in range(rounds):
            tools.progress.stage("bench", f"round {number + 1} of {rounds}")
            line = f'static const char hgm_bench_{number}[] __used = "{number}";\n'
            with (tree / _EDITED).open("a") as file:
                file.write(line)
            base = _make(tree, bare, tools)
            pairs.append((_hgm(run, own, tools), base))
    what = "one line, to the verdict"
    line_ratio = _ratio(what, [each.wall for each, _ in pairs], [base.wall for _, base in pairs])
    return everything, line_ratio


def edit_text(everything: Ratio, one: Ratio) -> str:
    """Return the result of `edit` for people: a line's limit is on what is added, no ratio."""
    more = [a - b for a, b in zip(one.seconds, one.base_seconds, strict=True)]
    each = ", ".join(f"{seconds:.1f}" for seconds in more)
    added = f"added {statistics.median(more):.1f} s (median; {each})"
    return "\n".join((everything.text(), one.text(), added))


def _made_in(entry: Path) -> float:
    """Return the seconds that make took for a kernel of the cache."""
    return records.from_json((entry / "manifest.json").read_bytes(), Kernel).make_seconds


@contextlib.contextmanager
def _own_cache(workspace: Workspace) -> Iterator[Workspace]:
    with workspace.unfinished("bench") as room:
        for name in _SHARED:
            (room / name).symlink_to(workspace.room(name))
        yield Workspace(room)


def _words(request: KernelRequest) -> tuple[str, ...]:
    features = (word for feature in request.features for word in ("--config", feature))
    return ("--kernel", request.source, "--series", request.series, *features)


def _hgm(words: Sequence[str], own: Workspace, tools: Tools) -> Cost:
    argv = [sys.executable, "-m", "harness.cli", *words]
    return _cost(argv, tools, {"HGM_CACHE": str(own.cache)})


def _developers_tree(tree: str, own: Workspace, tools: Tools) -> Path:
    """Write a git tree's files to where a developer could have them, and return that."""
    slot = Slot(own.cache / "developer")
    slot.switch(tree, Store.of(tools.workspace, tools.deadline), tools.deadline)
    return slot.source


def _configure(source: Path, bare: Path, config: Path, tools: Tools) -> None:
    bare.mkdir()
    shutil.copyfile(config, bare / ".config")
    _cost(["make", "-C", str(source), f"O={bare}", "olddefconfig"], tools)


def _make(source: Path, bare: Path, tools: Tools, *more: str) -> Cost:
    jobs = len(os.sched_getaffinity(0))
    return _cost(["make", "-C", str(source), f"O={bare}", f"-j{jobs}", "bzImage", *more], tools)


def _cost(argv: Sequence[str], tools: Tools, env: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its good end and return what it took; it writes back nobody else's files."""
    os.sync()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = command.run(argv, tools.deadline, env=env or {}, ok=None)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.exit_code != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise InfrastructureError(
            f"a round of the benchmark ended with {done.exit_code}: {said[-1] if said else ''}",
            command=argv,
        )
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu)
