# SPDX-License-Identifier: GPL-2.0-only
"""What the history keeps of a record, besides the record itself. Pure."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import RecordError
from harness.probes.catalog import plain_name
from harness.probes.summary import summaries
from harness.records.history import BOOT, BUILD, CONSOLE, Cell, PastResult, PastRun
from harness.records.outcome import Outcome
from harness.records.probe import ProbeResult, Status
from harness.records.run import RunRecord
from harness.store.history import cell
from harness.store.rundir import campaign_of

_NOT_BUILT = (Outcome.PATCH_REFUSED, Outcome.CONFIG_REFUSED, Outcome.NOT_COMPILED)


def run_of(record: RunRecord, run_dir: str) -> PastRun:
    """Return a run as the history has it.

    Args:
        record: its record.
        run_dir: absolute path of its directory.

    Raises:
        RecordError: if the record does not say when the run began.
    """
    try:
        started = datetime.datetime.fromisoformat(record.started)
    except ValueError:
        raise RecordError(f"{run_dir} does not say when the run began") from None
    kernel = record.kernel
    return PastRun(
        id=cell.run_id(record),
        started=started if started.tzinfo else started.replace(tzinfo=datetime.UTC),
        seconds=record.seconds,
        build_seconds=kernel.build_seconds if kernel and not kernel.cached else 0.0,
        verdict=record.verdict,
        outcome=record.outcome,
        exit_code=record.exit_code,
        reason=record.reason,
        release=kernel.release if kernel else "",
        origin=kernel.source.origin if kernel else "",
        kernel_key=kernel.key if kernel else "",
        cell=cell.cell_of(record),
        campaign=campaign_of(Path(run_dir))[1],
        run_dir=run_dir,
    )


def results_of(record: RunRecord, run: PastRun) -> Iterator[PastResult]:
    """Yield the results of a run: those of its kernel, and those of its probes.

    A run that says nothing about its kernel has none, nor has a kernel that did not boot any of
    probes.
    """
    if record.outcome in _NOT_BUILT:
        yield _of_kernel(run, BUILD, "FAIL", run.build_seconds, record.reason)
    elif record.outcome.about_the_kernel:
        yield _of_kernel(run, BUILD, "PASS", run.build_seconds)
    if record.outcome is Outcome.NOT_BOOTED:
        yield _of_kernel(run, BOOT, "FAIL", reason=record.reason)
    elif record.outcome is Outcome.PROBES_RAN:
        yield _of_kernel(run, BOOT, "PASS", record.boot_seconds)
        splats = "; ".join(splat.title for splat in record.splats)
        yield _of_kernel(run, CONSOLE, "FAIL" if splats else "PASS", reason=splats)
        yield from _of_probes(run, record.probes)


def _of_kernel(
    run: PastRun, name: str, status: Status, seconds: float = 0.0, reason: str = ""
) -> PastResult:
    return PastResult(
        run=run,
        name=name,
        cell=_line(run.cell) if name == BUILD else run.cell,
        status=status,
        good=int(status == "PASS"),
        bad=int(status != "PASS"),
        seconds=seconds,
        reason=reason,
        known_issues=(),
    )


def _line(whole: Cell | None) -> Cell | None:
    return whole and whole.line


def _of_probes(run: PastRun, probes: Sequence[ProbeResult]) -> Iterator[PastResult]:
    by_name: dict[str, list[ProbeResult]] = {}
    for probe in probes:
        by_name.setdefault(plain_name(probe.name), []).append(probe)
    for name, summary in summaries(probes).items():
        repetitions = by_name[name]
        yield PastResult(
            run=run,
            name=name,
            cell=run.cell,
            status=summary.status,
            good=summary.counts.get("PASS", 0),
            bad=summary.bad,
            seconds=statistics.median(summary.seconds or [each.seconds for each in repetitions]),
            reason=summary.reason,
            known_issues=tuple(
                dict.fromkeys(issue for each in repetitions for issue in each.known_issues)
            ),
        )
