# SPDX-License-Identifier: GPL-2.0-only
"""Whether runs of the same tests came out alike, test by test and result by result. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from harness.errors import RecordError
from harness.probes.catalog import plain_name
from harness.records import ProbeResult, Record, RunRecord


class Difference(Record, frozen=True, kw_only=True):
    """One test, or one result inside it, that did not end the same in each run.

    Attributes:
        name: the test's name, or with the result's behind it.
        statuses: one a run; empty where a run does not have it.
        reasons: one a run.
    """

    name: str
    statuses: tuple[str, ...]
    reasons: tuple[str, ...]


def joined(runs: Sequence[RunRecord]) -> RunRecord:
    """Return one record for runs of one kernel: each probe as the last run has it that ran it.

    Args:
        runs: one or more, in the order in which they were done.

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


def names(runs: Sequence[RunRecord], prefix: str = "") -> tuple[str, ...]:
    """Return the names of the tests of all runs that begin with a prefix, in order."""
    found = (probe.name for run in runs for probe in run.probes)
    return tuple(dict.fromkeys(name for name in found if name.startswith(prefix)))


def differences(runs: Sequence[RunRecord], prefix: str = "") -> tuple[Difference, ...]:
    """Return what ended otherwise in one run than in another.

    The results inside a test are compared where the test itself ended the same, each by its name
    and by which of that name it is, for tests use a name twice.
    """
    return tuple(difference for name in names(runs, prefix) for difference in _about(name, runs))


def _about(name: str, runs: Sequence[RunRecord]) -> Iterator[Difference]:
    probes = [next((p for p in run.probes if p.name == name), None) for run in runs]
    statuses = tuple(probe.status if probe else "" for probe in probes)
    if len(set(statuses)) > 1:
        reasons = tuple(probe.reason if probe else "" for probe in probes)
        yield Difference(name=name, statuses=statuses, reasons=reasons)
        return
    inside = [_results(probe) if probe else {} for probe in probes]
    for result in dict.fromkeys(key for results in inside for key in results):
        found = [results.get(result, ("", "")) for results in inside]
        if len({status for status, _ in found}) > 1:
            yield Difference(
                name=f"{plain_name(name)} > {result}",
                statuses=tuple(status for status, _ in found),
                reasons=tuple(reason for _, reason in found),
            )


def _results(probe: ProbeResult) -> dict[str, tuple[str, str]]:
    results: dict[str, tuple[str, str]] = {}
    for subtest in probe.subtests:
        name, number = subtest.name, 2
        while name in results:
            name, number = f"{subtest.name} ({number})", number + 1
        results[name] = (subtest.status, subtest.reason)
    return results
