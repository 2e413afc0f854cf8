# SPDX-License-Identifier: GPL-2.0-only
"""A kernel with one series against the same kernel with another, or with none."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from harness import pipeline
from harness.campaign import compare, state
from harness.context import Context
from harness.records.base import to_json
from harness.records.campaign import Comparison
from harness.records.run import RunRecord
from harness.run.request import RunRequest
from harness.workspace import atomic_write


class Against(NamedTuple):
    """Two runs, compared where both say something of their kernel.

    Attributes:
        records: the base's, then the other's; the last one alone where it ended the campaign.
        comparison: None where a run was interrupted or this host could not do it.
    """

    records: tuple[RunRecord, ...]
    comparison: Comparison | None

    @property
    def exit_code(self) -> int:
        """Return the comparison's exit code, or that of the run that says nothing."""
        return self.comparison.exit_code if self.comparison else self.records[-1].exit_code


def run_against(request: RunRequest, series: str, runs: Path, context: Context) -> Against:
    """Do a run with another series first, then as it is asked for, and compare them.

    The comparison lies in the second run's directory as ``compare.json``.

    Args:
        request: the run.
        series: ``--series`` of what it is compared with.
        runs: where run directories live.
        context: cache, deadline, progress.

    Raises:
        UserError: if one of both makes no sense; nothing is run then.
        RecordError: if the base was not probed, so that there is nothing to compare with.
    """
    requests = (base_of(request, series), request)
    for each in requests:
        pipeline.check(each, context)
    records: list[RunRecord] = []
    for each in requests:
        records.append(pipeline.run(each, runs, context))
        if not state.counts(records[-1]):
            return Against(tuple(records), None)
    found = compare.compare(*records)
    atomic_write(Path(records[1].run_dir) / "compare.json", to_json(found))
    return Against(tuple(records), found)


def base_of(request: RunRequest, series: str) -> RunRequest:
    """Return a run with another series; what belongs to its own series is left out."""
    kernel = msgspec.structs.replace(
        request.subject.kernel, series=series, resolve="", mail_from="", first=None
    )
    subject = msgspec.structs.replace(request.subject, kernel=kernel)
    return msgspec.structs.replace(request, subject=subject, expect="report")
