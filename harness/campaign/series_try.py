# SPDX-License-Identifier: GPL-2.0-only
"""A series patch by patch: build and boot after each, and see what each changes.

Point 0 is the source without the series, point N the source with its first N patches. Each is built
in the same directory as the one before it, so make compiles what the patch touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from harness.campaign import state
from harness.context import Context
from harness.kernel.obtain import resolve_request
from harness.pipeline import RunRequest
from harness.probes.catalog import plain_name
from harness.records.base import Record
from harness.records.probe import Status
from harness.records.run import RunRecord
from harness.run.subject import Subject
from harness.workspace import atomic_write

#: How a point can end: its kernel does not compile, does not come up, or was probed.
Outcome = Literal["no build", "no boot", "probed"]

_BAD: tuple[Status, ...] = ("FAIL", "CRASH", "HANG", "LOST")


class Step(Record, frozen=True, kw_only=True):
    """What one more patch makes of the kernel.

    Attributes:
        number: how many patches are on; 0 for the source alone.
        patch: the last of them; empty for the source alone.
        outcome: see `Outcome`.
        reason: one line.
        statuses: each probe's status by name; empty unless it was probed.
        complaints: titles of what the kernel complained about, in a probe or outside of one.
        build_seconds: wall time of the build that made the kernel.
        seconds: wall time of the whole point.
        run_dir: absolute path of its run directory.
    """

    number: int
    patch: str
    outcome: Outcome
    reason: str
    statuses: dict[str, Status] = msgspec.field(default_factory=dict)
    complaints: tuple[str, ...] = ()
    build_seconds: float = 0.0
    seconds: float = 0.0
    run_dir: str = ""


class Trial(Record, frozen=True, kw_only=True):
    """A series tried patch by patch.

    Attributes:
        source: what it was put on, as it was written.
        series: as it was written.
        steps: in the order of the patches.
        findings: a line each; see `findings`.
        exit_code: 0 if every kernel was built and booted and no probe went wrong anywhere, else 1.
        directory: absolute path of the campaign's directory.
    """

    source: str
    series: str
    steps: tuple[Step, ...]
    findings: tuple[str, ...]
    exit_code: int
    directory: str


def try_series(subject: Subject, probes: Sequence[str], runs: Path, context: Context) -> Trial:
    """Build, boot and probe a source after each patch of a series; what was done before is kept.

    Args:
        subject: source, series and machine; ``first`` bounds how far the series is tried.
        probes: globs over probe names; all probes when empty.
        runs: where the campaign's directory is made.
        context: cache, deadline, progress.

    Raises:
        UserError: if the series cannot be read, or does not apply as a whole.
        CampaignStopped: if this host could not run a point.
    """
    parts = resolve_request(subject.kernel, context)
    patches = parts.patches[: subject.kernel.first]
    identity = (subject, parts, tuple(probes))
    with state.campaign("try", subject.kernel.series, identity, runs, context) as memory:
        steps = []
        for number in range(len(patches) + 1):
            name = patches[number - 1].name if number else ""
            context.progress.stage(
                "try", f"{number} of {len(patches)} patches: {name or 'none yet'}"
            )
            record = memory.once(f"{number:04}", _request(subject, number, probes))
            steps.append(step(number, name, record))
        trial = conclude(subject, steps, memory.directory)
        atomic_write(memory.directory / "trial.json", msgspec.json.encode(trial))
    return trial


def _request(subject: Subject, number: int, probes: Sequence[str]) -> RunRequest:
    kernel = msgspec.structs.replace(subject.kernel, first=number)
    return state.request(msgspec.structs.replace(subject, kernel=kernel), probes)


def step(number: int, patch: str, record: RunRecord) -> Step:
    """Return what a point's record says."""
    outcome: Outcome = state.lack(record) or "probed"
    splats = [splat.title for probe in record.probes for splat in probe.splats]
    splats += [splat.title for splat in record.splats]
    return Step(
        number=number,
        patch=patch,
        outcome=outcome,
        reason=record.reason,
        statuses={p.name: p.status for p in record.probes} if outcome == "probed" else {},
        complaints=tuple(dict.fromkeys(splats)),
        build_seconds=record.kernel.build_seconds if record.kernel else 0.0,
        seconds=record.seconds,
        run_dir=record.run_dir,
    )


def conclude(subject: Subject, steps: Sequence[Step], directory: Path) -> Trial:
    """Return the trial that these steps make."""
    bad = any(
        each.outcome != "probed"
        or each.complaints
        or any(status in _BAD for status in each.statuses.values())
        for each in steps
    )
    return Trial(
        source=subject.kernel.source,
        series=subject.kernel.series,
        steps=tuple(steps),
        findings=tuple(findings(steps)),
        exit_code=1 if bad else 0,
        directory=str(directory),
    )


def findings(steps: Sequence[Step]) -> Iterable[str]:
    """Yield what each patch changes, a line each, in the order of the patches.

    A probe's status is compared with its last one before, so that a patch between that does not
    build hides nothing.
    """
    last: dict[str, Status] = {}
    for each in steps:
        who = f"patch {each.number} ({each.patch})" if each.number else "the source alone"
        if each.outcome != "probed":
            did = "does not build" if each.outcome == "no build" else "does not boot"
            yield f"{who} {did}: {each.reason}"
            continue
        for status, names in _changes(last, each.statuses).items():
            yield f"{who} {_VERBS[status]} {_listed(names)}"
        for title in each.complaints:
            yield f"{who}: the kernel complained: {title}"
        last |= each.statuses


_VERBS: dict[Status, str] = {
    "PASS": "first passes",
    "FAIL": "fails",
    "CRASH": "crashes in",
    "HANG": "hangs in",
    "LOST": "loses",
    "SKIP": "can no longer be asked",
}


def _changes(last: Mapping[str, Status], now: Mapping[str, Status]) -> dict[Status, list[str]]:
    """Return the probes whose status is news: another than before, and at first a bad one."""
    news: dict[Status, list[str]] = {}
    for name, status in now.items():
        if status != last.get(name, status) or (name not in last and status in _BAD):
            news.setdefault(status, []).append(plain_name(name))
    return news


def _listed(names: Sequence[str], most: int = 6) -> str:
    shown = list(dict.fromkeys(names))
    rest = len(shown) - most
    return ", ".join(shown[:most]) + (f" and {rest} more" if rest > 0 else "")
