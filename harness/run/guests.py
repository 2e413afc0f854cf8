# SPDX-License-Identifier: GPL-2.0-only
"""The probes of a run in guests.

One guest is used as long as possible. A guest in which a probe crashed, hung, was lost,
left a splat, or left the pools other than it found them is never used again, nor is one whose probe
taints it by design or is to be alone; the probes that are left get a new one. Where each probe is
to have a fresh guest, that is restored from a snapshot. Several guests may run at the same time.
"""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from harness import command
from harness.errors import GuestKilled, HarnessError, SpecError
from harness.records.machine import GuestOrigin, MachineSpec, PoolSummary, size_name
from harness.records.probe import ProbeEvidence, ProbeResult, ProbeSpec, Stalled
from harness.run import ahead, calibration, coverage, parallel
from harness.run.accounting import LeakCheck
from harness.run.features import hgm_support
from harness.run.parallel import Queue
from harness.run.prepare import Prepared
from harness.run.probe import COUNTERS, FEATURES, run_probe
from harness.run.starting import FreshGuests, before_its_first_probe, guest_with_probes, soon
from harness.store import rundir
from harness.store.rundir import RunStore
from harness.vm import hoststat, pool
from harness.vm.guest import Guest

_NOT_WALKED = "page tables are not walked from outside: this kind of them is not known"
_NOT_COMPARED = "page tables are not compared between probes"
_KILLED = "the host's OOM killer ended the guest"


def run_probes(prepared: Prepared, specs: Sequence[ProbeSpec], store: RunStore) -> None:
    """Run every probe that this machine can run, and put all results into the record.

    Raises:
        SpecError: if it can run none of them.
        HarnessError: if a guest could not be booted; results so far are in the record.
    """
    require_askable(specs, prepared.machine)
    left: list[ProbeSpec] = []
    for spec in specs:
        reason = unmet_need(spec, prepared.machine)
        if reason:
            store.add_probe(ProbeResult(name=spec.name, status="SKIP", reason=reason))
        else:
            left.append(spec)
    try:
        _run_all(prepared, left, store)
    except HarnessError:
        # What the kernel reported may be why; that it cannot be read must not hide the error.
        with contextlib.suppress(HarnessError, OSError):
            _know_splats(prepared, store, compare=False)
        raise
    _know_splats(prepared, store)


def _run_all(prepared: Prepared, specs: Sequence[ProbeSpec], store: RunStore) -> None:
    """Run probes in as many guests as may run; it is recorded where these are not those asked for.

    Raises:
        HarnessError: of the first guest that failed.
    """
    wanted = min(prepared.guests, len(specs))
    with parallel.leased(wanted, prepared.machine, prepared.context) as (count, why):
        if why:
            note = f"{count} of {wanted} guests at the same time: {why}"
            store.note([note])
            prepared.context.progress.note(note)
        if count > 1:
            specs = parallel.longest_first(specs, prepared.seconds)
        lanes = _Lanes(prepared, store, Queue(specs))
        parallel.work(count, lanes.run, lanes.stop)


class _Lanes:
    """Runs the probes of a queue, in one guest after the other in each lane.

    Args:
        prepared: all that guests need.
        store: takes the results.
        queue: the probes.
    """

    def __init__(self, prepared: Prepared, store: RunStore, queue: Queue) -> None:
        self._prepared, self._store, self._queue = prepared, store, queue
        self._now: dict[int, str] = {}
        self._processes: dict[int, command.Process] = {}
        self._kills: dict[int, int] = {}
        self._stopping = False

    def stop(self) -> None:
        """End all guests; what their probes had yet to say is not recorded."""
        self._stopping = True
        self._queue.close()
        for process in list(self._processes.values()):
            process.kill()

    def run(self, number: int) -> None:
        """Run probes in the guests of one lane until none is left."""
        directory = self._store.run_dir
        if number:
            directory = directory / rundir.GUESTS / str(number + 1)
            directory.mkdir(parents=True, exist_ok=True)
        prepared = replace(self._prepared, started=functools.partial(self._started, number))
        console = str((directory / rundir.SERIAL).relative_to(self._store.run_dir))
        stalled = functools.partial(note_stall, self._store, console)
        killed = functools.partial(self._killed, number)
        fresh = None
        if prepared.fresh_guest:
            fresh = FreshGuests(
                prepared, directory, stalled, lambda: self._stopping or killed(), self._to_ask
            )
        while (first := self._queue.take()) is not None:
            self._kills[number], probe = hoststat.oom_kills(), first
            try:
                with self._guest(prepared, fresh, first, directory) as host:
                    for probe in self._one_guest(prepared, host, first, console, killed):
                        self._now[number] = probe.name
            except HarnessError as error:
                if self._stopping:
                    return
                if not killed():
                    raise
                self._give_back(probe, error)
            finally:
                self._now.pop(number, None)

    def _to_ask(self) -> tuple[str, ...]:
        """Return the programs that a restored guest runs; what holds for all is asked once."""
        if self._store.record.timeout_scale:
            return (COUNTERS,)
        return (FEATURES, calibration.PROGRAM, COUNTERS)

    def _give_back(self, probe: ProbeSpec, error: HarnessError) -> None:
        """Have a probe run again whose guest the OOM killer ended."""
        if not isinstance(error, GuestKilled):
            error = GuestKilled(f"{_KILLED}: {error.message}")
        self._queue.give_back(probe, error)
        why = f"{probe.name}: the host's OOM killer ended its guest; it is run again"
        self._prepared.context.progress.note(why)
        self._store.note([why])

    def _started(self, number: int, process: command.Process) -> None:
        ahead.load()
        self._processes[number] = process
        if self._stopping:
            process.kill()

    def _killed(self, number: int) -> bool:
        """Return whether the OOM killer ended the lane's last guest."""
        process = self._processes.get(number)
        return (
            process is not None
            and process.poll() == 128 + signal.SIGKILL
            and hoststat.oom_kills() > self._kills[number]
        )

    def _one_guest(
        self,
        prepared: Prepared,
        host: Guest,
        first: ProbeSpec,
        console: str,
        killed: Callable[[], bool],
    ) -> Iterator[ProbeSpec]:
        """Run probes in a guest while it is usable and some are left; yield each before it runs.

        Raises:
            GuestKilled: if it is lost and ``killed`` says that the OOM killer ended it.
        """
        store = self._store
        with before_its_first_probe():
            timeout_scale = _meet(prepared, host, store)
            leak_check = LeakCheck(host, prepared.context.deadline)
        if leak_check.tables_left_out:
            store.note_once(f"{_NOT_COMPARED}: {leak_check.tables_left_out}")
        usable = True
        probe: ProbeSpec | None = first
        while probe is not None:
            yield probe
            self._show()
            note_stall(store, console, host)
            seen = _run(prepared, host, probe, store, leak_check, timeout_scale)
            if self._stopping:
                return
            if seen.ended == "lost" and killed():
                raise GuestKilled(f"{_KILLED} in {probe.name}")
            seen = msgspec.structs.replace(seen, console=console)
            usable = may_share(probe, _judged(prepared, host, seen, store))
            self._queue.finish()
            probe = self._queue.take() if usable else None
        with store.lock:
            lost = coverage.collect(prepared.kernel, host, store.run_dir, soon(prepared))
        if lost:
            store.note([lost])
        note_stall(store, console, host)
        if usable:
            self._show()
            host.power_off(prepared.context.progress)

    def _show(self) -> None:
        running = ", ".join(self._now[number] for number in sorted(self._now))
        unit = f"probes, running {running}" if len(self._now) > 1 else "probes"
        self._prepared.context.progress.step(self._queue.done, self._queue.total, unit)

    @contextlib.contextmanager
    def _guest(
        self, prepared: Prepared, fresh: FreshGuests | None, first: ProbeSpec, directory: Path
    ) -> Iterator[Guest]:
        """Yield a guest for one probe, or for all that are left, and record its origin."""
        if fresh is not None:
            with fresh.guest(first) as (host, origin):
                self._store.add_guest(origin)
                yield host
            return
        disk = self._queue.wants_disk(first)
        with guest_with_probes(prepared, directory, disk=disk, accounting=True) as host:
            self._store.add_guest(GuestOrigin(how="booted", seconds=host.boot_seconds))
            yield host


def _know_splats(prepared: Prepared, store: RunStore, *, compare: bool = True) -> None:
    """Record what the kernel reported outside of any probe, and what of it is the machine's.

    Args:
        prepared: all that guests need.
        store: takes it.
        compare: whether another kernel may be booted to tell these two apart.
    """
    from harness.run import judging, other_kernel
    from harness.run.capture import locate_outside

    stalled = store.record.stalled
    found = judging.outside_splats(store.run_dir, stalled)
    if compare and judging.any_before_init(store.run_dir, found.kernel):
        store.note([other_kernel.boot(prepared, store.run_dir)])
        found = judging.outside_splats(store.run_dir, stalled)
    store.know(splats=found.kernel, machine_splats=found.machine)
    locate_outside(prepared, store, found.kernel)


def require_askable(specs: Sequence[ProbeSpec], machine: MachineSpec) -> None:
    """Refuse probes of which a machine can run none: such a run would test nothing.

    Raises:
        SpecError: with what the first of them lacks.
    """
    lacks = [unmet_need(spec, machine) for spec in specs]
    if specs and all(lacks):
        more = f" (and {len(lacks) - 1} more)" if len(lacks) > 1 else ""
        raise SpecError(f"no probe can be run: {specs[0].name}{more} {lacks[0]}")


def unmet_need(spec: ProbeSpec, machine: MachineSpec) -> str:
    """Return why a machine cannot run a probe, or nothing if it can."""
    if spec.unmet:
        return spec.unmet
    if spec.nodes > machine.nodes:
        return f"needs {spec.nodes} NUMA nodes and the machine has {machine.nodes} (--nodes)"
    have = {pages.size: pages.count for pages in machine.hugepages}
    for pages in spec.pages:
        if have.get(pages.size, 0) < pages.count:
            name = size_name(pages.size)
            return f"needs {pages.count} huge pages of {name} (--hugepages {name}:{pages.count})"
    return ""


def _meet(prepared: Prepared, host: Guest, store: RunStore) -> float:
    """Record the facts about a guest that was just booted.

    Returns:
        By how much its probes' budgets are multiplied.
    """
    host.pause_on_death()
    hugepages = PoolSummary(
        asked=pool.by_size(prepared.machine.hugepages),
        got=pool.totals(host.pools),
        nodes=host.pools,
    )
    qemu = host.qemu
    store.know(qemu=tuple(qemu.argv), qemu_version=qemu.version, hugepages=hugepages)
    if store.record.hgm.present is None:
        answers = host.facts or host.ssh.run([FEATURES], soon(prepared), check=True).stdout
        store.know(hgm=hgm_support(answers))
    if prepared.fresh_guest and store.record.timeout_scale:
        return store.record.timeout_scale  # another would take a tenth of a restore
    if host.facts:
        measured = calibration.read(host.facts)
    else:
        measured = calibration.measure(host.ssh, soon(prepared))
    timeout_scale = round(measured, 2)
    store.know_timeout_scale(timeout_scale)
    return timeout_scale


def _run(
    prepared: Prepared,
    host: Guest,
    spec: ProbeSpec,
    store: RunStore,
    leak_check: LeakCheck,
    timeout_scale: float,
) -> ProbeEvidence:
    """Run one probe and return its evidence, with the huge-page accounting after it."""
    from harness.run.checkpoint import Watcher

    directory = store.probe_directory(spec.name)
    watcher = Watcher(host, prepared.machine, directory)
    if spec.checkpoints and not watcher.knows_tables(prepared.context.deadline):
        spec = msgspec.structs.replace(spec, checkpoints=False)
        store.note_once(_NOT_WALKED)
    evidence = run_probe(
        host,
        spec,
        directory,
        prepared.context.deadline,
        timeout_scale=timeout_scale,
        on_output=watcher.feed,
    )
    return leak_check.close(evidence, prepared.context.deadline)


def _judged(
    prepared: Prepared, host: Guest, evidence: ProbeEvidence, store: RunStore
) -> ProbeResult:
    """Capture what a probe that went wrong left, record its evidence and result, and return it."""
    from harness.run import judging
    from harness.run.capture import captured

    directory = store.probe_directory(evidence.name)
    evidence, capture = captured(prepared, host, evidence, store, directory)
    store.keep(evidence, capture)
    issues = judging.issues_of(store.record.kernel)
    result = judging.judge(store.run_dir, evidence, issues)
    store.add_probe(result)
    prepared.context.progress.note(
        f"{result.status:<5} {result.name}" + (result.reason and f": {result.reason}")
    )
    return result


def note_stall(store: RunStore, console: str, host: Guest) -> None:
    """Record what the host gave a guest whose kernel reported a stall while no probe ran."""
    if host.stuck.is_set():
        from harness.judge import starvation

        begin, end = host.idle_since, host.now()
        load = hoststat.load_between(begin.sample, end.sample)
        store.add_stalled(
            Stalled(
                console=console,
                console_from=begin.console,
                console_to=end.console,
                host=load,
            )
        )
        if starvation.starved(load):
            store.note([f"between probes {starvation.remark(load)}"])


def may_share(spec: ProbeSpec, result: ProbeResult) -> bool:
    """Return whether the guest in which a probe ran may run another one."""
    ended = result.status in ("PASS", "FAIL", "KNOWN", "SKIP")
    return ended and not (result.splats or result.leaks or spec.taints_guest or spec.alone)
