# SPDX-License-Identifier: GPL-2.0-only
"""Every rule of the judge, for probes and for runs."""

from __future__ import annotations

from typing import Literal

import msgspec
import pytest

from harness.judge.probe_verdict import ConsoleSlice, judge_probe
from harness.judge.promises import describe_hgm
from harness.judge.run_verdict import judge_run, tally
from harness.records.probe import (
    AccountingReading,
    Capture,
    CheckpointResult,
    ProbeEvidence,
    ProbeResult,
    PromiseAnswer,
    Splat,
    Status,
    Vcpu,
)
from harness.records.run import REPORT, HgmSupport, Profile, RunRecord

EVIDENCE = ProbeEvidence(
    name="hgm/split/1G",
    ended="exit",
    exit_code=0,
    seconds=1.5,
    budget=30.0,
    console_from=1000,
    console_to=2000,
)

GOOD = "KTAP version 1\n1..2\nok 1 one\nok 2 two\n"
BAD = "KTAP version 1\n1..3\nok 1 one\n# got 0x41\n# want 0x42\nnot ok 2 two\nnot ok 3 three\n"
SKIPPED = (
    "KTAP version 1\n1..2\nok 1 a # SKIP MADV_SPLIT: EINVAL\nok 2 b # SKIP MADV_SPLIT: EINVAL\n"
)
MIXED = "KTAP version 1\n1..2\nok 1 a\nok 2 b # SKIP MADV_SPLIT: EINVAL\n"
PLAN_SKIP = "KTAP version 1\n1..0 # SKIP no pages of 1G\n"

WARNING = "[    1.000000] WARNING: CPU: 1 PID: 4 at mm/hugetlb.c:8 f+0x1/0x2\n"
OOPS = "[    1.000000] BUG: kernel NULL pointer dereference, address: 0000000000000008\n"
PANIC = "[    1.500000] Kernel panic - not syncing: Fatal exception\n"
HUNG = "[    1.000000] INFO: task probe:41 blocked for more than 10 seconds.\n"

NULL_TITLE = "BUG: kernel NULL pointer dereference, address: 0000000000000008"
WARNING_TITLE = "WARNING: CPU: 1 PID: 4 at mm/hugetlb.c:8 f+0x1/0x2"
HUNG_TITLE = "INFO: task probe:41 blocked for more than 10 seconds."

Ended = Literal["exit", "budget", "stalled", "guest-died", "lost"]


def judged(
    ktap: str = GOOD,
    *,
    code: int | None = 0,
    ended: Ended = "exit",
    stderr: str = "",
    console: str = "",
    detail: str = "",
) -> ProbeResult:
    evidence = msgspec.structs.replace(EVIDENCE, ended=ended, exit_code=code, detail=detail)
    return judge_probe(evidence, ktap, stderr, ConsoleSlice(console, len(console.encode())))


@pytest.mark.parametrize(
    ("result", "status", "reason"),
    [
        # 1: the kernel or the guest died
        (judged(console=OOPS), "CRASH", NULL_TITLE),
        (judged(console=OOPS + PANIC, ended="guest-died", code=None), "CRASH", NULL_TITLE),
        (judged(console=OOPS, ended="budget", code=None), "CRASH", NULL_TITLE),
        (judged(console=OOPS, ended="lost", code=None), "CRASH", NULL_TITLE),
        (judged(console=WARNING + OOPS), "CRASH", NULL_TITLE),
        (judged(ended="guest-died", code=None), "CRASH", "the guest died without a splat"),
        (
            judged(ended="guest-died", code=None, detail="QEMU ended with 1"),
            "CRASH",
            "QEMU ended with 1",
        ),
        # 2: out of time
        (
            judged("", ended="budget", code=None),
            "HANG",
            "took longer than 30 s, before its first result",
        ),
        (judged(ended="budget", code=None), "HANG", "took longer than 30 s, after two"),
        (
            judged(ended="budget", code=None, console=WARNING + HUNG),
            "HANG",
            f"took longer than 30 s, after two; {HUNG_TITLE}",
        ),
        # 3: no answer
        (
            judged("", ended="lost", code=None, detail="SSH reset"),
            "LOST",
            "SSH reset, before its first result",
        ),
        (judged(ended="lost", code=None), "LOST", "the guest stopped answering, after two"),
        # 4: a signal
        (judged(code=139), "FAIL", "killed by SIGSEGV, after two"),
        (
            judged("", code=134, stderr="probe: assertion failed\n\n"),
            "FAIL",
            "killed by SIGABRT, before its first result; stderr: probe: assertion failed",
        ),
        (
            judged(BAD, code=137),
            "FAIL",
            "killed by SIGKILL, after three; two: got 0x41; want 0x42",
        ),
        # 5: no KTAP
        (judged("", code=0), "FAIL", "printed no KTAP: no output at all, exit code 0"),
        (
            judged("\n\x00usage: probe SIZE\nmore\n", code=2, stderr="bad size\n"),
            "FAIL",
            "printed no KTAP: first line 'usage: probe SIZE', exit code 2; stderr: bad size",
        ),
        # 6: a failure
        (judged(BAD, code=1), "FAIL", "two (and 1 more): got 0x41; want 0x42"),
        (judged(BAD), "FAIL", "two (and 1 more): got 0x41; want 0x42, but exit code 0"),
        (judged(BAD, code=4), "FAIL", "two (and 1 more): got 0x41; want 0x42"),
        # 7: damaged KTAP
        (
            judged("KTAP version 1\n1..3\nok 1 a\nok 2 b\n", stderr="oh\n"),
            "FAIL",
            "damaged KTAP: 2 of 3 planned results; stderr: oh",
        ),
        (judged("KTAP version 1\nok 1 a\n"), "FAIL", "damaged KTAP: no plan (1..N)"),
        (judged(GOOD[:-1]), "FAIL", "damaged KTAP: line 4: the last line has no end: 'ok 2 two'"),
        # 8: an unexplained skip
        (
            judged("KTAP version 1\n1..2\nok 1 a\nok 2 b # SKIP\n"),
            "FAIL",
            "skipped without a reason: b",
        ),
        # 9: an exit code that contradicts
        (judged(code=1), "FAIL", "no result is `not ok`, but exit code 1"),
        (judged(SKIPPED, code=1), "FAIL", "no result is `not ok`, but exit code 1"),
        (judged(code=None), "FAIL", "the exit code is not known"),
        (judged(code=4), "FAIL", "tested nothing and gave no reason (exit code 4)"),
        (
            judged("KTAP version 1\n1..0\n"),
            "FAIL",
            "tested nothing and gave no reason (exit code 0)",
        ),
        (
            judged("KTAP version 1\n1..0 # SKIP\n", code=4),
            "FAIL",
            "tested nothing and gave no reason (exit code 4)",
        ),
        # 10: a skip
        (judged(SKIPPED), "SKIP", "MADV_SPLIT: EINVAL"),
        (judged(SKIPPED, code=4), "SKIP", "MADV_SPLIT: EINVAL"),
        (judged(MIXED, code=4), "SKIP", "MADV_SPLIT: EINVAL"),
        (judged(PLAN_SKIP, code=4), "SKIP", "no pages of 1G"),
        (judged(PLAN_SKIP, code=0), "SKIP", "no pages of 1G"),
        # 11: a pass
        (judged(), "PASS", ""),
        (judged(MIXED), "PASS", ""),
        (judged("ld.so: a warning\n" + GOOD + "bye\n"), "PASS", ""),
        (judged(GOOD.replace("\n", "\r\n")), "PASS", ""),
        (judged(stderr="chatter\n", console="[    1.000000] hugetlbfs: mounted\n"), "PASS", ""),
        # any other splat
        (judged(console=WARNING), "FAIL", f"kernel: {WARNING_TITLE}"),
        (judged(SKIPPED, console=WARNING), "FAIL", f"kernel: {WARNING_TITLE}"),
        (judged(console=HUNG), "FAIL", f"kernel: {HUNG_TITLE}"),
        (
            judged(BAD, code=1, console=WARNING + HUNG),
            "FAIL",
            f"two (and 1 more): got 0x41; want 0x42; kernel: {WARNING_TITLE} (and 1 more)",
        ),
    ],
)
def test_probe(result: ProbeResult, status: Status, reason: str) -> None:
    assert (result.status, result.reason) == (status, reason)


def test_a_result_carries_its_evidence() -> None:
    result = judged(MIXED, console="[    0.900000] quiet\n" + WARNING)
    assert (result.name, result.seconds) == ("hgm/split/1G", 1.5)
    assert [subtest.status for subtest in result.subtests] == ["PASS", "SKIP"]
    assert result.splats[0].offset == 1000 + len("[    0.900000] quiet\n")


def test_a_failing_child_is_not_counted_again_with_its_parent() -> None:
    nested = "KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  not ok 1 in\nnot ok 1 out\n"
    assert judged(nested, code=1).reason == "out > in"


def test_a_parent_that_hides_its_failing_child_does_not_pass() -> None:
    nested = "KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  not ok 1 in\nok 1 out\n"
    assert judged(nested).status == "FAIL"


@pytest.mark.parametrize("noise", ["\x1b[31m\x00" * 50, "x" * 10_000, "a\nb\rc\n" * 99])
def test_every_reason_is_one_short_line(noise: str) -> None:
    for result in (
        judged(noise, stderr=noise, code=3),
        judged("", ended="lost", code=None, detail=noise),
    ):
        assert result.reason.isprintable()
        assert 0 < len(result.reason) <= 400


NO_HGM = HgmSupport(present=False, evidence="MADV_SPLIT: EINVAL")
HGM = HgmSupport(present=True, evidence="MADV_SPLIT: 0")
PROFILES = {
    "report": REPORT,
    "hgm": Profile(name="hgm", offers=("split", "collapse")),
    "stock": Profile(name="stock", lacks=("split",)),
}
SPLAT = Splat(kind="warning", title=WARNING_TITLE, block=(WARNING_TITLE,), offset=0)


def probe(name: str, status: Status, reason: str = "why", directory: str = "d") -> ProbeResult:
    reason = "" if status == "PASS" else reason
    return ProbeResult(name=name, status=status, reason=reason, directory=directory)


BASE = probe("base/map/1G", "PASS")
NO_COLLAPSE = msgspec.structs.replace(
    BASE,
    name="hgm/promises/1G",
    promises=(PromiseAnswer(name="collapse", state="not offered", word="EINVAL"),),
)
SPLIT = probe("hgm/split/1G", "PASS")
SPLIT_SKIP = probe("hgm/split/1G", "SKIP", "MADV_SPLIT: EINVAL")
STOCK = "kernel has no HGM (MADV_SPLIT: EINVAL); 1 passed, 1 skipped"


@pytest.mark.parametrize(
    ("probes", "expect", "hgm", "splats", "expected"),
    [
        ([BASE, SPLIT_SKIP], "report", NO_HGM, [], ("PASS", 0, STOCK)),
        ([BASE, SPLIT_SKIP], "stock", NO_HGM, [], ("PASS", 0, STOCK)),
        ([BASE, SPLIT], "hgm", HGM, [], ("PASS", 0, "kernel has HGM (MADV_SPLIT: 0); 2 passed")),
        ([BASE, SPLIT], "report", HGM, [], ("PASS", 0, "kernel has HGM (MADV_SPLIT: 0); 2 passed")),
        ([], "report", NO_HGM, [], ("FAIL", 1, "no probe ran, so nothing was tested")),
        ([], "hgm", HGM, [], ("FAIL", 1, "no probe ran, so nothing was tested")),
        (
            [BASE, SPLIT_SKIP],
            "hgm",
            NO_HGM,
            [],
            ("FAIL", 1, f"expected a kernel with HGM; {STOCK}"),
        ),
        (
            [BASE],
            "hgm",
            HgmSupport(),
            [],
            ("FAIL", 1, "expected a kernel with HGM; HGM support not known; 1 passed"),
        ),
        (
            [BASE, NO_COLLAPSE],
            "hgm",
            HGM,
            [],
            (
                "FAIL",
                1,
                "expected hgm, which offers collapse on huge pages of 1G: EINVAL; "
                "kernel has HGM (MADV_SPLIT: 0); 2 passed",
            ),
        ),
        (
            [probe("base/numa", "SKIP", "1 node"), SPLIT],
            "hgm",
            HGM,
            [],
            ("PASS", 0, "kernel has HGM (MADV_SPLIT: 0); 1 passed, 1 skipped"),
        ),
        (
            [probe("hgm/numa/1G", "SKIP", "needs 2 NUMA nodes", directory=""), SPLIT],
            "hgm",
            HGM,
            [],
            ("PASS", 0, "kernel has HGM (MADV_SPLIT: 0); 1 passed, 1 skipped"),
        ),
        (
            [BASE, SPLIT],
            "stock",
            HGM,
            [],
            ("FAIL", 1, "expected a kernel without HGM; kernel has HGM (MADV_SPLIT: 0); 2 passed"),
        ),
        (
            [BASE],
            "stock",
            HgmSupport(),
            [],
            ("FAIL", 1, "expected a kernel without HGM; HGM support not known; 1 passed"),
        ),
        (
            [BASE, SPLIT_SKIP],
            "report",
            NO_HGM,
            [SPLAT],
            ("FAIL", 1, f"splat outside of any probe: {WARNING_TITLE}; {STOCK}"),
        ),
        (
            [probe("a/b", "LOST"), BASE],
            "report",
            HGM,
            [],
            ("ERROR", 3, "a/b LOST: why; kernel has HGM (MADV_SPLIT: 0); 1 passed, 1 lost"),
        ),
        (
            [probe("a/b", "LOST"), BASE],
            "stock",
            HGM,
            [],
            (
                "FAIL",
                1,
                "a/b LOST: why; expected a kernel without HGM; "
                "kernel has HGM (MADV_SPLIT: 0); 1 passed, 1 lost",
            ),
        ),
        (
            [
                probe("a/l", "LOST"),
                probe("a/f", "FAIL"),
                probe("a/h", "HANG"),
                probe("a/c", "CRASH"),
            ],
            "report",
            HGM,
            [],
            (
                "FAIL",
                1,
                "a/c CRASH (and 3 more): why; kernel has HGM (MADV_SPLIT: 0); "
                "1 failed, 1 crashed the kernel, 1 hung, 1 lost",
            ),
        ),
    ],
)
def test_run(
    probes: list[ProbeResult],
    expect: Literal["report", "hgm", "stock"],
    hgm: HgmSupport,
    splats: list[Splat],
    expected: tuple[str, int, str],
) -> None:
    record = RunRecord(probes=tuple(probes), expect=PROFILES[expect], hgm=hgm, splats=tuple(splats))
    assert judge_run(record)[:3] == expected


@pytest.mark.parametrize("status", ["FAIL", "CRASH", "HANG", "LOST"])
def test_no_bad_probe_is_ever_outvoted(status: Status) -> None:
    probes = (*[BASE] * 9, probe("x/y", status))
    verdict = judge_run(RunRecord(probes=probes, expect=REPORT, hgm=HGM))
    assert verdict.verdict != "PASS"
    assert verdict.exit_code != 0


def test_a_skipped_probe_is_not_a_missing_feature() -> None:
    skipped = (BASE, probe("hgm/dirty-tracking/1G", "SKIP", "UFFDIO_API: no such feature"))
    record = RunRecord(probes=skipped, expect=PROFILES["hgm"], hgm=HGM)
    assert judge_run(record).exit_code == 0


def test_words() -> None:
    assert describe_hgm(HgmSupport()) == "HGM support not known"
    assert describe_hgm(HgmSupport(present=True)) == "kernel has HGM"
    assert tally([]) == "no probes"


CHECKPOINT_LINE = "# checkpoint cpu=0 and so on\n"
AGREED = CheckpointResult(number=1, name="one")
DISPUTED = CheckpointResult(number=1, name="one", problems=("pagemap lies", "smaps lies"))


@pytest.mark.parametrize(
    ("ktap", "code", "checkpoints", "status", "reason"),
    [
        (CHECKPOINT_LINE + GOOD, 0, (AGREED,), "PASS", ""),
        (
            CHECKPOINT_LINE + GOOD,
            0,
            (DISPUTED,),
            "FAIL",
            "page tables, checkpoint 1 (one): pagemap lies (and 1 more)",
        ),
        # A checkpoint that the host did not answer shows nothing, so it cannot be a PASS.
        (CHECKPOINT_LINE + GOOD, 0, (), "FAIL", "the host answered 0 of 1 checkpoints"),
        (
            CHECKPOINT_LINE + BAD,
            1,
            (DISPUTED,),
            "FAIL",
            "two (and 1 more): got 0x41; want 0x42; page tables, checkpoint 1 (one): pagemap lies "
            "(and 1 more)",
        ),
    ],
)
def test_page_tables_that_disagree_make_a_failure(
    ktap: str, code: int, checkpoints: tuple[CheckpointResult, ...], status: Status, reason: str
) -> None:
    evidence = msgspec.structs.replace(EVIDENCE, exit_code=code)
    result = judge_probe(evidence, ktap, "", ConsoleSlice("", 0), checkpoints)
    assert (result.status, result.reason, result.checkpoints) == (status, reason, checkpoints)


def test_a_checkpoint_line_is_not_the_reason_of_a_result() -> None:
    text = BAD.replace("# got", "# checkpoint cpu=0 start=0x7f\n# got")
    evidence = msgspec.structs.replace(EVIDENCE, exit_code=1)
    result = judge_probe(evidence, text, "", ConsoleSlice("", 0), (AGREED,))
    assert result.subtests[1].reason == "got 0x41; want 0x42"


BOOKS = {"pool.1G.node0.free": 2, "pagetables.unowned": 20}
LEAKED = AccountingReading(before=BOOKS, after=BOOKS | {"pool.1G.node0.free": 1})
RETURNED = AccountingReading(before=BOOKS, after=BOOKS)


@pytest.mark.parametrize(
    ("ktap", "code", "accounting", "status", "reason"),
    [
        (GOOD, 0, RETURNED, "PASS", ""),
        (GOOD, 0, None, "PASS", ""),
        (GOOD, 0, LEAKED, "FAIL", "leak: pool.1G.node0.free 2 -> 1"),
        (SKIPPED, 4, LEAKED, "FAIL", "leak: pool.1G.node0.free 2 -> 1"),
        (
            BAD,
            1,
            LEAKED,
            "FAIL",
            "two (and 1 more): got 0x41; want 0x42; leak: pool.1G.node0.free 2 -> 1",
        ),
    ],
)
def test_a_leak_fails_a_probe(
    ktap: str, code: int, accounting: AccountingReading | None, status: Status, reason: str
) -> None:
    evidence = msgspec.structs.replace(EVIDENCE, exit_code=code, accounting=accounting)
    result = judge_probe(evidence, ktap, "", ConsoleSlice("", 0))
    assert (result.status, result.reason) == (status, reason)
    assert bool(result.leaks) == (accounting is LEAKED)


def test_leaks_of_a_probe_that_taints_its_guest_are_not_judged() -> None:
    evidence = msgspec.structs.replace(EVIDENCE, accounting=LEAKED, taints_guest=True)
    result = judge_probe(evidence, GOOD, "", ConsoleSlice("", 0))
    assert (result.status, result.leaks) == ("PASS", ())


def test_a_console_that_was_cut_short_is_a_finding() -> None:
    result = judge_probe(EVIDENCE, GOOD, "", ConsoleSlice("", 1000, missing=400))
    assert (result.status, result.reason) == (
        "FAIL",
        "kernel: 400 bytes of the console during the probe are missing",
    )
    assert [splat.kind for splat in result.splats] == ["console-gap"]


def test_a_splat_that_began_before_the_end_is_whole() -> None:
    text = WARNING + "[    1.000001] Call Trace:\n[    1.000002]  g+0x1/0x2\n"
    result = judge_probe(EVIDENCE, GOOD, "", ConsoleSlice(text, len(WARNING)))
    assert result.splats[0].block[-1] == " g+0x1/0x2"
    assert judge_probe(EVIDENCE, GOOD, "", ConsoleSlice(text, 0)).splats == ()


CAPTURE = Capture(why="hang", vcpus=(Vcpu(number=0, pc=0xFFFFFFFF81000000, level=0, halted=False),))


@pytest.mark.parametrize(
    ("ended", "capture", "status", "reason"),
    [
        (
            "budget",
            CAPTURE,
            "HANG",
            "took longer than 30 s, after two; in 0xffffffff81000000, on CPU 0",
        ),
        ("stalled", None, "HANG", "did not end after the kernel reported a stall, after two"),
        (
            "lost",
            CAPTURE,
            "HANG",
            "the guest stopped answering while QEMU was still running, after two; "
            "in 0xffffffff81000000, on CPU 0",
        ),
        ("lost", Capture(why="crash"), "LOST", "the guest stopped answering, after two"),
        ("lost", None, "LOST", "the guest stopped answering, after two"),
    ],
)
def test_a_capture_decides_between_hang_and_lost(
    ended: Ended, capture: Capture | None, status: Status, reason: str
) -> None:
    evidence = msgspec.structs.replace(EVIDENCE, ended=ended, exit_code=None)
    result = judge_probe(evidence, GOOD, "", ConsoleSlice("", 0, capture))
    assert (result.status, result.reason) == (status, reason)
