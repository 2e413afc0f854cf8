# SPDX-License-Identifier: GPL-2.0-only
"""A cluster's scheduler that the selfcheck starts on this host."""

from __future__ import annotations

import time
from pathlib import Path

from harness.command import Process
from harness.deadline import Deadline
from harness.errors import InfrastructureError

_POLL_SECONDS = 0.02


def address(scheduler: Process, output: Path, limit: Deadline) -> str:
    """Wait for the address that `hgm cluster scheduler` prints once it listens.

    Args:
        scheduler: its process.
        output: the file that takes what it prints.
        limit: when it must be there.

    Raises:
        InfrastructureError: if it prints something else, or ends.
    """
    while True:
        first, end, _ = output.read_text(errors="replace").partition("\n")
        if end and first.startswith("tcp://"):
            return first
        if end or scheduler.poll() is not None:
            raise InfrastructureError(f"the scheduler did not start: {first}", log=output)
        limit.check()
        time.sleep(_POLL_SECONDS)  # it is its output that tells
