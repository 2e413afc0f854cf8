# SPDX-License-Identifier: GPL-2.0-only
"""A history of a few nights with run directories, for the tests of the site."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from harness.judge import checkpoint
from harness.records.base import to_json
from harness.records.probe import Capture, Splat, Status
from harness.records.run import RunRecord
from harness.store import rundir
from tests.unit.store.pasts import night

_CHECKPOINTS = Path(__file__).parents[2] / "data/runs-schema1/probed/probes/baseline+memfd-alias+2M"

CONSOLE = "".join(f"[    0.{number:06}] line {number}\n" for number in range(1, 40))
SPLAT = "WARNING: CPU: 1 at f+0x1/0x20"


def record(number: int, statuses: Mapping[str, Status], runs: Path, key: str = "") -> RunRecord:
    """Write the directory of a night's run and return its record.

    Args:
        number: which night.
        statuses: how each probe ended; one that did not pass had a splat.
        runs: where the directory is made.
        key: of the kernel.
    """
    made = night(number, statuses, key=key)
    directory = runs / made.run_dir.rpartition("/")[2]
    console = CONSOLE + f"{SPLAT}\n f+0x1/0x20\n"
    splat = Splat(
        kind="warning", title=SPLAT, block=(SPLAT, " f+0x1/0x20"), offset=console.index(SPLAT)
    )
    probes = tuple(
        msgspec.structs.replace(
            probe,
            directory=rundir.directory_for(probe.name),
            splats=() if probe.status == "PASS" else (splat,),
        )
        for probe in made.probes
    )
    made = msgspec.structs.replace(made, run_dir=str(directory), probes=probes)
    for probe in probes:
        where = directory / probe.directory
        where.mkdir(parents=True)
        (where / rundir.KTAP).write_text(f"KTAP version 1\n1..1\nok 1 <b>{probe.name}</b>\n")
        (where / rundir.STDERR).write_text("")
        if probe.splats:
            capture = Capture(why="splat", symbols={"f+0x1/0x20": ("f at mm/f.c:7",)})
            (where / rundir.CAPTURE).write_bytes(to_json(capture))
    (directory / rundir.SERIAL).write_text(console)
    (directory / rundir.RESULT).write_bytes(to_json(made))
    return made


def add_study(record: RunRecord, name: str) -> None:
    """Let a probe of a run print what pre-copy and post-copy moved, and how long that took."""
    figures = (
        "postcopy: backing=split pattern=uniform unit=4096 memory=1073741824 touched=8192 "
        "faults=3 again=0 moved=8192"
    )
    (Path(record.run_dir) / rundir.directory_for(name) / rundir.KTAP).write_text(
        f"KTAP version 1\n1..2\n# {figures}\n# times: step=access cells=111:99,250:1\nok 1 one\n"
        "ok 2 two # SKIP <b>no such bit</b>\n"
    )


def add_checkpoint(record: RunRecord, name: str) -> Path:
    """Give a probe of a run a checkpoint, recorded in a real guest; return the probe's directory.

    One entry of a PMD maps the 2 MiB that were walked there.
    """
    run_dir = Path(record.run_dir)
    where = run_dir / rundir.directory_for(name)
    for path in _CHECKPOINTS.glob("checkpoint-1.*"):
        shutil.copy(path, where)
    found = tuple(
        checkpoint.judge(seen, pages.__getitem__) for seen, pages in rundir.read_checkpoints(where)
    )
    probes = tuple(
        msgspec.structs.replace(probe, checkpoints=found) if probe.name == name else probe
        for probe in rundir.load(run_dir).probes
    )
    made = msgspec.structs.replace(rundir.load(run_dir), probes=probes)
    (run_dir / rundir.RESULT).write_bytes(to_json(made))
    return where
