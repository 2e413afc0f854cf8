# SPDX-License-Identifier: GPL-2.0-only
"""A matrix, and a cluster of this host that runs it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness import command
from harness.deadline import Deadline
from harness.errors import InfrastructureError
from harness.records.run import RunRecord
from harness.selfcheck import scheduler
from harness.workspace import atomic_write

#: A small machine, of which one fits on any host.
_FILE = """\
kernels = [{kernel}]
series = [{series}]
configs = [{config}]
[machines.small]
hugepages = "2M:64"
memory = "1G"
cpus = 1
accel = {accel}
"""


def write(path: Path, probes: Sequence[str], passed: RunRecord) -> None:
    """Write the file of a matrix with a cell for each probe, of the kernel of an earlier run.

    Raises:
        InfrastructureError: if that run ended before its kernel was known.
    """
    kernel, accel = passed.kernel, passed.accel
    if kernel is None or accel is None:
        raise InfrastructureError("the run without a fault ended before its kernel was known")
    words = {
        "kernel": kernel.source.spec,
        "series": kernel.series.spec,
        "config": "+".join(kernel.config.features) or "base",
        "accel": accel.name,
    }
    lines = [_FILE.format(**{name: json.dumps(word) for name, word in words.items()})]
    lines += [f"[probes.p{n}]\nprobes = [{json.dumps(each)}]\n" for n, each in enumerate(probes)]
    atomic_write(path, "".join(lines))


@contextlib.contextmanager
def cluster(
    hgm: Sequence[str], directory: Path, env: Mapping[str, str], limit: Deadline
) -> Iterator[tuple[str, tuple[command.Process, ...]]]:
    """Run a scheduler and a worker for one guest; yield the address, and both processes.

    Args:
        hgm: the command, without arguments.
        directory: takes what they print: ``scheduler`` and ``worker``.
        env: their environment, on top of this process's.
        limit: when the scheduler must listen.

    Raises:
        InfrastructureError: if it does not.
    """
    with contextlib.ExitStack() as stack:

        def start(name: str, *words: str) -> command.Process:
            output = stack.enter_context((directory / name).open("wb"))
            argv = [*hgm, "cluster", name, *words]
            variables = {**env, "PYTHONUNBUFFERED": "1"}
            started = command.start(argv, env=variables, stdout=output, stderr=output)
            return stack.enter_context(started)

        process = start("scheduler", "--listen", "127.0.0.1:0")
        address = scheduler.address(process, directory / "scheduler", limit)
        yield address, (process, start("worker", address, "--cores", "1"))
