# SPDX-License-Identifier: GPL-2.0-only
"""The probes of a run in guests.

One guest is used as long as possible. A guest in which a probe crashed, hung, was lost,
left a splat, or left the pools other than it found them is never used again, nor is one whose probe
taints it by design or is to be alone; the probes that are left get a new one. Where each probe is
to have a fresh guest, that is restored from a snapshot.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from harness.errors import SpecError
from harness.judge import machine
from harness.records.machine import GuestOrigin, MachineSpec, PoolSummary, size_name
from harness.records.probe import ProbeResult, ProbeSpec
from harness.run import calibration, coverage, judging, other_kernel
from harness.run.accounting import LeakCheck
from harness.run.capture import captured
from harness.run.checkpoint import Watcher
from harness.run.features import hgm_support
from harness.run.prepare import Prepared
from harness.run.probe import FEATURES, run_probe
from harness.run.starting import FreshGuests, before_its_first_probe, guest_with_probes, soon
from harness.store import rundir
from harness.store.rundir import RunStore
from harness.vm import pool
from harness.vm.guest import Guest


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
    total = len(left)
    fresh = FreshGuests(prepared, store.run_dir) if prepared.fresh_guest else None
    while left:
        with _guest(prepared, fresh, left, store) as host:
            with before_its_first_probe():
                timeout_scale = _meet(prepared, host, store)
                leak_check = LeakCheck(host, prepared.context.deadline)
            usable = True
            while left and usable:
                prepared.context.progress.step(total - len(left), total, "probes")
                probe = left.pop(0)
                usable = _run_one(prepared, host, probe, store, leak_check, timeout_scale)
            if lost := coverage.collect(prepared.kernel, host, store.run_dir, soon(prepared)):
                store.note([lost])
            if usable:
                prepared.context.progress.step(total, total, "probes")
                host.power_off(prepared.context.progress)
    _know_splats(prepared, store)


@contextlib.contextmanager
def _guest(
    prepared: Prepared, fresh: FreshGuests | None, left: Sequence[ProbeSpec], store: RunStore
) -> Iterator[Guest]:
    """Yield a guest for one of the probes that are left, or for all, and record its origin."""
    if fresh is not None:
        with fresh.guest(left[0]) as (host, origin):
            store.know(guests=(*store.record.guests, origin))
            yield host
        return
    disk = any(spec.wants_disk for spec in left)
    with guest_with_probes(prepared, store.run_dir, disk=disk) as host:
        store.know(guests=(*store.record.guests, GuestOrigin(how="booted")))
        yield host


def _know_splats(prepared: Prepared, store: RunStore) -> None:
    """Record what the kernel reported outside of any probe, and what of it is the machine's."""
    found = judging.outside_splats(store.run_dir)
    if machine.before_init(found.kernel, rundir.read_console(store.run_dir)):
        store.note([other_kernel.boot(prepared, store.run_dir)])
        found = judging.outside_splats(store.run_dir)
    store.know(splats=found.kernel, machine_splats=found.machine)


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
        answers = host.ssh.run([FEATURES], soon(prepared), check=True).stdout
        store.know(hgm=hgm_support(answers))
    if prepared.fresh_guest and store.record.timeout_scale:
        return store.record.timeout_scale  # it takes a third of the time that a restore does
    timeout_scale = round(calibration.measure(host.ssh, soon(prepared)), 2)
    store.know_timeout_scale(timeout_scale)
    return timeout_scale


def _run_one(
    prepared: Prepared,
    host: Guest,
    spec: ProbeSpec,
    store: RunStore,
    leak_check: LeakCheck,
    timeout_scale: float,
) -> bool:
    """Run one probe, judge it, and return whether its guest may run another."""
    directory = store.probe_directory(spec.name)
    watcher = Watcher(host, prepared.machine, directory)
    evidence = run_probe(
        host,
        spec,
        directory,
        prepared.context.deadline,
        timeout_scale=timeout_scale,
        on_output=watcher.feed,
    )
    evidence = leak_check.close(evidence, prepared.context.deadline)
    evidence, capture = captured(prepared, host, evidence, store, directory)
    store.keep(evidence, capture)
    issues = judging.issues_of(store.record.kernel)
    result = judging.judge(store.run_dir, evidence, issues)
    store.add_probe(result)
    prepared.context.progress.note(
        f"{result.status:<5} {result.name}" + (result.reason and f": {result.reason}")
    )
    return may_share(spec, result)


def may_share(spec: ProbeSpec, result: ProbeResult) -> bool:
    """Return whether the guest in which a probe ran may run another one."""
    ended = result.status in ("PASS", "FAIL", "KNOWN", "SKIP")
    return ended and not (result.splats or result.leaks or spec.taints_guest or spec.alone)
