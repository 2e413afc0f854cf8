# SPDX-License-Identifier: GPL-2.0-only
"""Two runs compared as mails: one for each regression, or one that says that there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness import errors
from harness.kernel import specs
from harness.probes.catalog import plain_name
from harness.records.campaign import Change, Comparison, ProbeSummary
from harness.records.probe import ProbeResult
from harness.records.run import RunRecord
from harness.report import compare, mail
from harness.report.mail import Letter
from harness.store import rundir


def letters(
    found: Comparison, before: RunRecord, after: RunRecord, after_dir: Path
) -> Iterator[Letter]:
    """Yield the mails of a comparison.

    Args:
        found: the comparison.
        before: the first run.
        after: the second run, which the mails are about.
        after_dir: its directory.

    Raises:
        RecordError: if a file in the directory is damaged.
    """
    config = mail.config_of(after, after_dir)
    symbols = rundir.read_symbols(after_dir / rundir.OUTSIDE)
    if found.ended:
        what = after.outcome.value
        base = "without the series" if before.is_base_of(after) else "of the first run"
        body = [
            f"hgm could not test the kernel: {what}.",
            f"The kernel {base} could be tested.",
            *("", *mail.said(errors.for_others(found.ended)), ""),
            *_runs(before, after),
            "",
            *mail.reproducer(after, config),
            *mail.reported(after.splats, symbols),
            *_introduced(before, after),
        ]
        yield _letter(after, what, body, config)
        return
    regressions = [change for change in found.changes if change.regression]
    for change in regressions:
        body = list(_regression(change, before, after, after_dir, config))
        yield _letter(after, f"{change.name}: {_status(change)}", body, config)
    for splat in mail.telling(each for each in after.splats if each.title in found.splats):
        what = f"new splat: {splat.title}"
        body = [
            "hgm found a splat outside of any test, which the first kernel",
            "did not report.",
            *mail.reports([splat], symbols),
            *("", *_runs(before, after)),
            *("", *mail.reproducer(after, config)),
            *_introduced(before, after),
        ]
        yield _letter(after, what, body, config)
    if not regressions and not found.splats:
        body = list(compare.for_mail(found, before, after, config))
        yield _letter(after, "no regression", body, config)


def _letter(after: RunRecord, what: str, body: list[str], config: bytes) -> Letter:
    subject, references = mail.thread(after)
    ends = [*mail.link(after, references)]
    return Letter(
        subject=subject or f"[hgm] {_name(after)}: {what}",
        body=(*body, *(["", *ends] if ends else ())),
        references=references,
        config=config,
    )


def _name(record: RunRecord) -> str:
    """Return the release of a run's kernel, or the source of one that was not built."""
    if record.kernel is not None:
        return record.kernel.release
    return specs.for_others(record.tried.source.spec) if record.tried else "kernel"


def _regression(
    change: Change, before: RunRecord, after: RunRecord, after_dir: Path, config: bytes
) -> Iterator[str]:
    probe = _worst(change, after)
    yield from mail.wrapped(f"hgm found a regression: {change.name} {_ends(change, before, after)}")
    yield ""
    yield from mail.said(probe.reason if probe else "it did not run")
    if probe is not None and probe.blame:
        yield from ("", *mail.said(f"in {probe.blame}"))
    yield from ("", *mail.rows(_counts(change, before, after)), "", *_runs(before, after))
    yield from ("", *mail.reproducer(after, config, change.name))
    if probe is not None:
        symbols = rundir.read_symbols(after_dir / probe.directory)
        yield from mail.reported(probe.splats, symbols)
    yield from _introduced(before, after)


def _status(change: Change) -> str:
    return change.after.status if change.after else "not run"


def _ends(change: Change, before: RunRecord, after: RunRecord) -> str:
    status = _status(change)
    if before.is_base_of(after):
        return f"ends in {status} with the series, and not without it."
    return f"ends in {status}, and did not before."


def _worst(change: Change, after: RunRecord) -> ProbeResult | None:
    """Return the first repetition with the status of the change."""
    wanted = change.after.status if change.after else ""
    found = (p for p in after.probes if plain_name(p.name) == change.name and p.status == wanted)
    return next(found, None)


def _counts(change: Change, before: RunRecord, after: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield how many of how many runs ended how, without and with the series."""
    names = ("without", "with") if before.is_base_of(after) else ("before", "after")
    yield names[0], _count(change.before)
    yield names[1], _count(change.after)
    if change.p is not None:
        yield "Fisher", f"p = {change.p:.2g}"


def _count(summary: ProbeSummary | None) -> str:
    if summary is None:
        return "not run"
    total = sum(summary.counts.values())
    return ", ".join(f"{status} in {n} of {total}" for status, n in summary.counts.items())


def _runs(before: RunRecord, after: RunRecord) -> Iterator[str]:
    """Yield what was tested; of the first run only what the second does not say."""
    yield from mail.about(after)
    if not before.is_base_of(after):
        yield ""
        yield "The first run was of:"
        yield ""
        yield from mail.about(before)


def _introduced(before: RunRecord, after: RunRecord) -> Iterator[str]:
    """Yield regzbot's command, if the runs are of two commits without patches on top."""
    commits = [_commit(record) for record in (before, after)]
    if all(commits) and commits[0] != commits[1]:
        yield ""
        yield f"#regzbot introduced: {commits[0]}..{commits[1]}"


def _commit(record: RunRecord) -> str:
    kernel = record.made_of
    if kernel is None or kernel.source.kind != "git" or kernel.series.patches:
        return ""
    return kernel.source.origin.removeprefix("commit ")
