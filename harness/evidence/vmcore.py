# SPDX-License-Identifier: GPL-2.0-only
"""Memory dumps: made by QEMU, compressed, bounded, and only the newest kept.

``HGM_VMCORES`` is how many dumps stay in a directory of runs (3; 0 makes none), and
``HGM_VMCORE_LIMIT`` the largest size of one (1G). Pages of zeros cost nothing, so the dump of a
guest of 6 GiB that has just booted is a few MiB.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, NoSpace, QemuError, SpecError
from harness.records.base import Record
from harness.sizes import parse_size
from harness.vm.qemu import Qemu

#: The name of a dump in its probe's directory.
NAME = "vmcore"

_DEFAULT_KEEP = 3
_DEFAULT_LIMIT = 2**30
_POLL_SECONDS = 0.25

#: Seconds that a dump may take on a guest of ordinary speed; QEMU reads all of its memory.
SECONDS = 120.0


class Policy(Record, frozen=True, kw_only=True):
    """Which dumps are made and kept.

    Attributes:
        keep: how many stay in a directory of runs; 0 makes none.
        limit: bytes that one may have.
    """

    keep: int = _DEFAULT_KEEP
    limit: int = _DEFAULT_LIMIT


def policy() -> Policy:
    """Return the policy that the environment asks for.

    Raises:
        SpecError: if a variable is not a number or a size.
    """
    keep = os.environ.get("HGM_VMCORES", "") or str(_DEFAULT_KEEP)
    if not keep.isascii() or not keep.isdigit():
        raise SpecError(f"HGM_VMCORES: {keep!r} is not a number", hint="such as 3, or 0 for none")
    limit = os.environ.get("HGM_VMCORE_LIMIT", "")
    return Policy(
        keep=int(keep), limit=parse_size(limit, "HGM_VMCORE_LIMIT") if limit else _DEFAULT_LIMIT
    )


def take(qemu: Qemu, path: Path, limit: int, deadline: Deadline) -> None:
    """Have QEMU dump the guest's memory and registers into a file; the guest is paused meanwhile.

    The format is kdump's with zlib, in makedumpfile's flattened form (QEMU 7.2 has no other).

    Args:
        qemu: the machine.
        path: where the dump appears, whole or not at all.
        limit: bytes; to abandon a larger dump, QEMU is killed.
        deadline: when it must be there.

    Raises:
        NoSpace: if it became larger than the limit, or than half of what the disk has left.
        QemuError: if QEMU could not.
        DeadlineExpired: if it took too long.
    """
    part = path.with_name(f".{path.name}.part").absolute()
    bound = min(limit, shutil.disk_usage(path.parent).free // 2)
    try:
        arguments = {"paging": False, "protocol": f"file:{part}", "detach": True}
        qemu.qmp.execute(
            "dump-guest-memory", {**arguments, "format": "kdump-zlib"}, deadline=deadline
        )
        _await_dump(qemu, part, bound, deadline)
        part.chmod(0o600)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _await_dump(qemu: Qemu, part: Path, bound: int, deadline: Deadline) -> None:
    while True:
        with contextlib.suppress(DeadlineExpired):
            done = qemu.qmp.wait_event(
                lambda event: event["event"] == "DUMP_COMPLETED",
                deadline.within(_POLL_SECONDS, "the dump"),
            )
            _check(done["data"])
            return
        if part.exists() and part.stat().st_size > bound:
            qemu.process.end(grace=0.0)  # QMP has no command that ends a dump
            raise NoSpace(
                f"the dump became larger than {bound >> 20} MiB",
                hint="allow more with HGM_VMCORE_LIMIT",
            )
        if qemu.process.poll() is not None:
            raise QemuError("QEMU ended during the dump")
        deadline.check()


def _check(data: dict[str, Any]) -> None:
    if "error" in data or data.get("result", {}).get("status") != "completed":
        raise QemuError(f"QEMU could not dump: {data.get('error', 'no reason given')}")


def surplus(dumps: Iterable[tuple[Path, float]], keep: int) -> tuple[Path, ...]:
    """Return which dumps go so that the newest ``keep`` stay.

    Args:
        dumps: paths with the time of each, seconds since the epoch.
        keep: how many stay.
    """
    newest_first = sorted(dumps, key=lambda dump: dump[1], reverse=True)
    return tuple(path for path, _ in newest_first[keep:])


def thin(runs: Path, keep: int) -> None:
    """Remove all but the newest dumps of the run directories in ``runs``."""
    found = []
    for path in runs.glob(f"*/probes/*/{NAME}"):
        if path.parents[2].is_symlink():
            continue  # `latest`, which is another run's name
        with contextlib.suppress(FileNotFoundError):
            found.append((path, path.stat().st_mtime))
    for path in surplus(found, keep):
        path.unlink(missing_ok=True)
