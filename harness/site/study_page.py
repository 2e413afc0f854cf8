# SPDX-License-Identifier: GPL-2.0-only
"""The page with what a run's memory does in pre-copy and post-copy: counts, then times."""

from __future__ import annotations

from collections.abc import Mapping

from harness.records.base import Record
from harness.records.study import AbsentRow, PostcopyStudy
from harness.report import study as report
from harness.report.study import FigureTable
from harness.site import names
from harness.site.words import Link, ShownPicture
from harness.study import drawing


class StudySection(Record, frozen=True, kw_only=True):
    """Figures of one sort.

    Attributes:
        title: what they are, and what they are good for.
        pictures: of them.
        tables: of them.
    """

    title: str
    pictures: tuple[ShownPicture, ...]
    tables: tuple[FigureTable, ...]


class StudyPage(Record, frozen=True, kw_only=True):
    """The study of a run.

    Attributes:
        run: link to its page.
        doubt: why its figures cannot be right although its probes passed; empty if they can.
        sections: counts, then times.
        absent: what has no figures.
    """

    run: Link
    doubt: str
    sections: tuple[StudySection, ...]
    absent: tuple[AbsentRow, ...]


def pictures(run_id: str, study: PostcopyStudy) -> dict[str, str]:
    """Return the study's pictures, as SVG, by their path."""
    drawn = {
        names.study_picture(run_id, "bytes"): drawing.amplification(study),
        names.study_picture(run_id, "times"): drawing.latencies(study),
        names.study_picture(run_id, "residence"): drawing.residence(study),
    }
    return {path: content for path, content in drawn.items() if content}


def study(
    run: Link, run_id: str, found: PostcopyStudy, verdict: str, drawn: Mapping[str, str]
) -> StudyPage:
    """Return the model of the page.

    Args:
        run: link to the run's page.
        run_id: of the run.
        found: what it found.
        verdict: of the run.
        drawn: what `pictures` returned.
    """

    def shown(name: str, words: str) -> tuple[ShownPicture, ...]:
        path = names.study_picture(run_id, name)
        return (ShownPicture(path=path, words=words),) if path in drawn else ()

    return StudyPage(
        run=run,
        doubt=found.reason if found.verdict != verdict else "",
        sections=(
            StudySection(
                title="Counts, exact on any host",
                pictures=shown(
                    "bytes", "Bytes reported dirty and bytes moved, by memory and access pattern"
                ),
                tables=tuple(report.counts(found)),
            ),
            StudySection(
                title=report.times_heading(found),
                pictures=(
                    *shown("times", "Share of accesses that took no longer, by memory and step"),
                    *shown("residence", "Share of the memory that had arrived, with a push"),
                ),
                tables=tuple(report.times(found)),
            ),
        ),
        absent=found.absent,
    )
