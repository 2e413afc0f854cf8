# SPDX-License-Identifier: GPL-2.0-only
"""Records of nightly runs, for the tests of the history."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

import msgspec

from harness.records.kernel import ConfigIdentity, KernelSummary, SeriesIdentity, SourceIdentity
from harness.records.machine import AccelChoice, HugePages, MachineSpec
from harness.records.outcome import Outcome
from harness.records.probe import ProbeResult, Splat, Status
from harness.records.run import RequestSummary, RunRecord

MACHINE = MachineSpec(hugepages=(HugePages(size=2**30, count=2),), memory=4 * 2**30)
REQUEST = RequestSummary(kernel="debian:linux-source-6.12", series="hgm-6.12")

_FIRST = datetime.datetime(2026, 11, 1, 2, 0, tzinfo=datetime.UTC)


def night(
    number: int,
    statuses: Mapping[str, Status] | None = None,
    *,
    key: str = "",
    outcome: Outcome = Outcome.PROBES_RAN,
    request: RequestSummary | None = REQUEST,
    splat: str = "",
) -> RunRecord:
    """Return the record of a night's run.

    Args:
        number: which night.
        statuses: how each probe ended.
        key: of the kernel; by default each night has another one.
        outcome: of the run.
        request: what was asked for.
        splat: the title of a splat outside of any probe.
    """
    started = _FIRST + datetime.timedelta(days=number)
    kernel = KernelSummary(
        release=f"6.12.{number}",
        key=key or f"kernel {number}",
        source=SourceIdentity(spec="debian:linux-source-6.12", kind="debian", origin=f"{number}-1"),
        series=SeriesIdentity(spec="hgm-6.12"),
        config=ConfigIdentity(),
    )
    built = outcome in (Outcome.PROBES_RAN, Outcome.NOT_BOOTED, Outcome.BUILT_ONLY)
    probes = tuple(
        ProbeResult(
            name=name, status=status, seconds=1.5, reason="" if status == "PASS" else f"{name}: no"
        )
        for name, status in (statuses or {}).items()
    )
    splats = (Splat(kind="bug", title=splat, block=(splat,), offset=0),) if splat else ()
    bad = any(status in ("FAIL", "CRASH", "HANG") for status in (statuses or {}).values())
    return RunRecord(
        verdict="FAIL" if bad or splat else "PASS",
        outcome=outcome,
        exit_code=int(bad or bool(splat)),
        reason=f"night {number} ended: {outcome}",
        started=started.isoformat(timespec="seconds"),
        seconds=60.0,
        command=("hgm", "run"),
        request=request,
        kernel=kernel if built else None,
        accel=AccelChoice(name="tcg", reason="no KVM", cpu="max") if built else None,
        machine=MACHINE,
        run_dir=f"/runs/{started:%Y%m%d-%H%M%S}-debian-{number:04x}",
        probes=probes,
        splats=splats,
    )


def asking(**asked: object) -> RequestSummary:
    """Return the request with other fields."""
    return msgspec.structs.replace(REQUEST, **asked)
