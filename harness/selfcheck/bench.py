# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck bench boot` and `snapshot`, and ratios of interleaved rounds."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness import host
from harness.context import Context
from harness.probes import catalog
from harness.reproducer import probe_words, subject_words
from harness.run import listener, prepare, subject
from harness.selfcheck.baseline import bare_boot, run_checked, timeout_words

_ROUND_SECONDS = 300.0


@dataclass(frozen=True)
class Ratio:
    """Two commands measured in turn.

    Attributes:
        what: name of the one.
        base: name of the baseline.
        seconds: wall times of the one, by round.
        base_seconds: wall times of the baseline, by round.
    """

    what: str
    base: str
    seconds: tuple[float, ...]
    base_seconds: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Return the ratio of the medians."""
        return statistics.median(self.seconds) / statistics.median(self.base_seconds)

    def text(self) -> str:
        """Return a line for each, and one for the ratio."""
        lines = [
            f"{name:<24} median {statistics.median(times):.2f} s  "
            f"({', '.join(f'{each:.2f}' for each in times)})"
            for name, times in ((self.what, self.seconds), (self.base, self.base_seconds))
        ]
        rounds = len(self.seconds)
        return "\n".join([*lines, f"ratio {self.ratio:.2f} (medians of {rounds} rounds, in turn)"])


def measure(
    what: str, run: Callable[[], None], base: str, run_base: Callable[[], None], rounds: int
) -> Ratio:
    """Run both in turn, ``rounds`` times each, after one warm-up of each."""
    run_base()
    run()
    pairs = [(_seconds(run_base), _seconds(run)) for _ in range(rounds)]
    return Ratio(what, base, tuple(pair[1] for pair in pairs), tuple(pair[0] for pair in pairs))


def boot(
    subject: subject.Subject, probe: str, rounds: int, context: Context, options: Sequence[str] = ()
) -> Ratio:
    """Compare a whole `hgm run --probe` with a bare boot of the same kernel and machine.

    Args:
        subject: which kernel on which machine.
        probe: the probe.
        rounds: how often each is measured, after a warm-up.
        context: cache, deadline, progress.
        options: more options of `hgm run`.

    Raises:
        InfrastructureError: if a round of either fails.
    """
    with tempfile.TemporaryDirectory(prefix="hgm-bench-") as name:
        directory = Path(name)
        specs = catalog.select(catalog.load(), (probe,))
        bench = prepare.prepare(
            subject, specs, context, directory, listener.NullListener(context.progress)
        )
        bare = bare_boot(
            bench.kernel, bench.image, bench.machine, bench.accel, str(directory / "serial.log")
        )
        subject = msgspec.structs.replace(subject, accel=bench.accel.name)
        hgm = (
            *(host.program(), "run", *subject_words(subject), *probe_words((probe,))),
            *(*options, *timeout_words(context), "--runs-dir", str(directory / "runs")),
        )

        def run_once(argv: tuple[str, ...]) -> Callable[[], None]:
            return lambda: run_checked(
                argv, context.deadline.within(_ROUND_SECONDS, "a round of the benchmark")
            )

        context.progress.stage("bench", f"{rounds} rounds of each")
        what = " ".join(("hgm run", *options, "--probe", probe))
        return measure(what, run_once(hgm), "bare boot", run_once(bare), rounds)


def _seconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
