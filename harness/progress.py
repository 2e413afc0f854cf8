# SPDX-License-Identifier: GPL-2.0-only
"""The interface through which a stage reports its progress."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What a stage may call; `harness.report.progress` implements it for terminals and for logs."""

    def stage(self, name: str, detail: str = "") -> None:
        """Report that a stage begins, such as ``build`` or ``boot``."""

    def step(self, done: int, total: int | None, unit: str) -> None:
        """Report that ``done`` of ``total`` (None: unknown) ``unit`` of the stage are done."""

    def note(self, text: str) -> None:
        """Report one line that belongs in the log."""


class Silent:
    """A progress that reports nothing."""

    def stage(self, name: str, detail: str = "") -> None:
        """Ignore the stage."""

    def step(self, done: int, total: int | None, unit: str) -> None:
        """Ignore the step."""

    def note(self, text: str) -> None:
        """Ignore the note."""
