# SPDX-License-Identifier: GPL-2.0-only
"""A series tried patch by patch, as people want to read it: the patches, then patch x probe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TextIO

from harness.campaign.series_try import Step, Trial
from harness.records.probe import Status

_LETTERS: dict[Status, str] = {
    "PASS": ".",
    "SKIP": "s",
    "FAIL": "F",
    "CRASH": "C",
    "HANG": "H",
    "LOST": "L",
}
_LEGEND = (
    ". pass, s skip, F fail, C crash, H hang, L lost; nothing where it was not built or booted"
)


def write(trial: Trial, stream: TextIO) -> None:
    """Write the whole report, plain lines."""
    stream.write("\n".join(lines(trial)) + "\n")


def lines(trial: Trial) -> Iterator[str]:
    """Yield the report's lines."""
    yield f"{trial.series} on {trial.source}, patch by patch"
    yield ""
    yield from _patches(trial.steps)
    names = list(dict.fromkeys(name for step in trial.steps for name in step.statuses))
    if names:
        yield ""
        yield from _matrix(trial.steps, names)
        yield _LEGEND
    yield ""
    yield from trial.findings
    yield f"record   {trial.directory}"
    yield verdict_line(trial)


def verdict_line(trial: Trial) -> str:
    """Return the last line."""
    total = len(trial.steps)
    unbuilt = sum(step.outcome == "no build" for step in trial.steps)
    unbooted = sum(step.outcome == "no boot" for step in trial.steps)
    if trial.exit_code == 0:
        return f"PASS: {total} kernels, each was built, booted and passed"
    wrong = sum(step.outcome == "probed" for step in trial.steps if _is_wrong(step))
    return (
        f"FAIL: of {total} kernels {unbuilt} were not built, {unbooted} did not boot, "
        f"{wrong} had a probe go wrong"
    )


def _is_wrong(step: Step) -> bool:
    return bool(step.complaints) or any(s not in ("PASS", "SKIP") for s in step.statuses.values())


def _patches(steps: Sequence[Step]) -> Iterator[str]:
    width = max(len(step.patch or "(the source alone)") for step in steps)
    for step in steps:
        counts = {status: list(step.statuses.values()).count(status) for status in _LETTERS}
        said = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
        name = step.patch or "(the source alone)"
        build = f"{step.build_seconds:.0f} s" if step.outcome != "no build" else "-"
        yield f"{step.number:>4}  {name:<{width}}  build {build:>6}  {said or step.outcome}"


def _matrix(steps: Sequence[Step], names: Sequence[str]) -> Iterator[str]:
    width = max(map(len, names))
    yield f"{'':<{width}}  " + " ".join(f"{step.number:>2}" for step in steps)
    for name in names:
        cells = [_LETTERS[s] if (s := step.statuses.get(name)) else " " for step in steps]
        yield f"{name:<{width}}  " + " ".join(f"{cell:>2}" for cell in cells).rstrip()
