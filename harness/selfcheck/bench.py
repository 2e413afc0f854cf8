# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck bench boot`, `snapshot` and `restore`: a probe against a bare boot."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from harness import command, host
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import InfrastructureError
from harness.probes import catalog
from harness.records.bench import Ratio
from harness.records.probe import ProbeSpec
from harness.reproducer import probe_words, subject_words
from harness.run import listener, prepare
from harness.run.prepare import Prepared
from harness.run.probe import run_probe
from harness.run.starting import FreshGuests
from harness.run.subject import Subject
from harness.selfcheck.baseline import bare_boot, require_exit_code, run_checked, timeout_words

_ROUND_SECONDS = 300.0
_BARE = "bare boot"
_Seconds = TypeVar("_Seconds")

#: The option that restores each probe's guest.
FRESH = "--fresh-guest"


class CannotMeasureError(Exception):
    """A part cannot be measured on this host; says why."""


@dataclass(frozen=True)
class Baseline:
    """What a run of a probe is compared with.

    Attributes:
        name: of the command.
        argv: returns it, given what the run's guest needs and a directory for logs.
        at_most: the ratio that is aimed at, up to the verdict.
    """

    name: str
    argv: Callable[[Prepared, Path], Sequence[str]]
    at_most: float


def boot(
    subject: Subject, probe: str, rounds: int, context: Context, *, fresh: bool = False
) -> tuple[Ratio, ...]:
    """Compare `hgm run --probe` with a bare boot; see `against`."""
    baseline = Baseline(_BARE, _bare_argv, 0.8 if fresh else 1.6)
    return against(baseline, subject, probe, rounds, context, fresh=fresh)


def against(
    baseline: Baseline,
    subject: Subject,
    probe: str,
    rounds: int,
    context: Context,
    *,
    fresh: bool,
) -> tuple[Ratio, ...]:
    """Compare `hgm run --probe` with another command of the same kernel and machine, in turn.

    Args:
        baseline: the other command.
        subject: which kernel on which machine.
        probe: the probe.
        rounds: how often each is measured, after a warm-up.
        context: cache, deadline, progress.
        fresh: whether the guest is restored.

    Returns:
        The ratio up to the printed verdict; that up to the end of the process.

    Raises:
        InfrastructureError: if a round of either fails.
    """
    with _bench(subject, probe, context) as (prepared, directory, _):
        options = (FRESH,) if fresh else ()
        same = msgspec.structs.replace(subject, accel=prepared.accel.name)
        argv = (
            *(host.program(), "run", *subject_words(same), *probe_words((probe,)), *options),
            *(*timeout_words(context), "--runs-dir", str(directory / "runs")),
        )
        base = _timed(baseline.argv(prepared, directory), context)

        def ours() -> tuple[float, float]:
            return to_verdict(argv, _round_limit(context))

        pairs = _in_turn(base, ours, rounds, context)
    what = " ".join(("hgm run", *options, "--probe", probe))
    seconds = tuple(each for each, _ in pairs)
    return (
        Ratio(
            what=f"{what}, to the verdict",
            base=baseline.name,
            seconds=tuple(verdict for _, (verdict, _) in pairs),
            base_seconds=seconds,
            at_most=baseline.at_most,
        ),
        Ratio(
            what=f"{what}, to its end",
            base=baseline.name,
            seconds=tuple(end for _, (_, end) in pairs),
            base_seconds=seconds,
        ),
    )


def restore(subject: Subject, probe: str, rounds: int, context: Context) -> tuple[Ratio, ...]:
    """Compare a restore up to a probe's first line of output with a bare boot, in turn.

    Raises:
        InfrastructureError: if the guest cannot be restored.
    """
    with _bench(subject, probe, context) as (prepared, directory, spec):
        fresh = FreshGuests(replace(prepared, fresh_guest=True), directory)
        bare = _timed(_bare_argv(prepared, directory), context)

        def ours() -> float:
            return _first_line(prepared, fresh, spec, directory)

        pairs = _in_turn(bare, ours, rounds, context)
    return (
        Ratio(
            what="a restore, to the probe's first line",
            base=_BARE,
            seconds=tuple(ours for _, ours in pairs),
            base_seconds=tuple(each for each, _ in pairs),
            at_most=0.25,
        ),
    )


def to_verdict(argv: Sequence[str], limit: Deadline) -> tuple[float, float]:
    """Run an `hgm run` and return the seconds up to its printed verdict, and up to its end.

    Raises:
        InfrastructureError: if it does not pass.
    """
    began = time.perf_counter()
    seen: list[float] = []

    def look(line: str) -> None:
        if line.startswith("PASS: "):
            seen.append(time.perf_counter() - began)

    done = command.run(argv, limit, env={"PYTHONUNBUFFERED": "1"}, ok=None, on_line=look)
    require_exit_code(done, (0,))
    if not seen:
        raise InfrastructureError("a round of the benchmark printed no verdict", command=argv)
    return seen[-1], time.perf_counter() - began


def _in_turn(
    base: Callable[[], float], ours: Callable[[], _Seconds], rounds: int, context: Context
) -> list[tuple[float, _Seconds]]:
    """Run both in turn, after one warm-up of each; return what each round took."""
    ours()
    base()
    context.progress.stage("bench", f"{rounds} rounds of each")
    return [(base(), ours()) for _ in range(rounds)]


@contextlib.contextmanager
def _bench(
    subject: Subject, probe: str, context: Context
) -> Iterator[tuple[Prepared, Path, ProbeSpec]]:
    """Yield all that a guest with one probe needs, a directory that is removed, and the probe."""
    with tempfile.TemporaryDirectory(prefix="hgm-bench-") as name:
        directory = Path(name)
        specs = catalog.select(catalog.load(), (probe,))
        quiet = listener.NullListener(context.progress)
        yield prepare.prepare(subject, specs, context, directory, quiet), directory, specs[0]


def _bare_argv(prepared: Prepared, directory: Path) -> Sequence[str]:
    return bare_boot(
        prepared.kernel,
        prepared.image,
        prepared.machine,
        prepared.accel,
        str(directory / "bare.log"),
    )


def _timed(argv: Sequence[str], context: Context) -> Callable[[], float]:
    """Return a function that runs a command and returns its seconds."""

    def run_once() -> float:
        began = time.perf_counter()
        run_checked(argv, _round_limit(context))
        return time.perf_counter() - began

    return run_once


def _first_line(prepared: Prepared, fresh: FreshGuests, spec: ProbeSpec, directory: Path) -> float:
    """Return the seconds from the start of a restore to the first output of a probe."""
    seen: list[float] = []

    def look(chunk: bytes, limit: Deadline) -> None:
        seen.append(time.perf_counter())

    began = time.perf_counter()
    with fresh.guest(spec) as (guest, origin):
        run_probe(guest, spec, directory, _round_limit(prepared.context), on_output=look)
    if not seen:
        raise InfrastructureError(f"{spec.name} printed nothing")
    if origin.how != "restored":
        raise InfrastructureError(f"the guest was not restored: {origin.reason}")
    return seen[0] - began


def _round_limit(context: Context) -> Deadline:
    return context.deadline.within(_ROUND_SECONDS, "a round of the benchmark")
