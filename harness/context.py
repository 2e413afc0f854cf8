# SPDX-License-Identifier: GPL-2.0-only
"""What every stage is given: the cache, the deadline, and who is told how far it is."""

from __future__ import annotations

from dataclasses import dataclass

from harness.deadline import Deadline
from harness.progress import Progress
from harness.workspace import Workspace


@dataclass(frozen=True)
class Context:
    """What everything is done with.

    Attributes:
        workspace: the cache.
        deadline: when all must be over.
        progress: who is told how far it is.
    """

    workspace: Workspace
    deadline: Deadline
    progress: Progress
