# SPDX-License-Identifier: GPL-2.0-only
"""The context that every stage gets: the cache, the deadline, and where progress is reported."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.deadline import Deadline
from harness.errors import HarnessError
from harness.progress import Progress
from harness.records.run import GuestsRequest, RunRecord
from harness.workspace import Workspace


class Cluster(Protocol):
    """Other hosts, which run the guests of a campaign's runs; see `harness.cluster`."""

    def places(self) -> int:
        """Return how many runs to have under way: what it runs at once and a few that wait."""

    def submit(
        self, run_dir: Path, wanted: GuestsRequest, seconds: float, expected: float = 0.0
    ) -> None:
        """Have another host run the guests of a run, in at most so many seconds.

        Args:
            run_dir: the run's directory, as it is before the first guest.
            wanted: what is run.
            seconds: limit for the guests, from when the host begins with them.
            expected: seconds that they will take; the longest of those that wait begins first.
        """

    def ended(
        self, run_dirs: Collection[Path], deadline: Deadline
    ) -> Mapping[Path, RunRecord | HarnessError]:
        """Return runs of these that have ended, after a wait if there is none yet.

        It may return none, so that a caller can look whether there are more places by now. The
        files of the other host are in the run's directory then, but for its record.

        Raises:
            InfrastructureError: if the cluster is gone.
            DeadlineExpired: if the deadline passes.
        """

    def cancel(self, run_dirs: Collection[Path]) -> None:
        """Have runs ended; what they did is lost."""


@dataclass(frozen=True)
class Context:
    """What every stage is given.

    Attributes:
        workspace: the cache.
        deadline: when the command must have ended.
        progress: where progress is reported.
        cluster: the hosts that run the guests of campaigns; None for this one.
    """

    workspace: Workspace
    deadline: Deadline
    progress: Progress
    cluster: Cluster | None = None
