# SPDX-License-Identifier: GPL-2.0-only
"""The interface through which a stage reports its results as soon as it has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from harness.progress import Progress
from harness.records.kernel import KernelSummary
from harness.records.machine import AccelChoice


class StageListener(Protocol):
    """What a stage may call; `harness.recording` puts it into the record of a run."""

    def begin(self, name: str, detail: str = "") -> None:
        """Report that a stage begins."""

    def know_kernel(self, kernel: KernelSummary) -> None:
        """Report the kernel."""

    def know_image(self, key: str) -> None:
        """Report the key of the guest image."""

    def know_accel(self, accel: AccelChoice) -> None:
        """Report the accelerator."""

    def note(self, lines: Sequence[str]) -> None:
        """Report lines for the notes of the record."""


class NullListener:
    """A listener for a guest without a record: it shows the stages and ignores the rest."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def begin(self, name: str, detail: str = "") -> None:
        """Announce the stage."""
        self._progress.stage(name, detail)

    def know_kernel(self, kernel: KernelSummary) -> None:
        """Ignore the kernel."""

    def know_image(self, key: str) -> None:
        """Ignore the image."""

    def know_accel(self, accel: AccelChoice) -> None:
        """Ignore the accelerator."""

    def note(self, lines: Sequence[str]) -> None:
        """Ignore the lines."""
