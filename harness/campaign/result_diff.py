# SPDX-License-Identifier: GPL-2.0-only
"""Compares the kernel's own tests between runs, test by test and result by result. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from harness.errors import RecordError
from harness.probes.catalog import plain_name
from harness.records.campaign import Difference
from harness.records.probe import ProbeResult, Subtest
from harness.records.run import RunRecord


def joined(runs: Sequence[RunRecord]) -> RunRecord:
    """Return one record for runs of one kernel: each probe's result is that of the last run.

    Args:
        runs: one or more, oldest first.

    Raises:
        RecordError: if they are not of the same kernel.
    """
    first = runs[0]
    probes: dict[str, ProbeResult] = {}
    for run in runs:
        if not run.kernel or not first.kernel or run.kernel.key != first.kernel.key:
            raise RecordError(
                f"{run.run_dir} is not a run of the kernel of {first.run_dir}",
                hint="only runs of one kernel can be joined with a comma",
            )
        for probe in run.probes:
            if probe.name not in probes or probe.status != "LOST" or probe.directory:
                probes[probe.name] = probe
    notes = tuple(dict.fromkeys(note for run in runs for note in run.notes))
    others = tuple(f"joined with the run of {run.started}" for run in runs[1:])
    return msgspec.structs.replace(first, probes=tuple(probes.values()), notes=notes + others)


def differences(runs: Sequence[RunRecord], prefix: str = "") -> tuple[Difference, ...]:
    """Return the tests whose names have a prefix and that did not end the same in each run.

    The results inside a test are compared where the test itself ended the same.
    """
    found = dict.fromkeys(probe.name for run in runs for probe in run.probes)
    names = (name for name in found if name.startswith(prefix))
    return tuple(difference for name in names for difference in _about(name, runs))


def _about(name: str, runs: Sequence[RunRecord]) -> Iterator[Difference]:
    probes = [next((p for p in run.probes if p.name == name), None) for run in runs]
    statuses = tuple(probe.status if probe else "" for probe in probes)
    if len(set(statuses)) > 1:
        reasons = tuple(probe.reason if probe else "" for probe in probes)
        yield Difference(name=name, statuses=statuses, reasons=reasons)
        return
    for label, results in _pairs([probe.subtests if probe else () for probe in probes]):
        if len({result.status if result else "" for result in results}) > 1:
            yield Difference(
                name=f"{plain_name(name)} > {label}",
                statuses=tuple(result.status if result else "" for result in results),
                reasons=tuple(result.reason if result else "" for result in results),
            )


def _pairs(
    runs: Sequence[Sequence[Subtest]],
) -> Iterator[tuple[str, tuple[Subtest | None, ...]]]:
    """Yield the results that belong together, with a name for them.

    They are matched by position where each run has as many, because tests put measured numbers into
    names and give a failing result another name; otherwise by name.
    """
    if len({len(results) for results in runs}) == 1:
        for number, results in enumerate(zip(*runs, strict=True), 1):
            names_ = [result.name for result in results if result.name != f"test {number}"]
            yield f"result {number}{f': {names_[0]}' if names_ else ''}", results
        return
    tables = [_by_name(results) for results in runs]
    for name in dict.fromkeys(name for table in tables for name in table):
        yield name, tuple(table.get(name) for table in tables)


def _by_name(results: Sequence[Subtest]) -> dict[str, Subtest]:
    table: dict[str, Subtest] = {}
    for result in results:
        name, number = result.name, 2
        while name in table:
            name, number = f"{result.name} ({number})", number + 1
        table[name] = result
    return table
