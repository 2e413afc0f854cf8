# SPDX-License-Identifier: GPL-2.0-only
"""How one thread tells another that the guest is dead."""

from __future__ import annotations

import os


class WakeupEvent:
    """A one-way flag that another thread sets and that a selector can wait for."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.rung = False

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable when the flag is set."""
        return self._fd

    def ring(self) -> None:
        """Set the flag."""
        self.rung = True
        os.eventfd_write(self._fd, 1)

    def close(self) -> None:
        """Give the file descriptor back."""
        os.close(self._fd)
