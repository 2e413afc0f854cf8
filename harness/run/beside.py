# SPDX-License-Identifier: GPL-2.0-only
"""The guest image and the probes, made while make compiles a kernel.

``python -m harness.run.beside`` is a process of its own, so that it ends with the build, however
that ends. Nothing depends on it: what it did not make, or could not, the run makes and reports.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from harness import command
from harness.arch import arch
from harness.command import Process
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import HarnessError
from harness.image import image
from harness.probes import catalog
from harness.probes.compile import compile_probes
from harness.progress import Silent
from harness.records.base import from_json, to_json
from harness.records.kernel import Kernel
from harness.records.probe import ProbeSpec
from harness.workspace import Workspace


def start(kernel: Kernel, specs: Iterable[ProbeSpec], context: Context) -> Process:
    """Start the process.

    Args:
        kernel: one of which the UAPI headers and the configuration are there.
        specs: the probes; those that are not in the catalogue are not compiled.
        context: cache and deadline.
    """
    sources = sorted({spec.source for spec in specs})
    words = (str(context.workspace.cache), str(context.deadline.remaining()))
    argv = (sys.executable, "-P", "-m", __name__, *words, to_json(kernel).decode(), *sources)
    return command.start(argv)


def _make(cache: str, seconds: str, described: str, *sources: str) -> None:
    kernel = from_json(described.encode(), Kernel)
    deadline = Deadline.after(float(seconds), "make")
    context = Context(Workspace(Path(cache)), deadline, Silent())
    image.obtain(arch(kernel.arch), context)
    specs = [spec for spec in catalog.load() if spec.source in sources]
    compile_probes(specs, context, kernel=kernel, log=Path(os.devnull))


if __name__ == "__main__":
    # Half-made files are removed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended with the build"))
    try:
        _make(*sys.argv[1:])
    except (HarnessError, OSError) as error:
        sys.exit(str(error))
