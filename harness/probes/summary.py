# SPDX-License-Identifier: GPL-2.0-only
"""How a probe ended in a run, its repetitions together. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from harness.probes.catalog import plain_name
from harness.records.campaign import ProbeSummary
from harness.records.probe import BAD, ProbeResult, Status


def summaries(probes: Sequence[ProbeResult]) -> dict[str, ProbeSummary]:
    """Return how each probe ended, its repetitions together, in the order they first ran."""
    groups: dict[str, list[ProbeResult]] = {}
    for probe in probes:
        groups.setdefault(plain_name(probe.name), []).append(probe)
    return {name: _summary(group) for name, group in groups.items()}


_WORST_FIRST: tuple[Status, ...] = (*BAD, "KNOWN", "SKIP", "PASS", "LOST")


def _summary(group: Sequence[ProbeResult]) -> ProbeSummary:
    worst = min(group, key=lambda probe: _WORST_FIRST.index(probe.status))
    counts: dict[Status, int] = {}  # a Counter takes five times as long to make
    for probe in group:
        counts[probe.status] = counts.get(probe.status, 0) + 1
    return ProbeSummary(
        status=worst.status,
        counts=counts,
        reason=worst.reason,
        seconds=tuple(probe.seconds for probe in group if probe.status == "PASS"),
    )
