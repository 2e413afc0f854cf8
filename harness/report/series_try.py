# SPDX-License-Identifier: GPL-2.0-only
"""The result of `hgm series try` as text: a line a patch, then patches by probes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from harness.records.campaign import SeriesTry, Step
from harness.report import matrix


def lines(tried: SeriesTry) -> Iterator[str]:
    """Yield the report's lines."""
    yield f"{tried.series} on {tried.source}, patch by patch"
    yield ""
    yield from _patches(tried.steps)
    if any(step.statuses for step in tried.steps):
        yield ""
        yield from matrix.lines([(step.number, step.statuses) for step in tried.steps])
        yield matrix.LEGEND
    yield ""
    yield from tried.findings
    yield f"record   {tried.directory}"
    yield verdict_line(tried)


def verdict_line(tried: SeriesTry) -> str:
    """Return the last line."""
    if tried.exit_code == 0:
        return f"PASS: all {len(tried.steps)} kernels were built, booted and passed"
    results = Counter(step.result for step in tried.steps)
    return (
        f"FAIL: of {len(tried.steps)} kernels, {results['no build']} did not build, "
        f"{results['no boot']} did not boot, and {sum(map(_failed, tried.steps))} failed a probe"
    )


def _failed(step: Step) -> bool:
    good = all(status in ("PASS", "SKIP") for status in step.statuses.values())
    return step.result == "probed" and (bool(step.splats) or not good)


def _patches(steps: Sequence[Step]) -> Iterator[str]:
    names = [step.patch or "(the source alone)" for step in steps]
    width = max(map(len, names))
    for step, name in zip(steps, names, strict=True):
        counts = Counter(step.statuses.values())
        probed = ", ".join(
            f"{counts[status]} {status}" for status in matrix.LETTERS if counts[status]
        )
        build = f"{step.build_seconds:.0f} s" if step.result != "no build" else "-"
        yield f"{step.number:>4}  {name:<{width}}  build {build:>6}  {probed or step.result}"
