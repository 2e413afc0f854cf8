# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck bench`: benchmarks of the harness."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.history import store_options
from harness.cli.options import (
    Command,
    completed_by,
    json_option,
    kernel_options,
    kernel_request,
    markdown_option,
    open_context,
    probes_option,
    require_dask,
    show,
    subject_of,
    subject_options,
    timeout_option,
)

if TYPE_CHECKING:
    from harness.records.bench import Ratio


def _rounds(default: int) -> Callable[[Command], Command]:
    """Return a decorator that adds the option for the number of rounds."""
    return click.option(
        "--rounds",
        type=click.IntRange(min=1, max=100),
        default=default,
        show_default=True,
        metavar="N",
        help="How often each side is measured.",
    )


@click.group()
def bench() -> None:
    """Measure what the harness costs, as ratios on one machine."""


def _one_probe(command: Command) -> Command:
    """Add the options of a benchmark that runs one probe."""
    probe = click.option(
        "--probe",
        default="baseline/memfd-alias/2M",
        show_default=True,
        metavar="NAME",
        help="The probe to run.",
    )
    return subject_options(probe(_rounds(5)(command)))


@bench.command("boot")
@_one_probe
def bench_boot(**options: Any) -> int:
    """Compare a run of one probe with a bare boot in QEMU.

    Everything is cached. The bare guest powers off as soon as it has booted.
    """
    return _boot(fresh=False, **options)


@bench.command("snapshot")
@_one_probe
def bench_snapshot(**options: Any) -> int:
    """Compare a probe in a restored guest with a boot.

    Everything is cached, the snapshot too. The bare guest powers off as soon as it has booted.
    """
    return _boot(fresh=True, **options)


@bench.command("stages")
@subject_options
@_rounds(5)
def bench_stages(rounds: int, timeout: float, **options: Any) -> int:
    """Measure what each stage of a guest's boot costs.

    QEMU, firmware, kernel, init, login. Wall time, and QEMU's processor time, which depends less on
    the host's load.
    """
    from harness.selfcheck import bench_stages as benchmarks

    with open_context(timeout) as context:
        found = benchmarks.measure(subject_of(**options), rounds, context)
    for each in found:
        click.echo(each.text())
    return 0


def _boot(*, fresh: bool, probe: str, rounds: int, timeout: float, **options: Any) -> int:
    from harness.selfcheck import bench as benchmarks

    with open_context(timeout) as context:
        found = benchmarks.boot(subject_of(**options), probe, rounds, context, fresh=fresh)
    _echo(found)
    return 0


def _echo(ratios: Sequence[Ratio]) -> None:
    from harness.report.bench import ratio_lines

    for ratio in ratios:
        for line in ratio_lines(ratio):
            click.echo(line)


@bench.command("build")
@kernel_options
@timeout_option
@_rounds(1)
def bench_build(rounds: int, timeout: float, **options: Any) -> int:
    """Compare `hgm kernel build` with a bare make.

    Both start with empty caches.
    """
    from harness.selfcheck import bench_build as benchmarks

    with open_context(timeout) as context:
        found = benchmarks.build(kernel_request(**options), rounds, context)
    _echo(found)
    return 0


@bench.command("edit")
@kernel_options
@timeout_option
@_rounds(3)
def bench_edit(rounds: int, timeout: float, **options: Any) -> int:
    """Compare `hgm run` after an edit with a bare make.

    One line is changed, in a copy of the source, without a series.
    """
    from harness.report import bench as report
    from harness.selfcheck import bench_build as benchmarks

    with open_context(timeout) as context:
        found = benchmarks.edit(kernel_request(**options), rounds, context)
    for line in report.edit_lines(*found):
        click.echo(line)
    return 0


@bench.command("bisect")
@subject_options
@probes_option("required")
def bench_bisect(probes: tuple[str, ...], timeout: float, **options: Any) -> int:
    """Compare `hgm bisect` with bare makes and boots.

    These are of the same kernels. The cache is empty except for the kernels of both ends. Every
    patch of the series must build, and its last kernel must be bad.
    """
    from harness.selfcheck import bench_bisect as benchmarks

    if not probes:
        raise click.UsageError("say with --probe NAME which probe fails")
    with open_context(timeout) as context:
        found = benchmarks.bisect(subject_of(**options), probes, context)
    _echo(found)
    return 0


@bench.command("walk")
@subject_options
@_rounds(9)
def bench_walk(rounds: int, timeout: float, **options: Any) -> int:
    """Measure page-table walks from the host.

    One walk looks up a single address, the other reads the tables of 1 GiB of base pages.
    """
    from harness.selfcheck import bench_walk

    with open_context(timeout) as context:
        found = bench_walk.measure(subject_of(**options), rounds, context)
    for each in found:
        click.echo(each.text())
    return 0


@bench.command("report")
@click.option("--runs", default=10_000, show_default=True, metavar="N", help="How many runs.")
@click.option(
    "--probes", default=100, show_default=True, metavar="N", help="How many probes in each run."
)
@click.option(
    "--keep",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where to make the runs and their site, which are kept.",
)
@timeout_option
def bench_report(runs: int, probes: int, keep: Path, timeout: float) -> int:
    """Time `hgm report` on synthetic runs.

    The site is built from nothing, again without a change, and again after one more run. Exit code
    1 if the first takes more than 60 seconds or the last more than 5, or if the first page has more
    than 1 MB.
    """
    from harness.selfcheck import bench_report as benchmarks

    with open_context(timeout) as context:
        result = benchmarks.report(runs, probes, keep, context)
    click.echo(result.text())
    return 1 if result.exceeded() else 0


@bench.command("cluster")
@click.option(
    "--recorded",
    required=True,
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="A directory of runs; cells take times in proportion to those of its guests. Repeatable.",
)
@click.option(
    "--workers",
    multiple=True,
    type=click.IntRange(min=1),
    default=(1, 16, 256, 1024),
    show_default=True,
    metavar="N",
    help="How many workers are simulated; repeatable.",
)
@click.option(
    "--cells",
    default=10_000,
    show_default=True,
    metavar="N",
    help="How many cells, for each number of workers.",
)
@click.option(
    "--sleep",
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long each worker sleeps in total, for each number of workers.",
)
@timeout_option
@markdown_option
@json_option
def bench_cluster(
    recorded: tuple[Path, ...],
    workers: tuple[int, ...],
    cells: int,
    sleep: float,
    timeout: float,
    markdown: Path | None,
    as_json: bool,
) -> int:
    """Measure what a cluster adds to a cell's time.

    Scheduler and client are real; the workers are simulated, many in a process, and their runs
    sleep. Then more workers join and are killed; exit code 1 if a cell does not get exactly one
    verdict, or another than its own.
    """
    require_dask()
    from harness.selfcheck import bench_cluster as benchmarks

    seconds = benchmarks.durations(recorded)
    with open_context(timeout) as context:
        found = benchmarks.measure(seconds, workers, cells, sleep, context)
    if markdown is not None:
        markdown.write_text(benchmarks.text(found))
    show(found, benchmarks.text(found).splitlines(), as_json=as_json)
    return 0 if all(each.right for each in found.losses) else 1


def _parts() -> Iterable[str]:
    from harness.selfcheck import bench_all

    return bench_all.PARTS


@bench.command("restore")
@_one_probe
def bench_restore(probe: str, rounds: int, timeout: float, **options: Any) -> int:
    """Compare restoring a guest with a bare boot.

    The restore is measured up to the first line of the probe; its snapshot is cached. The bare
    guest powers off as soon as it has booted.
    """
    from harness.selfcheck import bench as benchmarks

    with open_context(timeout) as context:
        found = benchmarks.restore(subject_of(**options), probe, rounds, context)
    _echo(found)
    return 0


@bench.command("all")
@subject_options
@_rounds(7)
@click.option(
    "--part",
    "parts",
    multiple=True,
    metavar="NAME",
    shell_complete=completed_by(_parts),
    help="Measure this part only; repeatable. boot, snapshot, restore: one probe. virtme: the same "
    "against virtme-ng. python: the harness's own start and memory. set: all probes. edit: one "
    "changed line. cold: from an empty cache. bisect: a fault in the last patch of the series. The "
    "last three build kernels.",
)
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw the ratios.",
)
@store_options
@json_option
def bench_all(
    parts: tuple[str, ...],
    rounds: int,
    svg: Path | None,
    store: str,
    runs_dir: Path,
    timeout: float,
    as_json: bool,
    **options: Any,
) -> int:
    """Measure everything that has an aim.

    Each ratio is shown beside that of the last time on this host, and kept in the history. Exit
    code 1 if one is above its aim, 3 if a part failed; the others are measured nevertheless.
    """
    from harness.report import bench as report
    from harness.selfcheck import bench_all as benchmarks
    from harness.store.history.history import opened

    unknown = [each for each in parts if each not in benchmarks.PARTS]
    if unknown:
        raise click.UsageError(f"--part {unknown[0]}: one of {', '.join(benchmarks.PARTS)}")
    with open_context(timeout) as context:
        found = benchmarks.measure(subject_of(**options), parts, rounds, context)
    with opened(store, runs_dir, make=True) as history:
        before = history.last_benches(found)
        history.add_bench(found)
    show(found, report.lines(found, before), as_json=as_json)
    if svg is not None:
        svg.write_text(report.svg(found))
    return found.exit_code
