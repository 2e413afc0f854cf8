# SPDX-License-Identifier: GPL-2.0-only
"""Records for the tests of the reports: a finished run, and runs that ended otherwise."""

from __future__ import annotations

import msgspec

from harness.records.kernel import (
    ConfigIdentity,
    KernelSummary,
    PatchIdentity,
    SeriesIdentity,
    SourceIdentity,
)
from harness.records.known_issue import IssueState, KnownIssue
from harness.records.machine import AccelChoice, PoolSummary
from harness.records.outcome import Outcome
from harness.records.probe import ProbeResult, Splat, Subtest
from harness.records.run import HgmSupport, RunRecord

SPLAT = Splat(
    kind="warning",
    title="WARNING: CPU: 1 PID: 41 at mm/hugetlb.c:812 f+0x1/0x2",
    block=("------------[ cut here ]------------", "WARNING: CPU: 1 PID: 41 at mm/hugetlb.c:812"),
    offset=4711,
)

PROBES = (
    ProbeResult(
        name="base/map/1G",
        status="PASS",
        seconds=0.5,
        subtests=(Subtest(name="map", status="PASS"),),
        directory="probes/base+map+1G",
    ),
    ProbeResult(
        name="base/alias/1G",
        status="FAIL",
        reason="two: got 0x41; <want> & 0x42",
        seconds=1.25,
        subtests=(
            Subtest(name="one", status="PASS"),
            Subtest(name="two", status="FAIL", reason="got 0x41"),
        ),
        splats=(SPLAT,),
        directory="probes/base+alias+1G",
    ),
    ProbeResult(name="hgm/split/1G", status="SKIP", reason="MADV_SPLIT: EINVAL", seconds=0.25),
    ProbeResult(name="hgm/continue-4k/1G", status="CRASH", reason="kernel BUG at a.c:1!"),
    ProbeResult(name="hgm/hole/1G", status="HANG", reason="took longer than 30 s", seconds=30.0),
    ProbeResult(name="hgm/fork/1G", status="LOST", reason="never ran"),
)

RUN = RunRecord(
    verdict="FAIL",
    outcome=Outcome.PROBES_RAN,
    exit_code=1,
    reason="hgm/continue-4k/1G CRASH (and 3 more): kernel BUG at a.c:1!",
    stage="done",
    started="2026-01-02T03:04:05+00:00",
    seconds=42.25,
    harness="0.1.0",
    command=("./hgm", "run", "--probe", "hgm/*", "--kernel", "tree:/home/me/my linux"),
    kernel=KernelSummary(
        release="6.12.117",
        key="k" * 64,
        source=SourceIdentity(
            spec="debian:linux-source-6.12", kind="debian", origin="6.12.117-1", tree="t" * 40
        ),
        series=SeriesIdentity(
            spec="dir:/tmp/series", patches=(PatchIdentity(name="0001-x.patch", digest="d" * 64),)
        ),
        config=ConfigIdentity(
            features=("debug",), digest="0123456789abcdef", notes=("HGM is not known to 6.12",)
        ),
        build_seconds=312.4,
    ),
    hgm=HgmSupport(present=False, evidence="MADV_SPLIT: EINVAL"),
    accel=AccelChoice(name="tcg", reason="no KVM guest reached the kernel in 8 s", cpu="max"),
    hugepages=PoolSummary(asked={"1G": 2, "2M": 64}, got={"1G": 2, "2M": 64}),
    qemu=("qemu-system-x86_64", "-append", "console=ttyS0 panic=1"),
    qemu_version="7.2.22",
    run_dir="/runs/one",
    probes=PROBES,
    splats=(SPLAT,),
    notes=("the guest's clock ran slow",),
)

PASSED = msgspec.structs.replace(
    RUN,
    verdict="PASS",
    exit_code=0,
    reason="kernel has no HGM (MADV_SPLIT: EINVAL); 1 passed, 1 skipped",
    probes=(PROBES[0], PROBES[2]),
    splats=(),
    notes=(),
)

CUT = RunRecord(stage="kernel", seconds=3.0, run_dir="/runs/two")

ISSUE = KnownIssue(
    name="alias",
    shows="one page shows the other's contents",
    probes=("base/alias/1G", "base/alias/2M"),
    test="two",
    reason="wrong",
    fixed_in=("6.15",),
    fix='0123456789ab ("mm: do not")',
)

KNOWN = msgspec.structs.replace(
    RUN,
    verdict="PASS",
    exit_code=0,
    reason="kernel has no HGM; 1 known issue",
    probes=(
        ProbeResult(
            name="base/alias/1G",
            status="KNOWN",
            reason="alias (fixed by 0123): two",
            known_issues=("alias",),
            directory="probes/base+alias+1G",
        ),
    ),
    known_issues=(IssueState(issue=ISSUE, seen=True, probes=("base/alias/1G",)),),
    splats=(),
)
