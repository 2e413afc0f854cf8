# SPDX-License-Identifier: GPL-2.0-only
"""The randomised probes find seeded faults from a fresh seed, and what they shrink replays.

A kernel for each fault. The faults are of different classes, and each is asked about once: a seed
that finds nothing fails the test.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.conftest import Run, hgm

__all__ = ["hgm"]

Hgm = Callable[..., Run]

#: Seconds of the guest's time in which a fault must be found, the shrinking included.
_SECONDS = {"random": 60.0, "random-minutes": 300.0}

FAULTS = {
    "wrong-subpage-in-continue": "hgm/random/2M",
    "collapse-rounds-outwards": "hgm/random/2M",
    "stale-entries-after-truncate": "hgm/random/2M",
    "write-protect-lost-on-split": "hgm/random/2M",
    "write-protect-lost-on-mprotect": "baseline/random/2M",
    "mark-lost-on-unshare": "baseline/random-minutes/2M",
    "unprotect-makes-writable": "baseline/random-minutes/2M",
    "scan-skips-pages-of-children": "baseline/random-minutes/2M",
    "async-write-skips-copy": "baseline/random-minutes/2M",
}

_GRAIN = {"hgm": (), "baseline": ("--grain", "huge")}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fresh_seed_finds_it_and_the_shrunk_sequence_does_again(hgm: Hgm, fault: str) -> None:
    probe = FAULTS[fault]
    run = hgm("run", "--series", f"fault:{fault}", "--expect", "report", "--probe", probe, "--json")
    (found,) = run.record["probes"]
    assert (found["name"], found["status"]) == (probe, "FAIL"), run.err
    assert found["seconds"] <= _SECONDS[probe.split("/")[1]]
    said = Path(run.record["run_dir"], found["directory"], "ktap").read_text()
    seed = re.search(r"^# --seed (\d+) ", said, re.MULTILINE)
    sequence = re.search(r"--replay '([^']+)'$", said, re.MULTILINE)
    assert seed is not None
    assert sequence is not None, said
    words = ("--size", "2M", *_GRAIN[probe.partition("/")[0]], "--replay", sequence[1])
    again = hgm("guest", "shell", "--series", f"fault:{fault}", "--", "/probes/random_ops", *words)
    assert again.code == 1, again.out + again.err
    assert "not ok" in again.out
    operations = sequence[1].count(";") + 1
    took = f"seed {seed[1]}, {found['seconds']:.1f} s, {operations} operations: {sequence[1]}"
    sys.stderr.write(f"\n{fault}: {took}\n")


#: Two reserved private mappings of a mount with min_size, and UFFDIO_COPY in a child of fork.
_COPY = "map 0 3 1 1 0 12; map 0 4 1 1 0 6; fork 0; register 1 4 1 17; copy 1 4"


@pytest.mark.parametrize("huge", ["always", "never"])
@pytest.mark.parametrize("holes", [0, 1])
def test_a_copy_does_not_depend_on_transparent_huge_pages(hgm: Hgm, huge: str, holes: int) -> None:
    """Of memory that is not there the kernel copies in two steps."""
    words = f"--size 2M --grain huge --replay '{_COPY} {holes}'"
    file = "/sys/kernel/mm/transparent_hugepage/enabled"
    script = f"echo {huge} > {file} && /probes/random_ops {words}"
    done = hgm("guest", "shell", "--series", "none", "--", "sh", "-c", script)
    assert done.code == 0, done.out + done.err


def test_a_copy_gives_back_a_surplus_page_on_the_way(hgm: Hgm) -> None:
    """So that the pool is smaller after UFFDIO_COPY of memory that is not there."""
    operations = "map 0 3 1 2 2 4; resize 0 7; register 0 3 1 0; copy 0 3 1"
    words = f"/probes/random_ops --size 2M --grain huge --replay '{operations}'"
    done = hgm("guest", "shell", "--series", "none", "--", "sh", "-c", words)
    assert done.code == 0, done.out + done.err
