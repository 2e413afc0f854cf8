# SPDX-License-Identifier: GPL-2.0-only
"""How a probe ended in a run, its repetitions together. Pure."""

from __future__ import annotations

from collections import Counter
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


def _summary(group: Sequence[ProbeResult]) -> ProbeSummary:
    order: tuple[Status, ...] = (*BAD, "KNOWN", "SKIP", "PASS", "LOST")
    worst = min(group, key=lambda probe: order.index(probe.status))
    return ProbeSummary(
        status=worst.status,
        counts=dict(Counter(probe.status for probe in group)),
        reason=worst.reason,
        seconds=tuple(probe.seconds for probe in group if probe.status == "PASS"),
    )
