# SPDX-License-Identifier: GPL-2.0-only
"""`hgm doctor`: what this host lacks, and the command that installs it.

`./hgm` shows this before anything is installed, so it imports the standard library only.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from harness import data, host

#: Bytes that sources, builds and images of a few kernels take.
_ROOM = 15 * 2**30


@dataclass(frozen=True)
class Finding:
    """The result of one check.

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


def examine(proof: tuple[bool, str] | None = None, arch: str = "") -> list[Finding]:
    """Check everything that a run needs from this host.

    Args:
        arch: that of its guests; see `harness.host.wanted_packages`.
        proof: whether earlier runs have shown that KVM works, and how, if that is known.
    """
    checkout = [_environment()] if data.CHECKOUT is not None else []
    return [*_packages(arch), *checkout, _kvm(proof), _disk(), _memory()]


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


def _packages(arch: str) -> list[Finding]:
    missing = [*host.missing_packages(arch), *host.missing_for_python()]
    count = len(host.wanted_packages(arch))
    found = [] if missing else [Finding("packages", "ok", f"all {count} are here")]
    if not host.has_apt():
        found += [Finding("packages", "missing", package.line()) for package in missing]
        text = "no apt-get: the guest image cannot be made here, only imported"
        return [*found, Finding("apt", "note", text, "hgm image import FILE")]
    if missing:
        names = ", ".join(f"{package.name} ({package.purpose})" for package in missing)
        remedy = shlex.join(host.install_line(missing))
        found.append(Finding("packages", "missing", names, remedy))
    return found


def _environment() -> Finding:
    where = str(host.environment())
    if host.environment_is_ready():
        return Finding("python", "ok", where)
    if host.may_install():
        return Finding("python", "note", f"the first run will install Python packages into {where}")
    detail = f"{where} is not there, and HGM_INSTALL=no"
    return Finding("python", "missing", detail, "HGM_INSTALL=yes ./hgm cache list")


def _kvm(proof: tuple[bool, str] | None) -> Finding:
    unusable = host.kvm_unusable()
    if unusable:
        return Finding("kvm", "note", f"{unusable}; TCG is used, which is slower")
    if proof is not None:
        works, reason = proof
        return Finding("kvm", "ok" if works else "note", reason)
    return Finding("kvm", "note", "opens; the first run shows whether a guest starts under it")


def _disk() -> Finding:
    root = host.cache_root()
    while not root.exists():
        root = root.parent
    free = shutil.disk_usage(root).free
    text = f"{free / 2**30:.0f} GiB free for the cache in {host.cache_root()}"
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
