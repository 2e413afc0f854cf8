# SPDX-License-Identifier: GPL-2.0-only
"""The culprit that a bisection found as a mail to who wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.probes.catalog import plain_name
from harness.records.campaign import Bisection
from harness.records.probe import ProbeResult, Splat
from harness.records.run import RunRecord
from harness.report import mail
from harness.report.bisect import evidence_for_others, named
from harness.report.mail import Letter
from harness.store import rundir


def letter(found: Bisection, run: RunRecord, run_dir: Path) -> Letter:
    """Return the mail.

    Args:
        found: a bisection that found a culprit, or several suspects.
        run: the run with the evidence: of the first candidate that is bad (or good).
        run_dir: its directory.

    Raises:
        RecordError: if a file in the directory is damaged.
    """
    culprit = found.suspects[0]
    is_commit = len(culprit.id) > 12
    alone = found.result == "found"
    subject, references = mail.thread(run, int(culprit.id) if alone and not is_commit else 0)
    probe, config = _probe(found, run), mail.config_of(run, run_dir)
    body = [
        *_opening(found),
        *("", *mail.said(evidence_for_others(found))),
        *("", *_table(found)),
        *("", *_diffstat(found)),
        *mail.about(run),
        *("", *mail.reproducer(run, config, plain_name(probe.name) if probe else "")),
    ]
    directory = probe.directory if probe else rundir.OUTSIDE
    body += mail.reported(_splats(found, run, probe), rundir.read_symbols(run_dir / directory))
    ends = [*mail.link(run, references)]
    if is_commit and alone and not found.first_good:
        ends.insert(0, f"#regzbot introduced: {culprit.id}")
    body += ["", *ends] if ends else []
    title = f"[hgm] {f'{culprit.name}: ' if alone else ''}{_what(found, probe)}"
    return Letter(subject or title, tuple(body), references, config)


def _opening(found: Bisection) -> Iterator[str]:
    first = "good" if found.first_good else "bad"
    what = "commit" if len(found.suspects[0].id) > 12 else "patch"
    if found.result == "found":
        yield f"hgm bisected this fault; the first {first} {what} is"
        yield ""
        yield f"  {named(found.suspects[0])}"[: mail.WIDTH]
    else:
        yield from mail.wrapped(
            f"hgm bisected this fault; the first {first} {what} is one of {len(found.suspects)}, "
            f"because {found.why}:"
        )
        yield ""
        yield from (f"  {named(each)}"[: mail.WIDTH] for each in found.suspects)
    for each in found.enabling:
        yield from mail.wrapped(
            f"Kernels before {named(each)} were tested with it on top, as it switches the "
            "feature on."
        )


def _table(found: Bisection) -> Iterator[str]:
    """Yield what was tested, and how many of how many runs were bad."""
    yield from mail.wrapped(f"A kernel is {found.predicate}:")
    yield ""
    for each in found.evaluations:
        count = f"{each.bad} of {each.samples} bad" if each.samples else f"{each.runs} run"
        yield f"  {each.term:<10}  {count:<12}  {named(each.candidate)}"[: mail.WIDTH]
    if found.confidence is not None:
        yield ""
        yield f"This is right with a probability of at least {found.confidence.reached:.1%}."


def _diffstat(found: Bisection) -> Iterator[str]:
    if found.diffstat:
        yield from (mail.quoted(line.strip()) for line in found.diffstat.splitlines())
        yield ""


def _what(found: Bisection, probe: ProbeResult | None) -> str:
    """Return what the culprit does."""
    verb = "fixes" if found.first_good else "breaks"
    if probe is not None:
        return f"{verb} {plain_name(probe.name)}"
    return f"{verb}: {found.predicate.removeprefix('bad if ')}"


def _probe(found: Bisection, run: RunRecord) -> ProbeResult | None:
    """Return the probe that the evidence is about: by its name, or by the title of its splat."""
    named = (p for p in run.probes if found.evidence.startswith(f"{p.name}: "))
    reports = (p for p in run.probes if found.evidence in (splat.title for splat in p.splats))
    return next(named, next(reports, None))


def _splats(found: Bisection, run: RunRecord, probe: ProbeResult | None) -> tuple[Splat, ...]:
    """Return what the kernel reported in the probe; without one, what the evidence is about."""
    if probe is not None:
        return probe.splats
    return tuple(each for each in run.splats if each.title == found.evidence) or run.splats
