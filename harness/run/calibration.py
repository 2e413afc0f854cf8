# SPDX-License-Identifier: GPL-2.0-only
"""How slow a guest is on this host just now, against where the budgets were measured.

Emulation, a debug kernel and a busy host each cost a factor that is not known beforehand, so it
is measured: a program does a known amount of work in the guest, and its time is divided by the
reference in ``catalog.toml``, which was taken where the budgets were.
"""

from __future__ import annotations

import re

from harness.deadline import Deadline
from harness.errors import GuestLost
from harness.probes import catalog
from harness.vm.ssh import Ssh

#: In the guest: does the work and prints how long it took.
PROGRAM = "/probes/calibrate"

#: What no guest is slower than; beyond it a guest that hangs would be waited for too long.
MOST = 30.0

_ANSWER = re.compile(r"^seconds=(\d+\.\d+)$", re.MULTILINE)


def timeout_scale(seconds: float, reference: float) -> float:
    """Return by how much to multiply budgets: at least 1, at most `MOST`."""
    return min(MOST, max(1.0, seconds / reference))


def measure(ssh: Ssh, deadline: Deadline) -> float:
    """Return the `timeout_scale` of a guest now.

    Raises:
        GuestLost: if the guest died, stopped answering, or printed something else.
        DeadlineExpired: if it did not answer in time.
    """
    said = ssh.run([PROGRAM], deadline).stdout
    match = _ANSWER.search(said)
    if match is None:
        raise GuestLost(f"the guest's calibration answered {said.strip()!r}")
    return timeout_scale(float(match[1]), catalog.reference())
