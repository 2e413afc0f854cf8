# SPDX-License-Identifier: GPL-2.0-only
"""What a client and the workers of a cluster tell each other."""

from __future__ import annotations

from harness.records.base import Record
from harness.records.run import GuestsRequest


class ClusterTask(Record, frozen=True, kw_only=True):
    """The guests of one run, for a worker; the run's directory travels beside it.

    Attributes:
        harness: version of the client.
        guests: what is run, with the paths that it has at the client.
        inputs: SHA-256 of the archive of each file or directory that it is made of, by its path.
        seconds: limit for the guests.
    """

    harness: str
    guests: GuestsRequest
    inputs: dict[str, str]
    seconds: float


class TaskResult(Record, frozen=True, kw_only=True):
    """How a worker ended with a task; the run's directory travels beside it.

    Attributes:
        address: the worker's.
        host: the worker's name.
        error: why there is no record, in a line; empty if there is one.
    """

    address: str
    host: str
    error: str = ""
