# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck bench walk`: what a page-table walk from the host costs, in one guest."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.context import Context
from harness.errors import InfrastructureError
from harness.judge import checkpoint, pagetable
from harness.records.probe import CheckpointEvidence, ProbeSpec
from harness.run import listener, prepare, starting, subject
from harness.run.checkpoint import Watcher
from harness.run.probe import run_probe
from harness.store import rundir

_BUDGET = 300.0


@dataclass(frozen=True)
class WalkTimes:
    """The times of walks over ranges of one length.

    Attributes:
        what: what was walked.
        limit: seconds that a walk may take, its verdict included.
        stopped: seconds that the guest was stopped, by walk.
        answered: seconds from the probe's line to its release, by walk.
        judged: seconds to judge the evidence, by walk.
        kept: bytes on disk of one walk.
    """

    what: str
    limit: float
    stopped: tuple[float, ...]
    answered: tuple[float, ...]
    judged: tuple[float, ...]
    kept: int

    def text(self) -> str:
        """Return the numbers in one line."""
        whole = [sum(each) for each in zip(self.answered, self.judged, strict=True)]
        middle = statistics.median(whole)
        verdict = "within" if middle <= self.limit else "over"
        return (
            f"{self.what:<24} median {_ms(middle)} (worst {_ms(max(whole))}), {verdict} its "
            f"{_ms(self.limit)}: {_ms(statistics.median(self.answered))} until the probe goes on "
            f"(guest stopped {_ms(statistics.median(self.stopped))}), "
            f"{_ms(statistics.median(self.judged))} to judge; {self.kept / 1024:.0f} KiB kept"
        )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def measure(subject: subject.Subject, rounds: int, context: Context) -> tuple[WalkTimes, ...]:
    """Measure walks of one address and of 1 GiB full of 4 KiB entries, which a probe asks for.

    Raises:
        InfrastructureError: if a walk failed or its result is wrong.
    """
    spec = ProbeSpec(
        name="bench/walk",
        shows="what a page-table walk costs",
        source="c/walk.c",
        language="c",
        arguments=("--rounds", str(rounds), "--size", "2M"),
        checkpoints=True,
        budget=_BUDGET,
    )
    with tempfile.TemporaryDirectory(prefix="hgm-bench-") as name:
        directory = Path(name)
        bench = prepare.prepare(
            subject, (spec,), context, directory, listener.NullListener(context.progress)
        )
        context.progress.stage("bench", f"{rounds} walks of each")
        with starting.guest_with_probes(bench, directory, disk=False) as host:
            watcher = Watcher(host, subject.machine, directory)
            ended = run_probe(host, spec, directory, context.deadline, on_output=watcher.feed)
        if ended.exit_code != 0:
            ktap = (directory / "ktap").read_text(errors="replace").strip().splitlines()
            raise InfrastructureError(f"the benchmark's probe failed: {ktap[-1] if ktap else ''}")
        return _times(directory)


def _times(directory: Path) -> tuple[WalkTimes, ...]:
    seen = list(rundir.read_checkpoints(directory))
    lengths = {checkpoint.parse(evidence.line).length for evidence, _ in seen}
    return tuple(
        _summary(directory, length, [each for each in seen if _length(each[0]) == length])
        for length in sorted(lengths)
    )


def _length(evidence: CheckpointEvidence) -> int:
    return checkpoint.parse(evidence.line).length


def _summary(
    directory: Path, length: int, seen: Sequence[tuple[CheckpointEvidence, Mapping[int, bytes]]]
) -> WalkTimes:
    judged = []
    for evidence, pages in seen:
        began = time.perf_counter()
        result = checkpoint.judge(evidence, pages.__getitem__)
        judged.append(time.perf_counter() - began)
        if result.problems:
            raise InfrastructureError(f"the result of a walk is wrong: {result.problems[0]}")
    one = length == pagetable.PAGE
    stem = f"checkpoint-{seen[0][0].number}"
    return WalkTimes(
        what="one address" if one else "1 GiB of 4 KiB entries",
        limit=0.02 if one else 2.0,
        stopped=tuple(evidence.stopped for evidence, _ in seen),
        answered=tuple(evidence.seconds for evidence, _ in seen),
        judged=tuple(judged),
        kept=sum(path.stat().st_size for path in directory.glob(f"{stem}.*")),
    )
