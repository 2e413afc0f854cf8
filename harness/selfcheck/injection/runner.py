# SPDX-License-Identifier: GPL-2.0-only
"""One run that is disturbed from outside: started in surroundings of its own, looked at, judged.

What a run writes outside of its run directory would lie in its home, its working directory or its
directory for temporary files, which are its own and must be empty afterwards; or in the cache,
where the names of what is unfinished have its process ID.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from harness import command
from harness.context import Context
from harness.deadline import Deadline
from harness.errors import CampaignStopped, DeadlineExpired, HarnessError
from harness.records.base import Record, from_json, to_json
from harness.records.probe import Status
from harness.records.run import RunRecord
from harness.reproducer import probe_words
from harness.selfcheck.injection import actions, catalogue, oracle
from harness.selfcheck.injection.catalogue import PROBES, Kind, Moment, Target
from harness.selfcheck.injection.oracle import Seen
from harness.store import rundir
from harness.workspace import Workspace, atomic_write

Outcome = Literal["right", "wrong", "not run"]

#: How often another moment is drawn where the run was over before it came.
ATTEMPTS = 4

_END_SECONDS = 120.0
_RUN_SECONDS = 300.0
_REACH_SECONDS = 120.0
_SETTLE_SECONDS = 5.0
_POLL_SECONDS = 0.005
_DISK_BYTES = 64 << 20
_JUMP_SECONDS = 1800.0


class Injection(Record, frozen=True, kw_only=True):
    """One disturbed run.

    Attributes:
        number: from 1.
        kind: name of the fault; ``none`` for a run that nobody disturbed.
        moment: when it came; None where it did not.
        attempts: moments that were drawn until one came in time.
        outcome: see `Outcome`.
        wrong: what was not right, a line each; why, where it was not run.
        exit_code: the harness's.
        verdict: of the record; empty where there is none.
        reason: the record's.
        kept: results that were in the record before the fault, and after it.
        seconds: wall time of it all.
        seen: what it was judged by; None where it was not run.
        directory: absolute path of what is left as evidence.
    """

    number: int
    kind: str
    moment: Moment | None = None
    attempts: int = 0
    outcome: Outcome
    wrong: tuple[str, ...] = ()
    exit_code: int | None = None
    verdict: str = ""
    reason: str = ""
    kept: int = 0
    seconds: float = 0.0
    seen: Seen | None = None
    directory: str = ""


class Prepared:
    """Starts runs, disturbs them, and looks at what is left.

    Args:
        directory: the campaign's.
        seed: what moments are drawn from.
        words: options of each run.
        context: cache, deadline, progress.
    """

    def __init__(
        self, directory: Path, seed: int, words: tuple[str, ...], context: Context
    ) -> None:
        self._directory, self._seed, self._words, self._context = directory, seed, words, context
        self._usual = 0.0
        self._clock = actions.clock_library(directory)

    def undisturbed(self, number: int) -> Injection:
        """Do a run that nobody disturbs; it must pass."""
        kind = Kind("none", "nothing", ("start",), lambda target: None, oracle.UNMOVED)
        directory = self._place(kind, number)
        shutil.rmtree(directory, ignore_errors=True)  # it says what the host is like now
        found = self._attempt(kind, number, directory, None)
        self._usual = self._usual or found.seconds
        return self._keep(found)

    def injection(self, kind: Kind, number: int) -> Injection:
        """Return what became of an injection: of an earlier command, or of this one."""
        directory = self._place(kind, number)
        with contextlib.suppress(OSError, msgspec.DecodeError):
            done = from_json((directory / "injection.json").read_bytes(), Injection)
            if done.outcome != "not run":
                return done
        lack = catalogue.unmet(kind)
        if lack:
            return Injection(number=number, kind=kind.name, outcome="not run", wrong=(lack,))
        for attempt in range(ATTEMPTS):
            shutil.rmtree(directory, ignore_errors=True)
            when = catalogue.moment(kind, self._seed, number, attempt)
            try:
                found = self._attempt(kind, number, directory, when)
            except actions.Missed as error:
                why = error.message
                continue
            return self._keep(msgspec.structs.replace(found, attempts=attempt + 1))
        return Injection(number=number, kind=kind.name, outcome="not run", wrong=(why,))

    def _place(self, kind: Kind, number: int) -> Path:
        return self._directory / f"{number:03}-{kind.name}"

    def _keep(self, found: Injection) -> Injection:
        atomic_write(Path(found.directory) / "injection.json", to_json(found))
        return found

    def _attempt(self, kind: Kind, number: int, directory: Path, when: Moment | None) -> Injection:
        """Do one run, disturb it at a moment, and judge its end.

        Raises:
            Missed: if the run was over, as it should be, before the moment came.
        """
        began = time.monotonic()
        before: dict[str, Status] = {}
        with self._started(kind, directory) as target:
            if when is not None:
                self._reach(target, when)
                before = _results(target)
                kind.disturb(target)
            at = time.monotonic()
            code = _end_of(target)
            seen = self._look(target, code, time.monotonic() - at, before)
            # Before the way out ends the harness's process group, with whatever is left of it.
            left = self._leftovers(directory, target, killed=kind.ends is oracle.CUT)
        seen = msgspec.structs.replace(seen, **left)
        if when is not None and _was_over(seen, kind):
            raise actions.Missed("the run was over before the fault could reach it")
        wrong = oracle.wrongs(kind.ends, seen)
        return Injection(
            number=number,
            kind=kind.name,
            moment=when,
            outcome="wrong" if wrong else "right",
            wrong=wrong,
            exit_code=code,
            verdict=seen.record.verdict if seen.record else "",
            reason=seen.record.reason if seen.record else "",
            kept=len(before),
            seconds=round(time.monotonic() - began, 2),
            seen=seen,
            directory=str(directory),
        )

    @contextlib.contextmanager
    def _started(self, kind: Kind, directory: Path) -> Iterator[Target]:
        """Start a run in surroundings of its own; kill it on the way out if it still runs."""
        private, mark = directory / "private", f"{directory.name}-{secrets.token_hex(4)}"
        for name in ("home", "tmp", "cwd"):
            (private / name).mkdir(parents=True)
        runs = directory / "disk" / "runs"
        runs.mkdir(parents=True)
        env = {
            actions.MARK: mark,
            "HOME": str(private / "home"),
            "TMPDIR": str(private / "tmp"),
            "HGM_CACHE": str(self._context.workspace.cache),
            "HGM_VMCORES": "0",
        }
        if kind.clock:
            env |= actions.clock_environment(self._clock, private / "clock")
        limit = 4.0 + 1.5 * self._usual if kind.patient else _RUN_SECONDS
        # A shell without job control starts what is in the background with SIGINT ignored.
        argv = ["env", "--default-signal=INT", sys.executable, "-m", "harness.cli", "run"]
        argv += ["--runs-dir", str(runs)]
        argv += ["--timeout", f"{limit:g}", *self._words]
        argv += probe_words(PROBES)
        with contextlib.ExitStack() as stack:
            seen_as, cwd = runs, private / "cwd"
            if kind.needs_root:
                holder = stack.enter_context(actions.small_disk(runs.parent, _DISK_BYTES))
                nsenter = ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "--"]
                argv = [*nsenter, "env", "-C", str(cwd), *argv]
                seen_as = actions.inside(holder, runs)
            output = stack.enter_context((directory / "output").open("wb"))
            process = stack.enter_context(
                command.start(argv, cwd=cwd, env=env, stdout=output, stderr=output)
            )
            try:
                yield Target(process, mark, seen_as, private)
            finally:
                if kind.needs_root:
                    _bring_home(seen_as, runs)

    def _reach(self, target: Target, when: Moment) -> None:
        """Wait until a run has come to a moment.

        Raises:
            Missed: if it was over before.
        """
        limit = self._context.deadline.within(_REACH_SECONDS, f"the run's way to its {when.stage}")
        while not _at(target, when):
            limit.check()
            if target.process.poll() is not None:
                _refuse_a_bad_end(target)
            time.sleep(_POLL_SECONDS)  # files have no event that a fault could wait for
        time.sleep(when.delay)  # the moment that was drawn
        if target.process.poll() is not None:
            _refuse_a_bad_end(target)

    def _look(
        self,
        target: Target,
        code: int | None,
        seconds: float,
        before: Mapping[str, Status],
    ) -> Seen:
        """Return what is to be seen of a run while its file systems are still there."""
        record, damaged = None, ""
        again: dict[str, Status] = {}
        evidence: tuple[str, ...] = ()
        run_dir = target.run_dir
        if run_dir is not None:
            try:
                record = rundir.load(run_dir)
                again = {probe.name: probe.status for probe in rundir.rejudge(run_dir).probes}
                evidence = rundir.ended_well(run_dir)
            except HarnessError as error:
                damaged = error.line()
        said = (target.private.parent / "output").read_text(errors="replace")
        lines = [line for line in said.splitlines() if line.strip()]
        return Seen(
            exit_code=code,
            seconds=round(seconds, 2),
            record=record,
            damaged=damaged,
            before=dict(before),
            again=again,
            evidence=evidence,
            traceback="Traceback (most recent call last)" in said,
            last_line=lines[-1] if lines else "",
            jump=_jump_seen(run_dir, record),
        )

    def _leftovers(self, directory: Path, target: Target, *, killed: bool) -> dict[str, object]:
        """Return the processes, mounts and files that a run left behind."""
        alive = _left_running(target.mark)
        workspace = self._context.workspace
        if killed:  # what the next run does first; what a killed run leaves may stay until then
            workspace.sweep()
        rooms = [target.private / name for name in ("home", "tmp", "cwd")]
        files = [path for room in rooms for path in room.rglob("*")]
        files += _in_cache(workspace, target.process.pid)
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return {
            "processes": tuple(f"{name} ({pid})" for pid, name in alive.items()),
            "mounts": tuple(line for line in mounts if str(directory) in line),
            "files": tuple(map(str, files)),
        }


def _left_running(mark: str) -> dict[int, str]:
    """Return what still runs of a run after a moment in which it may end: names by process ID.

    It is gone only if two looks find nothing: a process has no environment for the moment in which
    it becomes another program (of 150 just started, one look missed 18, and two missed none).
    """
    end = Deadline.after(_SETTLE_SECONDS, "the end of its processes")
    looks = 0
    while True:
        alive = actions.marked(mark)
        looks = 0 if alive else looks + 1
        if looks == 2 or (alive and end.expired()):
            return alive
        time.sleep(_POLL_SECONDS)  # a killed process takes a moment, and tells nobody of it


def _in_cache(workspace: Workspace, pid: int) -> list[Path]:
    """Return what a process left unfinished in the cache: both forms of name have its ID."""
    found = list(workspace.room("tmp").glob(f"*.{pid}.*"))
    for depth in ("", "*/", "*/*/"):
        found += workspace.cache.glob(f"{depth}.*.{pid}.*.part")
    return found


def _at(target: Target, when: Moment) -> bool:
    run_dir = target.run_dir
    if run_dir is None:
        return False
    if when.stage == "start":
        return True
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


def _results(target: Target) -> dict[str, Status]:
    """Return the results that a run has so far."""
    run_dir = target.run_dir
    record = rundir.load(run_dir) if run_dir is not None else RunRecord()
    return {probe.name: probe.status for probe in record.probes if probe.status != "LOST"}


def _end_of(target: Target) -> int | None:
    """Return the exit code of a run; None if it had to be killed."""
    try:
        return target.process.wait(Deadline.after(_END_SECONDS, "the run's end"))
    except DeadlineExpired:
        return None


def _was_over(seen: Seen, kind: Kind) -> bool:
    """Return whether a run passed that had all its results before the fault, and felt none."""
    record = seen.record
    if record is None or record.verdict != "PASS" or set(seen.before) != set(seen.again):
        return False
    return "PASS" not in kind.ends.verdicts or (kind.ends.jump and not seen.jump)


def _refuse_a_bad_end(target: Target) -> None:
    """Raise Missed if a run ended well before its fault; the run after another fault must work.

    Raises:
        CampaignStopped: if it did not end well.
    """
    code = target.process.poll()
    if code == 0:
        raise actions.Missed("the run was over before the fault came")
    raise CampaignStopped(
        f"a run that was not disturbed yet ended with exit code {code}",
        hint=f"see {target.private.parent}",
    )


def _jump_seen(run_dir: Path | None, record: RunRecord | None) -> float:
    """Return by how many seconds the clock jumped between two moments that the harness dated."""
    path = run_dir / "qmp.log" if run_dir is not None else None
    if path is None or record is None or not path.exists():
        return 0.0
    times = [datetime.datetime.fromisoformat(record.started).timestamp()]
    times += dates(path.read_bytes())
    steps = [after - earlier for earlier, after in itertools.pairwise(times)]
    return max((step for step in steps if abs(step) > _JUMP_SECONDS), key=abs, default=0.0)


def dates(log: bytes) -> list[float]:
    """Return the times of a log of JSON lines; a full disk, or a kill, can cut the last line."""
    whole, _, _ = log.rpartition(b"\n")
    return [msgspec.json.decode(line)["time"] for line in whole.splitlines()]


def _bring_home(seen_as: Path, runs: Path) -> None:
    """Keep what a run wrote to a disk that is about to vanish."""
    shutil.copytree(seen_as, runs, symlinks=True, dirs_exist_ok=True)
