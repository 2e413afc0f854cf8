# SPDX-License-Identifier: GPL-2.0-only
"""How much slower a guest is now than the machine on which the budgets were measured.

Emulation, a debug kernel and a busy host each cost a factor that is not known beforehand, so it
is measured: a program does a known amount of work in the guest, and its time is divided by the
reference in ``catalog.toml``, which was taken where the budgets were.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.deadline import Deadline
from harness.errors import GuestLost
from harness.probes import catalog

if TYPE_CHECKING:
    from harness.vm.ssh import Ssh

#: In the guest: does the work and prints how long it took.
PROGRAM = "/probes/calibrate"

#: The largest scale: with a larger one, waiting for a guest that hangs would take too long.
MOST = 30.0

_ANSWER = re.compile(r"^seconds=(\d+\.\d+)$", re.MULTILINE)


def timeout_scale(seconds: float, reference: float) -> float:
    """Return the factor for budgets: at least 1, at most `MOST`."""
    return min(MOST, max(1.0, seconds / reference))


def read(printed: str) -> float:
    """Return the `timeout_scale` of a guest from what its program printed.

    Raises:
        GuestLost: if it printed something else.
    """
    match = _ANSWER.search(printed)
    if match is None:
        raise GuestLost(f"the guest's calibration printed {printed.strip()!r}")
    return timeout_scale(float(match[1]), catalog.reference())


def measure(ssh: Ssh, deadline: Deadline) -> float:
    """Return the `timeout_scale` of a guest now.

    Raises:
        GuestLost: if the guest died, stopped answering, or printed something else.
        DeadlineExpired: if it did not answer in time.
    """
    return read(ssh.run([PROGRAM], deadline).stdout)
