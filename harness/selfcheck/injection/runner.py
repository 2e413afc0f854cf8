# SPDX-License-Identifier: GPL-2.0-only
"""Does a run, injects a fault into it, and judges its end.

Each run has its own home, working directory and directory for temporary files, which must be empty
afterwards. Its cache is the user's, but for what may be damaged or left over: snapshots and
unfinished directories.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import shutil
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from harness import command
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import CampaignStopped, DeadlineExpired
from harness.records.base import Record, from_json, to_json
from harness.records.probe import Status
from harness.records.run import RunRecord
from harness.reproducer import probe_words
from harness.selfcheck.baseline import share
from harness.selfcheck.injection import actions, catalogue, leftovers, matrix, observe, oracle
from harness.selfcheck.injection.catalogue import HostFault, Moment, Target
from harness.selfcheck.injection.oracle import Observation
from harness.store import rundir
from harness.workspace import atomic_write

InjectionResult = Literal["right", "wrong", "not run"]

#: How many moments are drawn if the run is over before they come.
ATTEMPTS = 4

_END_SECONDS = 120.0
_RUN_SECONDS = 300.0
_REACH_SECONDS = 300.0
_POLL_SECONDS = 0.005
_DISK_BYTES = 64 << 20

# What of the user's cache no fault here reaches.
_SHARED = (
    *("sources", "sources.git", "configs", "trees", "kernels", "images", "recipes", "apt"),
    *("probes", "accel", "facts", "locks", "ccache"),
)

# A shell without job control ignores SIGINT in background processes.
_HGM = ("env", "--default-signal=INT", sys.executable, "-P", "-m", "harness.cli")

_NONE = HostFault("none", "nothing", ("start",), lambda target: None, oracle.PASSES)


class Injection(Record, frozen=True, kw_only=True):
    """One run with an injected fault: ``injection.json``.

    Attributes:
        number: from 1.
        fault: its name; ``none`` for a run without one.
        moment: when it was injected; None if it was not.
        attempts: moments that were drawn until one came in time.
        result: whether the run ended right.
        violations: what was wrong, a line each; the reason if it was not run.
        exit_code: the harness's.
        verdict: of the record; empty without one.
        reason: of the record.
        kept: how many results were in the record before the fault.
        seconds: wall time.
        seen: what it was judged by; None if it was not run.
        again: what the continued matrix was judged by; None for a run.
        directory: absolute path of the evidence.
    """

    number: int
    fault: str
    moment: Moment | None = None
    attempts: int = 0
    result: InjectionResult
    violations: tuple[str, ...] = ()
    exit_code: int | None = None
    verdict: str = ""
    reason: str = ""
    kept: int = 0
    seconds: float = 0.0
    seen: Observation | None = None
    again: Observation | None = None
    directory: str = ""


class InjectionRunner:
    """Does runs and injects faults into them.

    Args:
        directory: the campaign's.
        seed: of the moments of faults.
        words: options of each run.
        cache: an empty directory for what the runs do not share with the user.
        context: cache, deadline, progress.
    """

    def __init__(
        self, directory: Path, seed: int, words: tuple[str, ...], cache: Path, context: Context
    ) -> None:
        self._directory, self._seed, self._words, self._context = directory, seed, words, context
        self._cache = cache
        self._passed = RunRecord()
        share(context.workspace, cache, _SHARED)
        self._clock = actions.clock_library(directory)

    def without_fault(self, number: int, fault: HostFault = _NONE) -> Injection:
        """Do a run without a fault, which must pass; an earlier one does not count."""
        directory = self._place(fault, number)
        shutil.rmtree(directory, ignore_errors=True)
        found = self._attempt(fault, number, directory, None)
        if found.seen is not None and found.seen.record is not None:
            self._passed = found.seen.record
        return self._keep(found)

    def injection(self, fault: HostFault, number: int) -> Injection:
        """Return the result of an injection: that of an earlier command, if there is one."""
        directory = self._place(fault, number)
        with contextlib.suppress(OSError, msgspec.DecodeError):
            done = from_json((directory / "injection.json").read_bytes(), Injection)
            if done.result != "not run":
                return done
        why = catalogue.unmet(fault)
        if why:
            return _not_run(fault, number, why)
        self._require_saved(fault, number)
        for attempt in range(ATTEMPTS):
            shutil.rmtree(directory, ignore_errors=True)
            when = catalogue.moment(fault, self._seed, number, attempt)
            try:
                found = self._attempt(fault, number, directory, when)
            except actions.Missed as error:
                why = error.message
                continue
            return self._keep(msgspec.structs.replace(found, attempts=attempt + 1))
        return _not_run(fault, number, why)

    def _require_saved(self, fault: HostFault, number: int) -> None:
        """Have a guest saved for a run that is to restore one, unless there is a snapshot.

        Raises:
            CampaignStopped: if the run that saves it does not pass.
        """
        if not fault.options or fault.small_disk or list(self._cache.glob("snapshots/*")):
            return
        same = dataclasses.replace(_NONE, options=fault.options, probes=fault.probes)
        saved = self.without_fault(number, same)
        if saved.result != "right":
            why = "; ".join(saved.violations)
            raise CampaignStopped(
                f"a run that saves a guest does not pass here: {why}", hint=f"see {saved.directory}"
            )

    def _place(self, fault: HostFault, number: int) -> Path:
        return self._directory / f"{number:03}-{fault.name}"

    def _keep(self, found: Injection) -> Injection:
        atomic_write(Path(found.directory) / "injection.json", to_json(found))
        return found

    def _attempt(
        self, fault: HostFault, number: int, directory: Path, when: Moment | None
    ) -> Injection:
        """Do one run, inject the fault at a moment, and judge the run's end.

        Raises:
            Missed: if the run passed, or had restored its guest, before the moment came.
        """
        began = time.monotonic()
        before: dict[Path, dict[str, Status]] = {}
        again = None
        with self._started(fault, directory) as target:
            if when is not None:
                self._reach(target, when)
                before = {each: _results(each) for each in target.run_dirs}
                fault.inject(target)
            # Leaving the context kills what is left of the harness's process group.
            seen = _ended(target, before, directory, [each.pid for each in fault.kills(target)])
            if when is not None and _was_over(seen, fault):
                raise actions.Missed("the run was over before the fault could reach it")
            if target.again:
                again = _continued(target, directory)
        code = seen.exit_code
        violations = oracle.violations(fault.allowed, seen)
        if again is not None:
            violations += oracle.continued(seen, again, len(fault.probes))
        if when is not None and _was_restored(seen, fault, when, violations):
            raise actions.Missed("the guest was restored before the fault could reach it")
        return Injection(
            number=number,
            fault=fault.name,
            moment=when,
            result="wrong" if violations else "right",
            violations=violations,
            exit_code=code,
            verdict=seen.record.verdict if seen.record else "",
            reason=seen.record.reason if seen.record else "",
            kept=sum(map(len, before.values())),
            seconds=round(time.monotonic() - began, 2),
            seen=seen,
            again=again,
            directory=str(directory),
        )

    @contextlib.contextmanager
    def _started(self, fault: HostFault, directory: Path) -> Iterator[Target]:
        """Start a run in directories of its own; kill it at the end if it still runs."""
        private, mark = directory / "private", f"{directory.name}-{secrets.token_hex(4)}"
        for name in leftovers.PRIVATE:
            (private / name).mkdir(parents=True)
        runs = directory / "disk" / "runs"
        runs.mkdir(parents=True)
        env = self._environment(fault, private, mark)
        argv = [*_HGM, "run", "--runs-dir", str(runs)]
        argv += ["--timeout", f"{_RUN_SECONDS:g}", *self._words]
        argv += [*fault.options, *probe_words(fault.probes)]
        with contextlib.ExitStack() as stack:
            visible_runs, cache, cwd = runs, self._cache, private / "cwd"
            cluster: tuple[command.Process, ...] = ()
            again: tuple[str, ...] = ()
            if fault.matrix:
                file = directory / "matrix.toml"
                matrix.write(file, fault.probes, self._passed)
                again = (*_HGM, "matrix", str(file), "--runs-dir", str(runs))
                limit = self._context.deadline.within(_REACH_SECONDS, "the start of a scheduler")
                started = matrix.cluster(_HGM, directory, env, limit)
                address, cluster = stack.enter_context(started)
                argv = [*again, "--cluster", address]
            if fault.small_disk:
                small = directory / ("disk" if fault.small_disk == "runs" else "cache")
                small.mkdir(exist_ok=True)
                holder = stack.enter_context(actions.small_disk(small, _DISK_BYTES))
                nsenter = ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "--"]
                argv = [*nsenter, "env", "-C", str(cwd), *argv]
                visible_runs = actions.inside(holder, runs)
                if fault.small_disk == "cache":
                    cache = actions.inside(holder, small)
                    share(self._context.workspace, cache, _SHARED)
                    env["HGM_CACHE"] = str(small)
            output = stack.enter_context((directory / "output").open("wb"))
            process = stack.enter_context(
                command.start(argv, cwd=cwd, env=env, stdout=output, stderr=output)
            )
            try:
                yield Target(process, mark, visible_runs, private, cache, env, cluster, again)
            finally:
                if fault.small_disk == "runs":
                    # The disk is about to vanish.
                    shutil.copytree(visible_runs, runs, symlinks=True, dirs_exist_ok=True)

    def _environment(self, fault: HostFault, private: Path, mark: str) -> dict[str, str]:
        env = {
            actions.MARK: mark,
            "HOME": str(private / "home"),
            "TMPDIR": str(private / "tmp"),
            "HGM_CACHE": str(self._cache),
            "HGM_VMCORES": "0",
        }
        clock = actions.clock_environment(self._clock, private / "clock") if fault.clock else {}
        return env | clock

    def _reach(self, target: Target, when: Moment) -> None:
        """Wait until a run has reached a moment.

        Raises:
            Missed: if it ended before.
        """
        limit = self._context.deadline.within(_REACH_SECONDS, f"the run reaching {when.stage}")
        while not _at(target, when):
            limit.check()
            _require_running(target)
            time.sleep(_POLL_SECONDS)  # there is no event to wait for
        time.sleep(when.delay)  # part of the moment
        _require_running(target)


def _not_run(fault: HostFault, number: int, why: str) -> Injection:
    return Injection(number=number, fault=fault.name, result="not run", violations=(why,))


def _at(target: Target, when: Moment) -> bool:
    run_dir = target.run_dir
    if when.stage == "launch":
        return True
    if run_dir is None:
        return False
    if when.stage == "start":
        return True
    if when.stage == "cell":
        passed = sum(rundir.load(each).verdict == "PASS" for each in target.run_dirs)
        return passed > when.probe and not actions.QEMU.isdisjoint(
            actions.marked(target.mark).values()
        )
    if when.stage == "restore":
        return actions.restoring(target.mark)
    try:
        console = (run_dir / rundir.SERIAL).read_bytes()
    except OSError:
        return False
    return bool(console) if when.stage == "boot" else len(set(_begun(console))) > when.probe


def _begun(console: bytes) -> Iterator[bytes]:
    for line in console.splitlines():
        _, found, rest = line.partition(b"hgm: probe ")
        if found and rest.rstrip().endswith(b"begins"):
            yield rest


def _results(run_dir: Path) -> dict[str, Status]:
    """Return the statuses that a run's record has so far."""
    probes = rundir.load(run_dir).probes
    return {probe.name: probe.status for probe in probes if probe.status != "LOST"}


def _ended(
    target: Target,
    before: Mapping[Path, Mapping[str, Status]],
    directory: Path,
    killed: Collection[int],
) -> Observation:
    """Wait for the end of a run and return what can be observed of it."""
    at = time.monotonic()
    code = _end_of(target)
    seen = observe.observe(target, code, time.monotonic() - at, before)
    return msgspec.structs.replace(seen, **leftovers.find(directory, target, killed))


def _continued(target: Target, directory: Path) -> Observation:
    """Continue a matrix without its cluster, and return what can be observed of it then."""
    before = {each: _results(each) for each in target.run_dirs}
    with (directory / "output").open("ab") as output:
        cwd, env = target.private / "cwd", target.env
        started = command.start(target.again, cwd=cwd, env=env, stdout=output, stderr=output)
        with started as process:
            same = dataclasses.replace(target, process=process)
            return _ended(same, before, directory, ())


def _end_of(target: Target) -> int | None:
    """Return the exit code of a run; None if it had to be killed."""
    try:
        return target.process.wait(Deadline.after(_END_SECONDS, "the run's end"))
    except DeadlineExpired:
        return None


def _was_over(seen: Observation, fault: HostFault) -> bool:
    """Return whether a run passed and had all its results before the fault, without an effect.

    A matrix that has them all has lost none.
    """
    if seen.runs:
        return seen.exit_code == 0 and len(seen.results) == len(fault.probes)
    record = seen.record
    if record is None or record.verdict != "PASS" or set(seen.before) != set(seen.rejudged):
        return False
    allowed = fault.allowed
    return "PASS" not in allowed.verdicts or (allowed.jump and not seen.jump)


def _was_restored(
    seen: Observation, fault: HostFault, when: Moment, violations: Sequence[str]
) -> bool:
    """Return whether a fault came after the restore that it was to meet, and all else is right."""
    guests = seen.record.guests if seen.record is not None else ()
    restored = when.stage == "restore" and any(each.how == "restored" for each in guests)
    return restored and list(violations) == [oracle.untested(fault.allowed)]


def _require_running(target: Target) -> None:
    """Return if a run has not ended; the run after another fault must come as far as its own.

    Raises:
        Missed: if it passed.
        CampaignStopped: if it did not pass.
    """
    code = target.process.poll()
    if code == 0:
        raise actions.Missed("the run was over before the fault was injected")
    if code is not None:
        raise CampaignStopped(
            f"a run ended with exit code {code} before its fault was injected",
            hint=f"see {target.private.parent}",
        )
