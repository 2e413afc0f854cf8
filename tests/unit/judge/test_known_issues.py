# SPDX-License-Identifier: GPL-2.0-only
"""Known issues: which kernel has one, and that nothing else passes as one."""

from __future__ import annotations

import msgspec
import pytest

from harness.judge import known_issues
from harness.judge.probe_verdict import ConsoleSlice, judge_probe
from harness.judge.run_verdict import judge_run
from harness.records.known_issue import KnownIssue
from harness.records.probe import AccountingReading, ProbeEvidence, ProbeResult, Subtest
from harness.records.run import RunRecord

STABLE = ("6.12.29", "6.14.7", "6.15-rc6")

ISSUE = KnownIssue(
    name="result-unwritten",
    shows="the result is as the caller set it",
    probes=("base/eagain/2M",),
    test=r"UFFDIO_\w+ says how far it came",
    reason=r"\S+ its result is 12345",
    besides=(r"leak: pool\.2M\.reserved 0 -> 1", r"kernel: WARNING: .* hugetlb_wp\+.*"),
    fixed_in=STABLE,
    fix='95567729173e ("mm/userfaultfd: write the result")',
)
OTHER = KnownIssue(
    name="another",
    shows="two is wrong",
    probes=("base/eagain/2M",),
    test="two",
    reason="wrong",
    report="<20260101@example.org>",
)

EVIDENCE = ProbeEvidence(
    name="base/eagain/2M",
    ended="exit",
    exit_code=1,
    seconds=1.0,
    budget=30.0,
    console_from=0,
    console_to=1000,
)
KNOWN = (
    "KTAP version 1\n1..2\n# eagain.c:57: its result is 12345\n"
    "not ok 1 UFFDIO_COPY says how far it came\nok 2 two\n"
)
OOPS = "[    1.000000] BUG: kernel NULL pointer dereference, address: 0000000000000008\n"
WARNING = "[    1.000000] WARNING: CPU: 1 PID: 4 at mm/hugetlb.c:8 {}+0x1/0x2\n"


def judged(
    ktap: str = KNOWN,
    *,
    issues: tuple[KnownIssue, ...] = (ISSUE,),
    code: int = 1,
    console: str = "",
    reserved: int = 0,
    name: str = "base/eagain/2M",
    ended: str = "exit",
) -> ProbeResult:
    reading = AccountingReading(
        before={"pool.2M.reserved": 0}, after={"pool.2M.reserved": reserved}
    )
    changed = {"name": name, "exit_code": code, "accounting": reading, "ended": ended}
    evidence = msgspec.structs.replace(EVIDENCE, **changed)
    return judge_probe(
        evidence, ktap, "", ConsoleSlice(console, len(console.encode())), issues=issues
    )


@pytest.mark.parametrize(
    ("release", "since", "fixed_in", "has"),
    [
        ("6.1.192", (), STABLE, True),
        ("6.12.28", (), STABLE, True),
        ("6.12.29", (), STABLE, False),
        ("6.12.29+deb13-amd64", (), STABLE, False),
        ("6.12.29-rc1", (), STABLE, False),  # what is queued for it has all that it will have
        ("6.13.12", (), STABLE, True),  # a line that did not get the fix
        ("6.14.0", (), STABLE, True),
        ("6.14.7", (), STABLE, False),
        ("6.15.0-rc5", (), STABLE, True),
        ("6.15.0-rc5-00123-gabcdef", (), STABLE, True),
        ("6.15.0-rc6", (), STABLE, False),
        ("6.15.0", (), STABLE, False),
        ("7.3.4", (), STABLE, False),
        ("7.3.4", (), (), True),
        ("6.12.73", ("6.12.74", "6.17"), ("6.12.118",), False),
        ("6.12.74", ("6.12.74", "6.17"), ("6.12.118",), True),
        ("6.12.118", ("6.12.74", "6.17"), ("6.12.118",), False),
        ("6.16.4", ("6.12.74", "6.17"), ("6.12.118",), False),
        ("7.3.4", ("6.12.74", "6.17"), ("6.12.118",), True),
        ("my-kernel", (), (), False),  # an unknown version has no known issue
        ("", (), (), False),
    ],
)
def test_a_kernel_has_an_issue_by_its_version(
    release: str, since: tuple[str, ...], fixed_in: tuple[str, ...], has: bool
) -> None:
    issue = msgspec.structs.replace(ISSUE, since=since, fixed_in=fixed_in)
    assert known_issues.has(release, issue) is has
    assert known_issues.of_release([issue], release) == ((issue,) if has else ())


def test_a_probe_that_fails_by_a_known_issue_is_known_and_says_what_fixed_it() -> None:
    result = judged()
    assert (result.status, result.known_issues) == ("KNOWN", ("result-unwritten",))
    assert result.reason == (
        "result-unwritten (fixed by 95567729173e): UFFDIO_COPY says how far it came: "
        "eagain.c:57: its result is 12345"
    )
    assert result.unexcused == "FAIL"


def test_an_issue_explains_all_the_tests_that_it_fails_and_a_repetition_of_the_probe() -> None:
    ktap = KNOWN.replace("1..2", "1..3") + (
        "# eagain.c:9: its result is 12345\nnot ok 3 UFFDIO_MOVE says how far it came\n"
    )
    result = judged(ktap, name="base/eagain/2M#3")
    assert (result.status, result.reason[-13:]) == ("KNOWN", " (and 1 more)")


def test_two_issues_explain_one_probe() -> None:
    ktap = KNOWN.replace("ok 2 two", "# wrong\nnot ok 2 two")
    assert judged(ktap).status == "FAIL"
    result = judged(ktap, issues=(ISSUE, OTHER))
    assert (result.status, result.known_issues) == ("KNOWN", ("result-unwritten", "another"))
    assert "another (not fixed yet): two: wrong" in result.reason


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (judged(issues=()), "UFFDIO_COPY says how far it came"),
        (judged(name="base/eagain/1G"), "UFFDIO_COPY says how far it came"),
        (judged(KNOWN.replace("12345", "-14")), "its result is -14"),
        (judged(KNOWN.replace("12345", "12345; two")), "its result is 12345; two"),
        (judged(KNOWN.replace("UFFDIO_COPY says", "It says")), "It says how far it came"),
        (judged(KNOWN.replace("ok 2", "not ok 2")), "two"),
        (judged(KNOWN.replace("1..2", "1..3")), "damaged KTAP"),
        (judged(code=0), "a result is `not ok`, but exit code 0"),
        (judged(code=139), "killed by SIGSEGV"),
        (judged(reserved=2), "leak: pool.2M.reserved 0 -> 2"),
        (judged(console=WARNING.format("f")), "kernel: WARNING"),
    ],
)
def test_any_other_failure_is_a_fail(result: ProbeResult, reason: str) -> None:
    assert result.status == "FAIL"
    assert reason in result.reason


def test_a_fail_begins_with_what_is_not_known() -> None:
    result = judged(KNOWN.replace("ok 2 two", "# bad\nnot ok 2 two"))
    assert result.reason == "two: bad"
    assert result.known_issues == ("result-unwritten",)


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (judged(console=OOPS), "CRASH"),
        (judged(ended="budget"), "HANG"),
        (judged(ended="lost"), "LOST"),
    ],
)
def test_a_probe_that_did_not_end_is_never_known(result: ProbeResult, status: str) -> None:
    assert result.status == status


def test_what_else_an_issue_causes_is_known_too() -> None:
    result = judged(reserved=1, console=WARNING.format("hugetlb_wp"))
    assert (result.status, len(result.splats), len(result.leaks)) == ("KNOWN", 1, 1)
    alone = judged("KTAP version 1\n1..1\nok 1 two\n", code=0, reserved=1)
    assert alone.status == "KNOWN"
    assert alone.reason.endswith("(fixed by 95567729173e): leak: pool.2M.reserved 0 -> 1")


GOOD = ProbeResult(name="base/map/2M", status="PASS", directory="d")


def test_a_run_with_known_issues_passes_and_counts_them() -> None:
    again = msgspec.structs.replace(judged(), name="base/eagain/2M#2")
    verdict = judge_run(RunRecord(probes=(GOOD, judged())), [ISSUE])
    assert (verdict.verdict, verdict.exit_code) == ("PASS", 0)
    assert verdict.reason.endswith("1 passed, 1 known issue")
    twice = judge_run(RunRecord(probes=(GOOD, judged(), again)), [ISSUE])
    assert twice.reason.endswith("1 passed, 1 known issue in 2 probes")


def test_a_strict_run_fails_by_them() -> None:
    lost = ProbeResult(name="base/x/2M", status="LOST", reason="why")
    for probes in ((GOOD, judged()), (GOOD, lost, judged())):
        verdict = judge_run(RunRecord(probes=probes, strict=True), [ISSUE])
        assert (verdict.verdict, verdict.exit_code) == ("FAIL", 1)
        assert verdict.reason.startswith("base/eagain/2M KNOWN")


PASSED = Subtest(name="UFFDIO_COPY says how far it came", status="PASS")


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        (judged(), (True, ("base/eagain/2M",))),
        (
            ProbeResult(name="base/eagain/2M", status="PASS", subtests=(PASSED,)),
            (False, ("base/eagain/2M",)),
        ),
        (  # it ran, but the test did not
            ProbeResult(
                name="base/eagain/2M",
                status="PASS",
                subtests=(msgspec.structs.replace(PASSED, status="SKIP"),),
            ),
            None,
        ),
        (  # another failure of the same test
            ProbeResult(
                name="base/eagain/2M",
                status="FAIL",
                subtests=(msgspec.structs.replace(PASSED, status="FAIL", reason="other"),),
            ),
            None,
        ),
        (  # one of its tests passed, and another failed otherwise
            ProbeResult(
                name="base/eagain/2M",
                status="FAIL",
                subtests=(PASSED, Subtest(name=PASSED.name, status="FAIL", reason="other")),
            ),
            None,
        ),
        (ProbeResult(name="base/eagain/1G", status="PASS", subtests=(PASSED,)), None),
    ],
)
def test_an_issue_that_stops_failing_is_pointed_out(
    probe: ProbeResult, expected: tuple[bool, tuple[str, ...]] | None
) -> None:
    states = known_issues.states([ISSUE], [probe])
    assert [(each.seen, each.probes) for each in states] == ([expected] if expected else [])


def test_an_intermittent_issue_that_does_not_show_is_not_pointed_out() -> None:
    issue = msgspec.structs.replace(ISSUE, intermittent=True)
    passed = ProbeResult(name="base/eagain/2M", status="PASS", subtests=(PASSED,))
    assert known_issues.states([issue], [passed]) == ()
    assert [each.seen for each in known_issues.states([issue], [passed, judged()])] == [True]


@pytest.mark.parametrize(
    ("fixed_in", "where"),
    [
        ((), "not fixed yet"),
        (("6.12.118",), "fixed in 6.12.118 alone"),
        (("6.12.118", "6.17"), "fixed in 6.17"),
    ],
)
def test_where_an_issue_without_a_known_commit_is_fixed(
    fixed_in: tuple[str, ...], where: str
) -> None:
    assert msgspec.structs.replace(OTHER, fixed_in=fixed_in).where == where


def test_an_issue_that_one_repetition_shows_was_seen() -> None:
    passed = ProbeResult(name="base/eagain/2M#2", status="PASS", subtests=(PASSED,))
    (state,) = known_issues.states([ISSUE], [judged(), passed])
    assert (state.seen, state.probes) == (True, ("base/eagain/2M",))
