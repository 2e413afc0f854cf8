# SPDX-License-Identifier: GPL-2.0-only
"""Several runs of the post-copy study: counts must agree, times are compared run by run. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from harness.campaign.compare import SIGNIFICANCE, rank_test, repeats_needed
from harness.records.study import PostcopyRounds, PostcopyStudy, RunTimes
from harness.report import study as report

_Key = tuple[str, str]


def combine(studies: Sequence[PostcopyStudy]) -> PostcopyRounds:
    """Return the study of several runs, of which each is one observation.

    The reference is the first memory that is split, else the first of the table. Emulated runs have
    none, for their times do not compare.

    Args:
        studies: in the order they ran, at least one.
    """
    medians = [_medians(study) for study in studies]
    common = [key for key in medians[0] if all(key in each for each in medians)]
    split = (row for row in studies[0].rows if row.figures.backing == "split")
    first = next(split, None) or (studies[0].rows[0] if studies[0].rows else None)
    reference = ""
    if first is not None and all(study.accel == "kvm" for study in studies):
        reference = report.backing(first, studies[0])
    times = {key: tuple(each[key] for each in medians) for key in common}
    compared = tuple(_compared(key, times, reference) for key in times)
    level = SIGNIFICANCE / max(1, sum(each.p is not None for each in compared))
    verdict, reason, code = _verdict(studies)
    return PostcopyRounds(
        runs=tuple(studies),
        reference=reference,
        times=compared,
        level=level,
        rounds_needed=repeats_needed(level),
        verdict=verdict,
        reason=reason,
        exit_code=code,
    )


def _verdict(studies: Sequence[PostcopyStudy]) -> tuple[str, str, int]:
    """Return verdict, reason and exit code."""
    for study in studies:
        if study.exit_code:
            return study.verdict, f"{study.run_dir}: {study.reason}", study.exit_code
    for difference in _differing(studies):
        return "FAIL", difference, 1
    return "PASS", f"{len(studies)} runs, their counts agree", 0


def _medians(study: PostcopyStudy) -> dict[_Key, int]:
    """Return the median of the accesses that waited, by memory and pattern."""
    return {
        (report.backing(row, study), row.figures.pattern): step.p50
        for row in study.rows
        for step in row.times
        if step.step == "access"
    }


def _compared(key: _Key, times: Mapping[_Key, tuple[int, ...]], reference: str) -> RunTimes:
    memory, pattern = key
    found = RunTimes(memory=memory, pattern=pattern, medians=times[key])
    others = times.get((reference, pattern), ())
    if memory == reference or not others:
        return found
    ratio = statistics.median(found.medians) / statistics.median(others)
    return msgspec.structs.replace(found, ratio=ratio, p=rank_test(others, found.medians))


def _differing(studies: Sequence[PostcopyStudy]) -> Iterator[str]:
    """Yield in which counts runs differ that depend on nothing but the kernel."""
    first = _counts(studies[0])
    for study in studies[1:]:
        for what, count in _counts(study).items():
            if first.get(what, count) != count:
                yield f"{study.run_dir}: {what}: {count}, and {first[what]} in the first run"


def _counts(study: PostcopyStudy) -> dict[str, str]:
    """Return what was counted where no thread and no push goes on meanwhile."""
    moved = {
        f"{row.probe}, {row.figures.pattern}": f"{row.figures.moved} bytes moved of "
        f"{row.figures.touched} touched"
        for row in study.rows
        if "+" not in row.figures.pattern
    }
    reported = {
        f"{row.probe}, {row.figures.method}, {row.figures.pattern}": f"{row.figures.reported} "
        f"bytes reported of {row.figures.written} written"
        for row in study.precopy
        if "+" not in row.figures.pattern
    }
    return moved | reported
