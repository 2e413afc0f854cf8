# SPDX-License-Identifier: GPL-2.0-only
"""``python -m harness.selfcheck.enough_cpus ...`` is `hgm` on a host with CPUs for all guests.

It is for a benchmark of the harness's memory, which does not depend on how fast guests are.
"""

from __future__ import annotations

import functools
import runpy

from harness.run import parallel

if __name__ == "__main__":
    parallel.admitted = functools.partial(parallel.admitted, cpus=1 << 10)
    runpy.run_module("harness.cli", run_name="__main__", alter_sys=True)
