# SPDX-License-Identifier: GPL-2.0-only
"""What a worker has and what a task needs, as Dask's resources."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any

from harness.arch import arches, host_arch
from harness.context import Context
from harness.errors import SpecError
from harness.records.run import GuestsRequest
from harness.run import parallel
from harness.vm import accel, hoststat, lease

CPUS, MEMORY, DISK, KVM = "hgm-cpus", "hgm-memory", "hgm-disk", "hgm-kvm"

#: Stands before the name of each architecture.
ARCH = "hgm-arch-"

#: What a run may write: its evidence, and a memory dump.
_DISK = 2 << 30

#: The amount of what tasks use without using it up.
_PLENTY = 1_000_000.0


def of_task(wanted: GuestsRequest) -> dict[str, float]:
    """Return what the guests of a run need."""
    machine = wanted.made_of.machine
    needs: dict[str, float] = {
        CPUS: machine.cpus * wanted.guests,
        MEMORY: parallel.may_touch(machine) * wanted.guests,
        DISK: _DISK,
        f"{ARCH}{machine.arch}": 1,
    }
    return needs | ({KVM: 1} if wanted.accel == "kvm" else {})


def of_host(context: Context, cores: int = 0, memory: int = 0) -> dict[str, float]:
    """Return what this host has; KVM only if it was seen to work.

    Args:
        context: cache, deadline, progress.
        cores: how many may be used; by default all that no other worker offers.
        memory: bytes that may be used; by default four fifths of what is available, less what
            other workers offer.

    Raises:
        SpecError: if other workers offer all of it.
    """
    others = lease.offered(context.workspace)
    cores = cores or len(os.sched_getaffinity(0)) - others.cpus
    memory = memory or int(hoststat.available() * parallel.SHARE) - others.memory
    if cores <= 0 or memory <= 0:
        what = "CPUs" if cores <= 0 else "memory"
        raise SpecError(
            f"a worker that runs on this host offers all of its {what}",
            hint="one is enough; for several, divide the host by --cores and --memory",
        )
    here = host_arch()
    chosen = accel.choose(
        "auto", accel.proof_kernels(None, here, context), context, arch_name=here.name
    )
    guests = [each.name for each in arches().values() if shutil.which(each.qemu)]
    return {
        CPUS: cores,
        MEMORY: memory,
        DISK: shutil.disk_usage(context.workspace.room("tmp")).free,
        **({KVM: _PLENTY} if chosen.name == "kvm" else {}),
        **{f"{ARCH}{name}": _PLENTY for name in guests},
    }


def lacking(needs: Mapping[str, float], workers: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what no worker has as much of as a task needs; empty if one has all of it."""
    if not workers or any(_has(each["resources"], needs) for each in workers.values()):
        return ""
    most = {name: max(_amount(each, name) for each in workers.values()) for name in needs}
    short = [name for name in needs if most[name] < needs[name]]
    words = (f"{name.removeprefix('hgm-')} {needs[name]:g}" for name in short or needs)
    return ", ".join(words)


def _has(resources: Mapping[str, float], needs: Mapping[str, float]) -> bool:
    return all(resources.get(name, 0) >= amount for name, amount in needs.items())


def _amount(worker: Mapping[str, Any], name: str) -> float:
    return float(worker["resources"].get(name, 0))
