# SPDX-License-Identifier: GPL-2.0-only
"""`hgm selfcheck bench all`: the benchmarks that have an aim, in one go on one host."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

import harness
from harness import host
from harness.arch import arch
from harness.context import Context
from harness.errors import HarnessError, foreseen
from harness.kernel import faults
from harness.kernel.obtain import obtain
from harness.records.bench import Bench, BenchPart, Ratio
from harness.records.run import RunRecord
from harness.reproducer import subject_words
from harness.run import listener, prepare
from harness.run.subject import Subject
from harness.selfcheck import bench, bench_bisect, bench_build, bench_python
from harness.selfcheck.baseline import BareTree, hgm, own_cache, timeout_words
from harness.selfcheck.bench import FRESH, Baseline, CannotMeasureError, to_verdict
from harness.store import rundir

#: The probe of the parts that run one.
PROBE = "baseline/memfd-alias/2M"

_VNG = "vng"

# Seconds that a changed line may cost beyond a bare make.
_EDIT_SECONDS = 3.0

# What the whole set may cost beyond its probes' own seconds: a share, and seconds.
_SET_SHARE, _SET_SECONDS = 1.15, 10.0

# A fault in the last patch of a bisection's series, and the probe that finds it.
_FAULT, _FINDS = "wrong-subpage-in-continue", "hgm/continue-4k/2M"

_Measure = Callable[[Subject, int, Context], tuple[Ratio, ...]]


def measure(subject: Subject, names: Sequence[str], rounds: int, context: Context) -> Bench:
    """Measure parts; one that fails keeps no other from being measured.

    Args:
        subject: which kernel on which machine.
        names: of `PARTS`; none for all.
        rounds: how often each side of the short ones is measured.
        context: cache, deadline, progress.

    Raises:
        HarnessError: if there is no kernel or guest image to measure with.
    """
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="hgm-bench-") as name:
        quiet = listener.NullListener(context.progress)
        prepared = prepare.prepare(subject, (), context, Path(name), quiet)
    found = []
    for each in names or PARTS:
        context.progress.stage("bench", each)
        try:
            found.append(BenchPart(name=each, ratios=PARTS[each](subject, rounds, context)))
        except CannotMeasureError as error:
            found.append(BenchPart(name=each, absent=str(error)))
        except (HarnessError, OSError) as raised:
            if (failure := foreseen(raised)) is None:
                raise
            context.progress.note(f"{each} failed: {failure.message}")
            found.append(BenchPart(name=each, error=failure.line()))
    return Bench(
        started=started,
        harness=harness.__version__,
        host=f"{platform.node()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
        load=round(load, 2),
        kernel=f"{subject.kernel.source}, series {subject.kernel.series}",
        accel=prepared.accel.name,
        parts=tuple(found),
    )


def _boot(subject: Subject, rounds: int, context: Context) -> tuple[Ratio, ...]:
    return bench.boot(subject, PROBE, rounds, context)


def _snapshot(subject: Subject, rounds: int, context: Context) -> tuple[Ratio, ...]:
    return bench.boot(subject, PROBE, rounds, context, fresh=True)


def _restore(subject: Subject, rounds: int, context: Context) -> tuple[Ratio, ...]:
    return bench.restore(subject, PROBE, rounds, context)


def _python(subject: Subject, rounds: int, context: Context) -> tuple[Ratio, ...]:
    return bench_python.measure(subject, PROBE, rounds, context)


def _edit(subject: Subject, rounds: int, context: Context) -> tuple[Ratio, ...]:
    _, one = bench_build.edit(subject.kernel, min(rounds, 3), context)
    return (
        msgspec.structs.replace(
            one,
            base=f"{one.base}, plus {_EDIT_SECONDS:g} s",
            base_seconds=tuple(each + _EDIT_SECONDS for each in one.base_seconds),
            at_most=1.0,
        ),
    )


def _bisect(subject: Subject, rounds: int, context: Context) -> tuple[Ratio, ...]:
    fault = faults.find(_FAULT)
    if subject.kernel.series != fault.on:
        raise CannotMeasureError(f"the fault is made for --series {fault.on}")
    kernel = msgspec.structs.replace(subject.kernel, series=f"fault:{_FAULT}")
    broken = msgspec.structs.replace(subject, kernel=kernel)
    return bench_bisect.bisect(broken, (_FINDS,), context)


def _whole_set(subject: Subject, rounds: int, context: Context) -> tuple[Ratio, ...]:
    """Compare the default probes, each in a fresh guest, with the seconds they themselves take."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="hgm-bench-") as name:
        runs = Path(name)
        shared = _run_set(subject, (), runs, context)
        _run_set(subject, (FRESH, "--probe", PROBE), runs, context)  # saves the guest
        fresh = _run_set(subject, (FRESH, "--guests", str(cores)), runs, context)
    own = {
        where: sum(each.seconds for each in run.probes)
        for where, run in (("in one guest", shared[1]), ("there", fresh[1]))
    }
    what = f"all probes, each in a fresh guest of 1 CPU, --guests {cores}"
    return (
        Ratio(
            what="all probes, one guest of 1 CPU",
            base="their own seconds",
            seconds=(shared[0],),
            base_seconds=(own["in one guest"],),
        ),
        *(
            Ratio(
                what=what,
                base=f"their own seconds {where} by {cores}, plus 15 % and {_SET_SECONDS:g} s",
                seconds=(fresh[0],),
                base_seconds=(seconds / cores * _SET_SHARE + _SET_SECONDS,),
                at_most=1.0,
            )
            for where, seconds in own.items()
        ),
    )


def _run_set(
    subject: Subject, options: Sequence[str], runs: Path, context: Context
) -> tuple[float, RunRecord]:
    """Run probes and return the seconds up to the verdict, and the record.

    A guest has one CPU, so that there can be one for each of the host's.
    """
    argv = (
        *(host.program(), "run", *subject_words(subject), "--cpus", "1", *options),
        *(*timeout_words(context), "--runs-dir", str(runs)),
    )
    seconds, _ = to_verdict(argv, context.deadline)
    return seconds, rundir.load(runs / "latest")


def _cold(subject: Subject, rounds: int, context: Context) -> tuple[Ratio, ...]:
    """Compare all probes on a kernel that has to be built with a bare make of it."""
    with own_cache(context.workspace) as own:
        words = ("run", *subject_words(subject), "--runs-dir", str(own.cache / "runs"))
        ours = hgm(words, own, context)
        spent = rundir.load(own.cache / "runs" / "latest")
    kernel = obtain(subject.kernel, context, build_log=Path(os.devnull))
    with own_cache(context.workspace) as own:
        bare = BareTree(own, arch(kernel.arch), context).build(kernel)
    return (
        Ratio(
            what="all probes, nothing built",
            base="bare make, and the guests' time",
            seconds=(ours.wall,),
            base_seconds=(bare.wall + spent.guest_seconds,),
        ),
    )


def _virtme(subject: Subject, rounds: int, context: Context) -> tuple[Ratio, ...]:
    """Compare a probe in a restored guest with virtme-ng, which boots the same kernel."""
    if shutil.which(_VNG) is None:
        raise CannotMeasureError(f"virtme-ng is not installed ({_VNG} is not in PATH)")
    features = (*subject.kernel.features, "virtme")
    kernel = msgspec.structs.replace(subject.kernel, features=features)
    ours = msgspec.structs.replace(subject, kernel=kernel, accel="tcg")
    words = ("--disable-kvm", "--", "uname", "-r")
    other = Baseline(
        name=" ".join((_VNG, "--run KERNEL", *words)),
        argv=lambda prepared, _: (_VNG, "--run", prepared.kernel.image, *words),
        at_most=0.2,
    )
    return bench.against(other, ours, PROBE, rounds, context, fresh=True)


PARTS: Mapping[str, _Measure] = {
    "boot": _boot,
    "snapshot": _snapshot,
    "restore": _restore,
    "virtme": _virtme,
    "python": _python,
    "set": _whole_set,
    "edit": _edit,
    "cold": _cold,
    "bisect": _bisect,
}
