# SPDX-License-Identifier: GPL-2.0-only
"""`hgm study`: what a kernel's memory does for a workload."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from harness.cli.options import (
    json_option,
    open_context,
    runs_option,
    show,
    subject_of,
    subject_options,
)


@click.group()
def study() -> None:
    """Compare kinds of memory by what they do for a workload."""


@study.command("postcopy")
@subject_options
@click.option(
    "--gbit",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="N",
    help="Bandwidth of the link that fetches are computed for, in Gbit/s.",
)
@click.option(
    "--round-trip",
    type=click.FloatRange(min=0),
    default=50.0,
    show_default=True,
    metavar="MICROSECONDS",
    help="Round trip of that link.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    metavar="N",
    help="Run it N times, the memories in turn in one order and the other, and compare the times, "
    "of which each run has one.",
)
@click.option(
    "--read",
    "run_dirs",
    metavar="RUN",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Run nothing: print the study of this run; repeatable, for several rounds.",
)
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw the amplifications to this file as well.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Threads that touch the memory in post-copy.  [default: 4]",
)
@click.option(
    "--readers",
    type=click.IntRange(1, 8),
    metavar="N",
    help="Threads that answer each userfaultfd.  [default: 2]",
)
@click.option(
    "--uffds",
    type=click.IntRange(1, 4),
    metavar="N",
    help="Userfaultfds, each for a part of the memory; with pages of 1 GiB it takes as many.  "
    "[default: 1]",
)
@runs_option
@json_option
def postcopy(  # noqa: PLR0913 - one for each option
    gbit: float,
    round_trip: float,
    rounds: int,
    run_dirs: tuple[Path, ...],
    svg: Path | None,
    threads: int | None,
    readers: int | None,
    uffds: int | None,
    runs_dir: Path,
    timeout: float,
    as_json: bool,
    **options: Any,
) -> int:
    """Count what pre-copy and post-copy move, by kind of memory.

    The memory is hugetlb, split (HGM) and whole, and shmem with and without transparent huge
    pages, where the kernel has them. Contents are compared, and the host walks the page tables;
    a wrong migration is a FAIL. A table says what each memory guarantees, as tested in the run;
    pages of 1 GiB are all in it with `--hugepages 1G:2,2M:8 --memory 5G`.
    """
    from harness.errors import UserError
    from harness.records.study import LinkModel
    from harness.report import study as report
    from harness.study import drawing
    from harness.study import postcopy as studies
    from harness.study import rounds as several
    from harness.workspace import atomic_write

    if not run_dirs:
        given = {"--threads": threads, "--readers": readers, "--uffds": uffds}
        words = [word for name, n in given.items() if n for word in (name, str(n))]
        run_dirs = _run(studies.rounds(rounds, words), runs_dir, timeout, **options)
    link = LinkModel(round_trip_us=round_trip, gbit=gbit)
    found = [studies.read(run_dir, link) for run_dir in run_dirs]
    first = found[0]
    if svg is not None:
        drawn = drawing.amplification(first)
        if not drawn:
            raise UserError(f"{first.run_dir}: nothing to draw: none of its probes printed figures")
        atomic_write(svg, drawn)
    if len(found) == 1:
        show(first, report.lines(first), as_json=as_json)
        return first.exit_code
    all_of_them = several.combine(found)
    show(all_of_them, report.rounds(all_of_them), as_json=as_json)
    return all_of_them.exit_code


def _run(
    rounds: Iterable[tuple[str, ...]], runs_dir: Path, timeout: float, **options: Any
) -> tuple[Path, ...]:
    """Run the probes of each round and return the run directories; one that fails is the last."""
    from harness import pipeline
    from harness.kernel import registry
    from harness.probes import promises
    from harness.run.request import RunRequest

    subject = subject_of(**options)
    expect = promises.profile(registry.expectation(subject.kernel.series))
    found: list[Path] = []
    with open_context(timeout) as context:
        for probes in rounds:
            request = RunRequest(subject=subject, expect=expect, probes=probes)
            record = pipeline.run(request, runs_dir, context)
            found.append(Path(record.run_dir))
            if record.exit_code:
                break
    return tuple(found)
