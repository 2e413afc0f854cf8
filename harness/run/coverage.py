# SPDX-License-Identifier: GPL-2.0-only
"""Which lines the probes of a guest reached, as its kernel counted them (gcov).

The run directory gets all that `harness.evidence.coverage` needs, so that it outlives the kernel's
place in the cache::

    coverage/source/mm/hugetlb.c      a counted source, and hugetlb.gcno beside it
    coverage/guest-N/mm/hugetlb.gcda  the counters of the Nth guest
"""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import InfrastructureError
from harness.records.kernel import Kernel
from harness.store import rundir
from harness.vm.guest import Guest

_COUNTERS = ("find", "/sys/kernel/debug/gcov", "-name", "*.gcda")


def collect(kernel: Kernel, guest: Guest, run_dir: Path, deadline: Deadline) -> str:
    """Copy a guest's counters into the run directory; return why that failed, or nothing.

    Args:
        kernel: the guest's; nothing is done if it counts no lines.
        guest: whose probes have ended.
        run_dir: takes ``coverage/``.
        deadline: for the guest's answers.
    """
    if not kernel.coverage:
        return ""
    directory = run_dir / rundir.COVERAGE
    if not directory.exists():
        shutil.copytree(kernel.coverage, directory / "source")
    number = len(list(directory.glob("guest-*"))) + 1
    target = directory / f"guest-{number}"
    target.mkdir()
    try:
        made = guest.ssh.run(_COUNTERS, deadline, check=True).stdout.splitlines()
        for notes in sorted((directory / "source").rglob("*.gcno")):
            inside = notes.relative_to(directory / "source").with_suffix(".gcda")
            # The whole name is the object's path where it was compiled.
            for name in (each for each in made if each.endswith(f"/{inside}")):
                (target / inside).parent.mkdir(parents=True, exist_ok=True)
                (target / inside).write_bytes(guest.ssh.get(name, deadline))
    except InfrastructureError as error:
        return f"the lines that the probes of guest {number} reached are not known: {error.message}"
    return ""
