# SPDX-License-Identifier: GPL-2.0-only
"""How a stage tells people what it is doing, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What every stage may call; `harness.report.progress` has the terminal and plain forms."""

    def stage(self, name: str, detail: str = "") -> None:
        """Say that a new stage begins, such as ``build`` or ``boot``."""

    def step(self, done: int, total: int | None, unit: str) -> None:
        """Say how far the current stage is: ``done`` of ``total`` (None: unknown) ``unit``."""

    def note(self, text: str) -> None:
        """Say one line that a reader of the log wants to keep."""


class Silent:
    """A progress that tells nobody."""

    def stage(self, name: str, detail: str = "") -> None:
        """Ignore the stage."""

    def step(self, done: int, total: int | None, unit: str) -> None:
        """Ignore the step."""

    def note(self, text: str) -> None:
        """Ignore the note."""
