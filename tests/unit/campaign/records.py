# SPDX-License-Identifier: GPL-2.0-only
"""Records of points, as a pipeline would have left them."""

import msgspec

from harness.records.kernel import ConfigIdentity, KernelSummary, SeriesIdentity, SourceIdentity
from harness.records.outcome import Outcome
from harness.records.probe import ProbeResult, Splat, Status
from harness.records.run import RunRecord, StageTime


def probed(
    results: dict[str, Status] | None = None, *, splats: tuple[str, ...] = (), **statuses: Status
) -> RunRecord:
    """Return the record of a kernel that booted; a keyword's ``_`` stands for a slash."""
    named = {name.replace("_", "/"): status for name, status in statuses.items()} | (results or {})
    probes = tuple(
        ProbeResult(name=name, status=status, reason=f"its {status}")
        for name, status in named.items()
    )
    good = all(status in ("PASS", "SKIP") for status in named.values()) and not splats
    return RunRecord(
        verdict="PASS" if good else "FAIL",
        exit_code=0 if good else 1,
        reason="as it is",
        outcome=Outcome.PROBES_RAN,
        stage="done",
        probes=probes,
        splats=tuple(Splat(kind="warning", title=t, block=(t,), offset=0) for t in splats),
    )


def took(record: RunRecord, *, cached: bool = False) -> RunRecord:
    """Return a record of 13 s: 3 s of them a guest, and 10 s make where it was not cached."""
    kernel = KernelSummary(
        release="6.12.0",
        key="0",
        source=SourceIdentity(spec="tree:/src", kind="tree", origin="", tree="0"),
        series=SeriesIdentity(spec="dir:/p"),
        config=ConfigIdentity(features=(), digest="0"),
        cached=cached,
        make_seconds=10.0,
    )
    stages = (StageTime(name="kernel", seconds=10.0), StageTime(name="guest", seconds=3.0))
    return msgspec.structs.replace(record, kernel=kernel, stages=stages, seconds=13.0)


def ended(outcome: Outcome, code: int = 3) -> RunRecord:
    """Return the record of a point that ended early."""
    return RunRecord(verdict="ERROR", exit_code=code, reason="why", outcome=outcome)


NO_SERIES = ended(Outcome.PATCH_REFUSED, 2)
NO_BUILD = ended(Outcome.NOT_COMPILED, 2)
NO_BOOT = ended(Outcome.NOT_BOOTED)
