# SPDX-License-Identifier: GPL-2.0-only
"""Records of points, as a pipeline would have left them."""

from harness.records import ProbeResult, RunRecord, Splat, Status


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
        stage="done",
        probes=probes,
        splats=tuple(Splat(kind="warning", title=t, block=(t,), offset=0) for t in splats),
    )


def ended(error: str, stage: str, code: int = 3) -> RunRecord:
    """Return the record of a point that an error ended early."""
    return RunRecord(verdict="ERROR", exit_code=code, reason="why", error=error, stage=stage)


NO_BUILD = ended("CompileError", "kernel", 2)
NO_BOOT = ended("GuestPanicked", "guest")
