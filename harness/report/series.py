# SPDX-License-Identifier: GPL-2.0-only
"""The result of `hgm series list` as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from harness.kernel.registry import RegisteredSeries


def write(found: Sequence[RegisteredSeries], stream: TextIO) -> None:
    """Write name, version and description of each series, a line each."""
    width = max((len(series.name) for series in found), default=0)
    for series in found:
        unasked = "".join(f"; default for {source}" for source in series.default_for)
        below = f"; on top of {series.on}" if series.on else ""
        about = f"{series.shows}{below}{unasked}"
        stream.write(f"{series.name:<{width}}  for {series.made_for}x  {about}\n")
