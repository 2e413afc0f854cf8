# SPDX-License-Identifier: GPL-2.0-only
"""The interface through which a stage reports its results as soon as it has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Unpack

from harness.progress import Progress
from harness.records.run import Known


class StageListener(Protocol):
    """What a stage may call; `harness.recording` puts it into the record of a run."""

    def begin(self, name: str, detail: str = "") -> None:
        """Report that a stage begins."""

    def know(self, **known: Unpack[Known]) -> None:
        """Report what has become known."""

    def note(self, lines: Sequence[str]) -> None:
        """Report lines for the notes of the record."""


class NullListener:
    """A listener for a guest without a record: it shows the stages and ignores the rest."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def begin(self, name: str, detail: str = "") -> None:
        """Announce the stage."""
        self._progress.stage(name, detail)

    def know(self, **known: Unpack[Known]) -> None:
        """Ignore it."""

    def note(self, lines: Sequence[str]) -> None:
        """Ignore the lines."""
