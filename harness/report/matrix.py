# SPDX-License-Identifier: GPL-2.0-only
"""Probes by kernels: a row a probe, a column a kernel, a letter a status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.records.probe import Status

LETTERS: dict[Status, str] = {
    "PASS": ".",
    "SKIP": "s",
    "FAIL": "F",
    "KNOWN": "k",
    "CRASH": "C",
    "HANG": "H",
    "LOST": "L",
}
LEGEND = ". pass, s skip, F fail, k known issue, C crash, H hang, L lost, blank if not probed"


def lines(kernels: Sequence[tuple[int, Mapping[str, Status]]]) -> Iterator[str]:
    """Yield the matrix of kernels, each given by its number and the status of each probe."""
    names = list(dict.fromkeys(name for _, statuses in kernels for name in statuses))
    width = max(map(len, names), default=0)
    yield f"{'':<{width}}  " + " ".join(f"{number:>2}" for number, _ in kernels)
    for name in names:
        cells = (LETTERS[s] if (s := statuses.get(name)) else "" for _, statuses in kernels)
        yield f"{name:<{width}}  " + " ".join(f"{cell:>2}" for cell in cells).rstrip()
