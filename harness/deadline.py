# SPDX-License-Identifier: GPL-2.0-only
"""A time budget, passed down from the command line to every call that waits."""

from __future__ import annotations

import time
from dataclasses import dataclass

from harness.errors import DeadlineExpired


@dataclass(frozen=True)
class Deadline:
    """A point in time, and the action that must be done by then.

    Attributes:
        at: seconds on ``time.monotonic``'s clock.
        what: what the budget is for; the error names it.
        seconds: the length of the budget, for messages.
    """

    at: float
    what: str
    seconds: float

    @classmethod
    def after(cls, seconds: float, what: str) -> Deadline:
        """Return a deadline ``seconds`` from now for ``what``."""
        return cls(time.monotonic() + seconds, what, seconds)

    def within(self, seconds: float, what: str) -> Deadline:
        """Return a deadline ``seconds`` from now, or this one if it comes first."""
        inner = Deadline.after(seconds, what)
        return inner if inner.at <= self.at else self

    def remaining(self) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self.at - time.monotonic())

    def expired(self) -> bool:
        """Return whether nothing is left."""
        return self.remaining() <= 0.0

    def check(self) -> None:
        """Raise DeadlineExpired if nothing is left."""
        if self.expired():
            raise self.error()

    def error(self) -> DeadlineExpired:
        """Return the error for what took too long."""
        return DeadlineExpired(f"{self.what} took longer than {self.seconds:g} s")
