# SPDX-License-Identifier: GPL-2.0-only
"""A run that the kernel's OOM killer ends, in a memory cgroup of its own.

Needs root and a memory controller of cgroups, of version 1 or 2. The rest of the host does not run
out of memory.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.store import rundir
from tests.kernel.conftest import STOCK, command_line

_CGROUPS = Path("/sys/fs/cgroup")

#: Enough for the harness and a guest that does not touch a page of 1 GiB.
_BYTES = 900 << 20


@pytest.fixture
def small() -> Iterator[Path]:
    """Return a cgroup whose processes get 900 MiB, and no swap."""
    if os.geteuid() != 0:
        pytest.skip("root makes cgroups")
    first = (_CGROUPS / "memory").is_dir()
    if not first and "memory" not in (_CGROUPS / "cgroup.subtree_control").read_text().split():
        pytest.skip("no memory controller in /sys/fs/cgroup/cgroup.subtree_control")
    group = (_CGROUPS / "memory" if first else _CGROUPS) / f"hgm-test-{os.getpid()}"
    group.mkdir()
    (group / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(_BYTES))
    swap = group / ("memory.memsw.limit_in_bytes" if first else "memory.swap.max")
    if swap.exists():
        swap.write_text(str(_BYTES) if first else "0")
    yield group
    group.rmdir()


def test_a_guest_that_the_oom_killer_ends_three_times_is_infrastructure_and_no_verdict(
    small: Path, tmp_path: Path
) -> None:
    words = ("run", "--kernel", STOCK, "--series", "none", "--runs-dir", str(tmp_path / "runs"))
    inside = ("sh", "-c", f'echo $$ >"{small}/cgroup.procs" && exec "$@"', "sh")
    argv = (*inside, *command_line(*words, "--probe", "baseline/memfd-map/1G"))
    done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 3, done.stderr
    *_, last = done.stdout.splitlines()
    assert last.startswith(
        "ERROR: the host's OOM killer ended the guest in baseline/memfd-map/1G"
    ), done.stdout
    record = rundir.load(tmp_path / "runs" / "latest")
    assert [probe.status for probe in record.probes] == ["LOST"]
    again = [note for note in record.notes if note.endswith("it is run again")]
    assert len(again) == 2
    assert len(record.guests) == 3
