# SPDX-License-Identifier: GPL-2.0-only
"""The `hgm` command that does a run, made from its request: the inverse of `harness.cli`.

Options with default values are left out, except --kernel, --series, --expect and --arch, whose
default depends on the reader's host.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.arch import arch
from harness.kernel.obtain import KernelRequest
from harness.records.machine import MachineSpec, pages_option
from harness.run.request import RunRequest
from harness.run.subject import Subject
from harness.vm import spec


def words(request: RunRequest) -> tuple[str, ...]:
    """Return the command that does a run."""
    kernel = request.subject.kernel
    if request.build_only:
        return ("kernel", "build", *kernel_words(kernel))
    return (
        "run",
        *subject_words(request.subject),
        *probe_words(request.probes),
        *_unless("--touched", request.touched, ""),
        *(() if kernel.mail_from else _unless("--mail-from", request.touched_from, "")),
        *(word for each in request.kselftests for word in ("--kselftest", each)),
        *("--expect", request.expect.name),
        *(("--strict",) if request.strict else ()),
        *_unless("--repeat", str(request.repeat), "1"),
        *_unless("--guests", str(request.guests), "1"),
        *(("--fresh-guest" if request.fresh_guest else "--alone",) if request.alone else ()),
    )


def replay_words(directory: Path, accel: str) -> tuple[str, ...]:
    """Return the command that replays a bundle; an accelerator that is not given is empty."""
    return ("replay", str(directory.absolute()), *_unless("--accel", accel, ""))


def subject_words(subject: Subject) -> tuple[str, ...]:
    """Return the options that name a kernel, its machine and what runs it."""
    return (
        *kernel_words(subject.kernel),
        *machine_words(subject.machine),
        *_unless("--accel", subject.accel, "auto"),
    )


def kernel_words(request: KernelRequest) -> tuple[str, ...]:
    """Return the options that name a kernel."""
    return (
        *("--kernel", request.source, "--series", request.series),
        *("--arch", arch(request.arch).kernel),
        *_unless("--mail-from", request.mail_from, ""),
        *_unless("--resolve", request.resolve, ""),
        *(("--fuzz",) if request.fuzz else ()),
        *(("--first", str(request.first)) if request.first is not None else ()),
        *(word for patch in request.extra for word in ("--with", patch)),
        *(word for feature in request.features for word in ("--config", feature)),
    )


def machine_words(machine: MachineSpec) -> tuple[str, ...]:
    """Return the options that name a machine."""
    sized = spec.machine(
        machine.hugepages, cpus=machine.cpus, nodes=machine.nodes, arch_name=machine.arch
    ).memory
    return (
        *_unless("--hugepages", pages_option(machine.hugepages), arch(machine.arch).hugepages),
        *_unless("--memory", str(machine.memory), str(sized)),
        *_unless("--cpus", str(machine.cpus), str(spec.DEFAULT_CPUS)),
        *_unless("--nodes", str(machine.nodes), str(spec.DEFAULT_NODES)),
        *(("--hvo",) if machine.hvo else ()),
        *(("--hugetlb-cma",) if machine.hugetlb_cma else ()),
    )


def probe_words(globs: Iterable[str]) -> tuple[str, ...]:
    """Return the options that choose probes."""
    return tuple(word for glob in globs for word in ("--probe", glob))


def _unless(option: str, value: str, usual: str) -> tuple[str, ...]:
    return () if value == usual else (option, value)
