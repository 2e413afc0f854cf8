# SPDX-License-Identifier: GPL-2.0-only
"""Who is told what a stage finds out, as soon as it is known."""

from __future__ import annotations

from typing import Any, Protocol

from harness.progress import Progress


class StageListener(Protocol):
    """Who is told what a stage finds out, as soon as it is known."""

    def begin(self, name: str, detail: str = "") -> None:
        """A stage begins."""

    def know(self, **fields: Any) -> None:
        """Fields of `harness.records.run.RunRecord` are known now."""


class NullListener:
    """A witness that tells people only."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def begin(self, name: str, detail: str = "") -> None:
        """Announce the stage."""
        self._progress.stage(name, detail)

    def know(self, **fields: Any) -> None:
        """Ignore the fields."""
