# SPDX-License-Identifier: GPL-2.0-only
"""`hgm doctor`: what this host has and lacks, and the exact line that mends it."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from harness import host
from harness.image.packages import LISTS
from harness.vm import accel
from harness.workspace import Workspace

#: Bytes that sources, builds and images of a few kernels take.
_ROOM = 15 * 2**30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        state: ``ok``; ``note``, which only costs time; or ``missing``, without which it fails.
        detail: what was found.
        remedy: the line to type, where there is one.
    """

    name: str
    state: Literal["ok", "note", "missing"]
    detail: str
    remedy: str = ""


def examine(workspace: Workspace) -> list[Finding]:
    """Look at everything that a run needs from this host."""
    return [_packages(), _package_lists(), _kvm(workspace), _disk(workspace), _memory()]


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 3 if something is missing, else 0."""
    return 3 if any(finding.state == "missing" for finding in findings) else 0


def write(findings: Sequence[Finding], stream: TextIO) -> None:
    """Write a line for each finding, and the remedy below it."""
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        stream.write(f"{finding.state:<8}{finding.name:<{width}}  {finding.detail}\n")
        if finding.remedy:
            stream.write(f"{'':<{width + 10}}{finding.remedy}\n")


def _packages() -> Finding:
    missing = host.missing_packages()
    if not missing:
        return Finding("packages", "ok", f"all {len(host.packages())} are here")
    names = ", ".join(f"{package.name} ({package.purpose})" for package in missing)
    return Finding("packages", "missing", names, shlex.join(host.install_line(missing)))


def _package_lists() -> Finding:
    if any(LISTS.glob("*_Packages*")):
        return Finding("apt lists", "ok", str(LISTS))
    return Finding("apt lists", "missing", f"none in {LISTS}", shlex.join(host.update_line()))


def _kvm(workspace: Workspace) -> Finding:
    unusable = accel.unusable()
    if unusable is not None:
        return Finding("kvm", "note", f"{unusable.reason}; TCG is used, which is slower")
    known = accel.remembered(workspace)
    if known is None:
        return Finding("kvm", "note", "opens; the first run proves whether a guest lives under it")
    return Finding("kvm", "ok" if known.alive else "note", known.reason)


def _disk(workspace: Workspace) -> Finding:
    root = workspace.cache
    while not root.exists():
        root = root.parent
    free = shutil.disk_usage(root).free
    text = f"{free / 2**30:.0f} GiB free for the cache in {workspace.cache}"
    if free >= _ROOM:
        return Finding("disk", "ok", text)
    return Finding("disk", "note", f"{text}; {_ROOM >> 30} GiB are wanted", "hgm cache prune")


def _memory() -> Finding:
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    text = f"{available / 2**30:.1f} GiB available"
    if available >= 4 * 2**30:
        return Finding("memory", "ok", text)
    return Finding("memory", "note", f"{text}; a guest that fills two 1 GiB pages wants 4 GiB")
