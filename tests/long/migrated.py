# SPDX-License-Identifier: GPL-2.0-only
"""The guest that test_migration.py migrates: its firmware, and what its memory must hold."""

from __future__ import annotations

import itertools
from array import array
from pathlib import Path

from harness import command
from harness.deadline import Deadline

#: Bytes of the guest's memory. It writes to what lies above `BEGIN`, where an x86 machine has
#: nothing but memory.
SIZE = 32 << 20
BEGIN = 1 << 20
PAGE = 4096

_SOURCE = Path(__file__).with_suffix(".S")
_LINK = "-Wl,--oformat=binary,-Ttext=0xffff0000,-e,start,--build-id=none"


def firmware(directory: Path, deadline: Deadline) -> bytes:
    """Return the last 64 KiB below 4 GiB, built with the host's compiler."""
    target = directory / "firmware"
    sizes = [f"-DBEGIN={BEGIN}", f"-DEND={SIZE}"]
    argv = ["gcc", "-m32", "-nostdlib", "-static", *sizes, _LINK, "-o", str(target), str(_SOURCE)]
    command.run(argv, deadline)
    return target.read_bytes()


def mistakes(source: bytes, destination: bytes) -> list[str]:
    """Return what is wrong with the memory of both sides, a line each; nothing if all is right.

    The source stopped when the destination went on, so each page of the destination has the
    source's count or more.

    Args:
        source: `SIZE` bytes: the memory of the source, which is stopped.
        destination: the same of the destination.
    """
    assert len(source) == len(destination) == SIZE
    sides = {"source": source, "destination": destination}
    found = [line for side, memory in sides.items() for line in _inconsistent(side, memory)]
    if source[:BEGIN] != destination[:BEGIN]:
        found.append("the first MiB, which the guest does not write to, differs")
    counts = zip(passes(source), passes(destination), strict=True)
    for page, (before, after) in enumerate(counts, BEGIN // PAGE):
        if after < before:
            found.append(f"destination: page {page} has {after} passes, the source had {before}")
    return found


def passes(memory: bytes) -> list[int]:
    """Return how often each page above `BEGIN` was counted; less than 0 is another page's."""
    return [_word(memory, address) - address for address in range(BEGIN, SIZE, PAGE)]


def _inconsistent(side: str, memory: bytes) -> list[str]:
    """Return what no such guest leaves at any moment, whatever the other side has."""
    found = [
        f"{side}: page {address // PAGE} has other contents than the guest wrote"
        for address in range(BEGIN, SIZE, PAGE)
        if memory[address + 4 : address + PAGE] != _rest(address)
    ]
    # It stops in a pass: the pages before some page have been counted once more than the others.
    counts = passes(memory)
    steps = [page for page, (one, two) in enumerate(itertools.pairwise(counts), 1) if one != two]
    if len(steps) > 1 or counts[0] - counts[-1] not in (0, 1):
        where = ", ".join(str(BEGIN // PAGE + step) for step in steps[:4])
        ends = f"from {counts[0]} to {counts[-1]}"
        found.append(f"{side}: the count of passes goes {ends} and changes at pages {where}")
    return found


def _word(memory: bytes, address: int) -> int:
    return int.from_bytes(memory[address : address + 4], "little")


def _rest(address: int) -> bytes:
    """Return a page but for its first word: each word is its own address."""
    return array("I", range(address + 4, address + PAGE, 4)).tobytes()
