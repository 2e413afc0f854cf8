# SPDX-License-Identifier: GPL-2.0-only
"""A kernel with one series against the same kernel with another, or with none."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from harness import pipeline
from harness.campaign import compare, state
from harness.context import Context
from harness.kernel.obtain import source_used
from harness.records.base import to_json
from harness.records.campaign import Comparison
from harness.records.run import REPORT, RunRecord
from harness.run.request import RunRequest
from harness.workspace import atomic_write


class Against(NamedTuple):
    """Two runs, compared if both reached a result about their kernel.

    Attributes:
        records: of the base, then of the other; only the first if it says nothing.
        comparison: None where a run was interrupted or this host could not do it.
    """

    records: tuple[RunRecord, ...]
    comparison: Comparison | None

    @property
    def exit_code(self) -> int:
        """Return the comparison's exit code, or that of the run that says nothing."""
        return self.comparison.exit_code if self.comparison else self.records[-1].exit_code


def run_against(request: RunRequest, series: str, runs: Path, context: Context) -> Against:
    """Do a run with another series, then the run itself, and compare them.

    The comparison is written to ``compare.json`` in the second run's directory.

    Args:
        request: the run.
        series: ``--series`` of the base.
        runs: where run directories live.
        context: cache, deadline, progress.

    Raises:
        UserError: if a request is wrong; nothing is run then.
        RecordError: if the base was not probed.
    """
    requests = (base_of(request, series), request)
    for each in requests:
        pipeline.check(each, context)
    source = source_used(request.subject.kernel, context)
    requests = (base_of(request, series, source), request)
    records: list[RunRecord] = []
    for each in requests:
        records.append(pipeline.run(each, runs, context))
        if not state.counts(records[-1]):
            return Against(tuple(records), None)
    found = compare.compare(*records)
    atomic_write(Path(records[1].run_dir) / "compare.json", to_json(found))
    return Against(tuple(records), found)


def base_of(request: RunRequest, series: str, source: str = "") -> RunRequest:
    """Return a run with another series, without the options of its own series.

    Args:
        request: the run.
        series: ``--series`` of the base.
        source: ``--kernel`` of the base; that of the run if it is empty.
    """
    kernel = request.subject.kernel
    kernel = msgspec.structs.replace(
        kernel,
        source=source or kernel.source,
        series=series,
        resolve="",
        mail_from="",
        first=None,
    )
    subject = msgspec.structs.replace(request.subject, kernel=kernel)
    return msgspec.structs.replace(request, subject=subject, expect=REPORT)
