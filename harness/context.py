# SPDX-License-Identifier: GPL-2.0-only
"""The context that every stage gets: the cache, the deadline, and where progress is reported."""

from __future__ import annotations

from dataclasses import dataclass

from harness.deadline import Deadline
from harness.progress import Progress
from harness.workspace import Workspace


@dataclass(frozen=True)
class Context:
    """What every stage is given.

    Attributes:
        workspace: the cache.
        deadline: when the command must have ended.
        progress: where progress is reported.
    """

    workspace: Workspace
    deadline: Deadline
    progress: Progress
