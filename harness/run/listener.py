# SPDX-License-Identifier: GPL-2.0-only
"""What a stage tells of what it found out, as soon as it is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from harness.progress import Progress
from harness.records.kernel import KernelSummary
from harness.records.machine import AccelChoice


class StageListener(Protocol):
    """What a stage may call; `harness.recording` puts it into the record of a run."""

    def begin(self, name: str, detail: str = "") -> None:
        """A stage begins."""

    def know_kernel(self, kernel: KernelSummary) -> None:
        """The kernel is there."""

    def know_image(self, key: str) -> None:
        """The guest image is there, under this key."""

    def know_accel(self, accel: AccelChoice) -> None:
        """The accelerator is chosen."""

    def note(self, lines: Sequence[str]) -> None:
        """A reader of the result should see these lines."""


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
