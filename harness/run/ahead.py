# SPDX-License-Identifier: GPL-2.0-only
"""What a run needs for its guest and its verdict, loaded while it waits for something else."""

from __future__ import annotations

import contextlib
import functools
import importlib
import threading

from harness.errors import HarnessError
from harness.report import files
from harness.store.history import background

# In the order in which it is needed: imported at the same time, all of them would be late.
_MODULES = (
    "harness.vm.qmp",
    "harness.vm.ssh",
    "harness.run.checkpoint",
    "harness.run.capture",
    "harness.run.judging",
    "harness.run.other_kernel",
)


@functools.cache
def load() -> None:
    """Begin to load it, beside make or the first guest's boot; only the first call does."""
    threading.Thread(target=_load, name="for the verdict", daemon=True).start()


def _load() -> None:
    for name in _MODULES:
        importlib.import_module(name)
    from harness.probes import known_issues

    with contextlib.suppress(HarnessError):  # who needs it gets the error
        known_issues.load()
    files.prepare()
    background.prepare()
