# SPDX-License-Identifier: GPL-2.0-only
"""What the benchmarks of the harness found."""

from __future__ import annotations

import statistics
from typing import Literal

from harness.records.base import Record


class Ratio(Record, frozen=True, kw_only=True):
    """Two commands measured in turn.

    Attributes:
        what: name of the one.
        base: name of the baseline.
        seconds: wall times of the one, by round; amounts of memory if `unit` says so.
        base_seconds: those of the baseline, by round.
        at_most: the ratio that is aimed at; None if there is no aim.
        unit: of both: seconds, or 10^6 bytes.
    """

    what: str
    base: str
    seconds: tuple[float, ...]
    base_seconds: tuple[float, ...]
    at_most: float | None = None
    unit: Literal["s", "MB"] = "s"

    @property
    def ratio(self) -> float:
        """Return the ratio of the medians."""
        return statistics.median(self.seconds) / statistics.median(self.base_seconds)


class BenchPart(Record, frozen=True, kw_only=True):
    """One part of `hgm selfcheck bench all`.

    Attributes:
        name: of the part.
        ratios: what was measured.
        absent: why it cannot be measured on this host; empty if it can.
        error: what ended it, in a line; empty if it was measured.
    """

    name: str
    ratios: tuple[Ratio, ...] = ()
    absent: str = ""
    error: str = ""


class Bench(Record, frozen=True, kw_only=True):
    """The result of `hgm selfcheck bench all`.

    Attributes:
        started: UTC, ISO 8601.
        harness: version of the harness.
        host: name of the host, its CPUs and its Python. Ratios of two hosts are not compared.
        load: the host's load average when it began; above 0.5 the figures are doubtful.
        kernel: ``--kernel`` and ``--series``.
        accel: what ran the guests.
        parts: in the order in which they were measured.
    """

    started: str
    harness: str
    host: str
    load: float
    kernel: str
    accel: str
    parts: tuple[BenchPart, ...]

    @property
    def exit_code(self) -> int:
        """Return 3 if a part failed, else 1 if a ratio is above its aim, else 0."""
        if any(part.error for part in self.parts):
            return 3
        missed = (
            ratio.at_most is not None and ratio.ratio > ratio.at_most
            for part in self.parts
            for ratio in part.ratios
        )
        return int(any(missed))
