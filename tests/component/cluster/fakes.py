# SPDX-License-Identifier: GPL-2.0-only
"""A real scheduler, real workers and a real client, whose runs sleep instead of booting guests.

``python -m tests.component.cluster.fakes worker ADDRESS ...`` is `hgm cluster worker` whose runs
are `fake_cell`, and which waits FAKE_PATIENCE seconds for its scheduler; ``... client ADDRESS
DIRECTORY TLS CELLS SECONDS`` runs a matrix on a cluster.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import pipeline, recording
from harness.campaign import matrix
from harness.campaign.matrix_file import CellNames, PlannedCell
from harness.cli.main import main
from harness.cluster import client, worker
from harness.cluster.address import endpoint
from harness.context import Context
from harness.deadline import Deadline
from harness.kernel.obtain import KernelRequest
from harness.progress import Silent
from harness.records.campaign import MatrixResult
from harness.records.kernel import ConfigIdentity, Kernel, SeriesIdentity, SourceIdentity
from harness.records.machine import AccelChoice, GuestImage, MachineSpec
from harness.records.run import REPORT, GuestsRequest, Ingredients
from harness.run.request import RunRequest
from harness.run.subject import Subject
from harness.vm import accel
from harness.workspace import Workspace

MACHINE = MachineSpec(hugepages=(), memory=64 << 20, cpus=1)

#: The probe of all runs, and the patch since which it fails.
PROBE, CULPRIT = "fake/probe", 3


def planned(cells: int, seconds: float) -> list[PlannedCell]:
    """Return cells whose guests take so long."""
    return [
        PlannedCell(
            CellNames(kernel=f"fake:{seconds}", series="none", machine=f"m{number}"),
            RunRequest(
                subject=Subject(
                    kernel=KernelRequest(source=f"tree:/{seconds}", arch="x86_64"), machine=MACHINE
                )
            ),
            f"cell-{number:03}",
        )
        for number in range(cells)
    ]


def begin(request: RunRequest, runs: Path, context: Context) -> pipeline.BegunRun:
    """Stand in for `pipeline.begin`.

    A kernel is a file with the seconds that its guests take, and its probe's status.
    """
    ending = contextlib.ExitStack()
    first = recording.first_record(("run",), MACHINE, REPORT, ())
    begun = ending.enter_context(recording.recorded(runs, "fake", first, context.progress))
    kernel = request.subject.kernel
    status = "FAIL" if (kernel.first or 0) >= CULPRIT else "PASS"
    text = f"{kernel.source.removeprefix('tree:/')} {status}"
    return pipeline.BegunRun(
        begun, GuestsRequest(made_of=_made_of(context, text), accel="tcg"), ending
    )


def _made_of(context: Context, text: str) -> Ingredients:
    kernel = context.workspace.room("kernels") / text.replace(" ", "-")
    image = context.workspace.room("images") / "i"
    program = context.workspace.room("probes") / "program"
    for path in (kernel / "bzImage", kernel / "headers/include/a.h", image / "manifest.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return Ingredients(
        kernel=Kernel(
            key="k",
            release="6.12.0",
            image=str(kernel / "bzImage"),
            headers=str(kernel / "headers/include"),
            source=SourceIdentity(spec="tree:/", kind="tree", origin=""),
            series=SeriesIdentity(spec="none"),
            configuration=ConfigIdentity(),
        ),
        image=GuestImage(key="i", initramfs="", disk="", manifest=str(image / "manifest.json")),
        machine=MACHINE,
        accel=AccelChoice(name="tcg", reason="", cpu="max"),
        specs=(),
        programs={"program": str(program)},
        digests={},
    )


@contextlib.contextmanager
def on(address: str, directory: Path, tls: Path | None = None) -> Iterator[Context]:
    """Yield the context of a campaign on a cluster, whose cache is in a directory."""
    with client.connected(endpoint(address, tls), Silent()) as found:
        limit = Deadline.after(300, "the test")
        yield Context(Workspace(directory / "cache"), limit, Silent(), found)


def night(context: Context, directory: Path, cells: Sequence[PlannedCell]) -> MatrixResult:
    """Run a matrix with fake kernels."""
    pipeline.begin = begin
    pipeline.check = lambda request, context: ()
    return matrix.run_matrix(cells, directory / "night.toml", 120, directory / "runs", context)


def _client(address: str, directory: str, tls: str, cells: str, seconds: str) -> None:
    with on(address, Path(directory), Path(tls) if tls else None) as context:
        night(context, Path(directory), planned(int(cells), float(seconds)))


def dask_setup(_: object) -> None:
    """Make a worker run fake cells; `dask worker --preload` calls this."""
    worker.PROGRAM = (sys.executable, "-m", "tests.component.cluster.fake_cell")


if __name__ == "__main__":
    if sys.argv[1] == "client":
        _client(*sys.argv[2:])
    else:
        accel.proof_kernels = lambda *_: iter(())  # a host without a kernel proves nothing
        dask_setup(None)
        worker._SCHEDULER_SECONDS = float(os.environ.get("FAKE_PATIENCE", "60"))
        sys.argv[1:2] = ["cluster", "worker"]
        main()
