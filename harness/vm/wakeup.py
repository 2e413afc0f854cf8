# SPDX-License-Identifier: GPL-2.0-only
"""A flag that one thread sets and another waits for: the guest is dead, or stuck."""

from __future__ import annotations

import contextlib
import os


class WakeupEvent:
    """A flag that one thread sets, and that a selector in another can wait for."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._set = False

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable when the flag is set."""
        return self._fd

    def is_set(self) -> bool:
        """Return whether the flag is set."""
        return self._set

    def set(self) -> None:
        """Set the flag."""
        self._set = True
        os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        """Take the flag back."""
        self._set = False
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)

    def close(self) -> None:
        """Close the file descriptor."""
        os.close(self._fd)
