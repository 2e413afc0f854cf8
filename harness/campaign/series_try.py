# SPDX-License-Identifier: GPL-2.0-only
"""Builds, boots and probes a source after each patch of a series, and says what each changes.

Step 0 is the source alone, step N the source with the first N patches. Each kernel is built in the
same directory as the one before it, so make compiles only what the patch touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from harness import pipeline
from harness.campaign import state
from harness.campaign.state import PlannedRun
from harness.context import Context
from harness.kernel.obtain import resolve_request
from harness.probes.catalog import plain_name
from harness.records.campaign import SeriesTry, Step, StepResult
from harness.records.probe import BAD, Status
from harness.records.run import RunRecord
from harness.run.request import RunRequest
from harness.run.subject import Subject
from harness.workspace import atomic_write


def try_series(subject: Subject, probes: Sequence[str], runs: Path, context: Context) -> SeriesTry:
    """Build, boot and probe a source after each patch of a series; finished runs are kept.

    Args:
        subject: source, series and machine; ``first`` bounds how far the series is tried.
        probes: globs over probe names; all probes when empty.
        runs: where the campaign's directory is made.
        context: cache, deadline, progress.

    Raises:
        UserError: if the series cannot be read, or does not apply as a whole.
        CampaignStopped: if this host could not do a run.
    """
    pipeline.check(_request(subject, 0, probes), context)
    parts = resolve_request(subject.kernel, context)
    patches = parts.patches[: subject.kernel.first]
    identity = (subject, parts, tuple(probes))
    with state.campaign("try", subject.kernel.series, identity, runs, context) as campaign:
        names = ("", *(patch.name for patch in patches))

        def planned() -> Iterator[PlannedRun]:
            for number, name in enumerate(names):
                what = f"{number} of {len(patches)} patches: {name or 'the source alone'}"
                context.progress.stage("try", what)
                yield PlannedRun(f"{number:04}", _request(subject, number, probes))

        found = {run.step: record for run, record in campaign.each_once(planned())}
        steps = [step(number, name, found[f"{number:04}"]) for number, name in enumerate(names)]
        tried = conclude(subject, steps, campaign.directory)
        atomic_write(campaign.directory / "try.json", msgspec.json.encode(tried))
    return tried


def _request(subject: Subject, number: int, probes: Sequence[str]) -> RunRequest:
    kernel = msgspec.structs.replace(subject.kernel, first=number)
    subject = msgspec.structs.replace(subject, kernel=kernel)
    return RunRequest(subject=subject, probes=tuple(probes))


def step(number: int, patch: str, record: RunRecord) -> Step:
    """Return what a step's record says."""
    result: StepResult = state.lack(record) or "probed"
    splats = [splat.title for probe in record.probes for splat in probe.splats]
    splats += [splat.title for splat in record.splats]
    return Step(
        number=number,
        patch=patch,
        result=result,
        reason=record.reason,
        statuses={p.name: p.status for p in record.probes} if result == "probed" else {},
        splats=tuple(dict.fromkeys(splats)),
        build_seconds=record.kernel.build_seconds if record.kernel else 0.0,
        seconds=record.seconds,
        run_dir=record.run_dir,
    )


def conclude(subject: Subject, steps: Sequence[Step], directory: Path) -> SeriesTry:
    """Return the result of all steps."""
    statuses = {status for each in steps for status in each.statuses.values()}
    wrong = any(each.result != "probed" or each.splats for each in steps)
    wrong |= not statuses.isdisjoint(BAD)
    return SeriesTry(
        source=subject.kernel.source,
        series=subject.kernel.series,
        steps=tuple(steps),
        findings=tuple(findings(steps)),
        exit_code=1 if wrong else 3 if "LOST" in statuses else 0,
        directory=str(directory),
    )


def findings(steps: Sequence[Step]) -> Iterable[str]:
    """Yield what each patch changes, a line each, in the order of the patches.

    A probe's status is compared with its last known one, so that a kernel between that does not
    build hides no change.
    """
    last: dict[str, Status] = {}
    for each in steps:
        patch = f"patch {each.number} ({each.patch})" if each.number else "the source alone"
        if each.result != "probed":
            stage = each.result.removeprefix("no ")
            yield f"{patch} does not {stage}: {each.reason}"
            continue
        for status, names in _changes(last, each.statuses).items():
            yield f"{patch} {_VERBS[status]} {_listed(names)}"
        for title in each.splats:
            yield f"{patch}: splat: {title}"
        last |= each.statuses


_VERBS: dict[Status, str] = {
    "PASS": "first passes",
    "FAIL": "fails",
    "KNOWN": "fails by a known issue",
    "CRASH": "crashes in",
    "HANG": "hangs in",
    "LOST": "loses",
    "SKIP": "skips",
}


def _changes(last: Mapping[str, Status], now: Mapping[str, Status]) -> dict[Status, list[str]]:
    """Return the probes whose status changed, or that are bad the first time, by status."""
    news: dict[Status, list[str]] = {}
    for name, status in now.items():
        if status != last.get(name, status) or (name not in last and status in (*BAD, "LOST")):
            news.setdefault(status, []).append(plain_name(name))
    return news


def _listed(names: Sequence[str], most: int = 6) -> str:
    shown = list(dict.fromkeys(names))
    rest = len(shown) - most
    return ", ".join(shown[:most]) + (f" and {rest} more" if rest > 0 else "")
