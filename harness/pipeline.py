# SPDX-License-Identifier: GPL-2.0-only
"""The whole story of a run, from what was asked to a judged record."""

from __future__ import annotations

import contextlib
import datetime
import errno
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import harness
from harness.context import Context
from harness.errors import INTERNAL, HarnessError, NoSpace
from harness.evidence import vmcore
from harness.judge import run_verdict
from harness.probes import catalog
from harness.progress import Progress
from harness.records.base import Record, to_json
from harness.records.machine import PoolSummary
from harness.records.probe import ProbeResult, ProbeSpec
from harness.records.run import RunRecord, StageTime
from harness.report import files
from harness.run import guests, prepare, subject
from harness.store.rundir import INGREDIENTS, RunStore
from harness.vm import pool
from harness.workspace import new_run_directory, readable

_NOT_RUN = "it was not run"
_UNREAD = "a pipe broke: whoever read the output is gone"
_BUILT = "the kernel is built; it was not to be booted"


class RunRequest(Record, frozen=True, kw_only=True):
    """What a run is asked to do; `hgm run` makes one from its options.

    Attributes:
        subject: which kernel on which machine.
        expect: what the kernel is expected to be.
        probes: globs over probe names; all probes when empty, none when only kselftests are asked.
        kselftests: the kernel's own tests, by words like ``mm`` or ``mm:hugetlb-madvise``.
        repeat: how often each probe is run.
        alone: whether each probe has a guest of its own.
        build_only: whether it ends once the kernel is built; the verdict says that it is, then.
        command: the argv that reproduces the run.
    """

    subject: subject.Subject
    expect: Literal["report", "hgm", "stock"] = "report"
    probes: tuple[str, ...] = ()
    kselftests: tuple[str, ...] = ()
    repeat: int = 1
    alone: bool = False
    build_only: bool = False
    command: tuple[str, ...] = ()


def run(request: RunRequest, runs: Path, context: Context) -> RunRecord:
    """Do a run and return its record, which lies in its run directory as well.

    What ends a run early, an interrupt included, is the record's verdict and raises nothing.

    Args:
        request: what to do.
        runs: where run directories live.
        context: cache, deadline, progress.

    Raises:
        SpecError: if the request makes no sense; no run directory is made then.
    """
    vmcore.policy()  # a mistake in it is said now, and not when the first guest hangs
    context.workspace.sweep()
    specs = () if request.build_only else _selected(request)
    label = readable(request.subject.kernel.source)
    first = _first_record(request, catalog.repeated(specs, request.repeat, alone=request.alone))
    store = RunStore(new_run_directory(runs, label), first)
    files.write_reproduce(store)
    with _recorded(store), _Stages(store, context.progress) as stages:
        if request.build_only:
            prepare.build(request.subject, context, store.run_dir, stages)
            store.update(verdict="PASS", exit_code=0, reason=_BUILT)
        else:
            _probe(request, specs, store, stages, context)
    files.write_reproduce(store)
    files.write_junit(store)
    return store.record


def _probe(
    request: RunRequest,
    specs: Sequence[ProbeSpec],
    store: RunStore,
    stages: _Stages,
    context: Context,
) -> None:
    bench = prepare.prepare(
        request.subject, specs, context, store.run_dir, stages, request.kselftests
    )
    everything = catalog.repeated(bench.specs, request.repeat, alone=request.alone)
    store.expect(_not_run(everything))
    store.write(INGREDIENTS, to_json(prepare.ingredients(bench, everything)))
    stages.begin("guest")
    guests.run_probes(bench, everything, store)
    stages.begin("verdict")
    _conclude(store, request)


def _first_record(request: RunRequest, specs: Sequence[ProbeSpec]) -> RunRecord:
    return RunRecord(
        reason="the run has not ended: it is under way, or was killed",
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        harness=harness.__version__,
        command=request.command,
        expect=request.expect,
        machine=request.subject.machine,
        hugepages=PoolSummary(asked=pool.by_size(request.subject.machine.hugepages)),
        probes=_not_run(specs),
    )


def _selected(request: RunRequest) -> tuple[ProbeSpec, ...]:
    """Return the probes that are asked for; the kernel's own tests are known with its tree only."""
    if not request.kselftests:
        return catalog.select(catalog.load(), request.probes)
    from harness.probes import selftests

    selftests.require_source(request.kselftests, request.subject.kernel.source)
    return catalog.select(catalog.load(), request.probes) if request.probes else ()


def _not_run(specs: Sequence[ProbeSpec]) -> tuple[ProbeResult, ...]:
    return tuple(ProbeResult(name=each.name, status="LOST", reason=_NOT_RUN) for each in specs)


def _conclude(store: RunStore, request: RunRequest) -> None:
    record = store.record
    verdict = run_verdict.judge_run(
        record.probes, expect=request.expect, hgm=record.hgm, splats=record.splats
    )
    store.update(
        verdict=verdict.verdict, exit_code=verdict.exit_code, reason=verdict.reason, stage="done"
    )


@contextlib.contextmanager
def _recorded(store: RunStore) -> Iterator[None]:
    """Turn what ends a run early into its record's verdict."""
    try:
        yield
    except KeyboardInterrupt:
        store.update(verdict="INTERRUPTED", exit_code=130, reason="interrupted")
    except HarnessError as error:
        _end_with(error, store)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            _end_with(NoSpace(f"no space left: {error}", hint="free some space"), store)
            return
        _end_unforeseen(error, store)
        raise


def _end_with(error: HarnessError, store: RunStore) -> None:
    console = tuple(f"console: {line}" for line in error.console)
    store.update(
        verdict="ERROR",
        exit_code=error.exit_code,
        reason=error.line(),
        error=type(error).__name__,
        error_seconds=round(error.seconds, 3),
        notes=(*store.record.notes, *console),
    )


def _end_unforeseen(error: Exception, store: RunStore) -> None:
    """Record an error that no stage foresaw: a defect of ours, or that nobody reads our output."""
    gone = isinstance(error, BrokenPipeError)
    store.update(
        verdict="ERROR",
        exit_code=HarnessError.exit_code,
        reason=_UNREAD if gone else f"{INTERNAL}: {error!r}",
        error=type(error).__name__,
    )


class _Stages:
    """The stages of a run: announced as they begin, timed in the record as they end."""

    def __init__(self, store: RunStore, progress: Progress) -> None:
        self._store = store
        self._progress = progress
        self._name = ""
        self._run_began = self._began = time.monotonic()

    def __enter__(self) -> _Stages:
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()
        self._store.update(seconds=round(time.monotonic() - self._run_began, 3))

    def begin(self, name: str, detail: str = "") -> None:
        """End the stage under way and begin another."""
        self._finish()
        self._name, self._began = name, time.monotonic()
        self._store.update(stage=name)
        self._progress.stage(name, detail)

    def know(self, **fields: Any) -> None:
        """Put what a stage found out into the record."""
        self._store.update(**fields)

    def _finish(self) -> None:
        if self._name:
            spent = StageTime(name=self._name, seconds=round(time.monotonic() - self._began, 3))
            self._store.update(stages=(*self._store.record.stages, spent))
            self._name = ""
