# SPDX-License-Identifier: GPL-2.0-only
"""Every rule of kselftest's that the judge follows."""

import json
from pathlib import Path

import msgspec
import pytest

from harness.judge.lines import decode
from harness.judge.probe_verdict import ConsoleSlice, judge_probe
from harness.records.probe import ProbeEvidence, ProbeResult

EVIDENCE = ProbeEvidence(
    name="kselftest/mm/cow",
    ended="exit",
    exit_code=0,
    seconds=1.0,
    budget=30.0,
    console_from=0,
    console_to=0,
    rules="kselftest",
)

GOOD = "TAP version 13\n1..2\nok 1 one\nok 2 two\n# Totals: pass:2 fail:0 xfail:0 skip:0 error:0\n"
BAD = "TAP version 13\n1..2\nok 1 one\n# no huge page\nnot ok 2 two\n"
PLAN_SKIP = "TAP version 13\n1..0 # SKIP no userfaultfd\n"
ALL_SKIPPED = "TAP version 13\n1..2\nok 1 # SKIP no memory\nok 2 # SKIP no pages\n"
GUESSED = (
    "TAP version 13\n1..1\n#  RUN           one ...\n# check if CONFIG_GUP_TEST is on\n"
    "ok 1 # SKIP Please run this test as root\n"
)
SOME_SKIPPED = "TAP version 13\n1..2\nok 1 one\nok 2 two # SKIP no pages\n"
XFAIL = "TAP version 13\n1..1\nok 1 # XFAIL known to be so\n"
SOME_XFAIL = "TAP version 13\n1..2\nok 1 one\nok 2 # XFAIL known\n"
SHORT = "TAP version 13\n1..3\nok 1 one\n"
NO_PLAN = "TAP version 13\nok 1 one\n"

UFFD = (
    "Testing UFFDIO_API (with syscall)... done\n"
    "Testing move on shmem... skipped [reason: no such feature]\n"
    "Userfaults unit tests: pass=1, skip=1, fail=0 (total=2)\n"
)
UFFD_FAILED = "Testing wp on hugetlb... failed [reason: faulting 0x10; now]\n"

WARNING = "[    1.000000] WARNING: CPU: 1 PID: 4 at mm/hugetlb.c:8 f+0x1/0x2\n"


def judged(text: str, code: int, stderr: str = "", console: str = "") -> ProbeResult:
    evidence = msgspec.structs.replace(EVIDENCE, exit_code=code)
    return judge_probe(evidence, text, stderr, ConsoleSlice(console, len(console)))


@pytest.mark.parametrize(
    ("result", "status", "reason"),
    [
        # 1: a result is not ok
        (judged(BAD, 1), "FAIL", "two: no huge page"),
        (judged(BAD, 0), "FAIL", "two: no huge page, but exit code 0"),
        (judged(BAD, 4), "FAIL", "two: no huge page"),
        # 2: a skip, in the program's own words
        (judged(PLAN_SKIP, 4), "SKIP", "no userfaultfd"),
        (judged(ALL_SKIPPED, 4), "SKIP", "no pages"),
        (
            judged(GUESSED, 4),
            "SKIP",
            "Please run this test as root; check if CONFIG_GUP_TEST is on",
        ),
        (judged("about to\n[SKIP]\tno debugfs\nbye\n", 4), "SKIP", "[SKIP] no debugfs"),
        (judged("about to\n", 4, stderr="no such device\n"), "SKIP", "no such device"),
        (
            judged("x\nEnable in your kernel:\nCONFIG_X=m\n", 4),
            "SKIP",
            "Enable in your kernel: CONFIG_X=m",
        ),
        (judged("PGTABLE_LEVELS=4, must be >= 5\n", 4), "SKIP", "PGTABLE_LEVELS=4, must be >= 5"),
        (judged("", 4), "SKIP", "exit code 4, no output"),
        # 3: words of failure, exit code of success
        (
            judged("[FAIL] bad page\n", 0),
            "FAIL",
            "printed a failure, but exit code 0: [FAIL] bad page",
        ),
        (
            judged("mremap: FAILED\n", 0),
            "FAIL",
            "printed a failure, but exit code 0: mremap: FAILED",
        ),
        (judged(GOOD, 0, "ERROR: x\n"), "FAIL", "printed a failure, but exit code 0: ERROR: x"),
        (
            judged("pass=3, skip=1, fail=0\nFAIL: 0\nERROR=0\n", 0),
            "PASS",
            "by its exit code; it prints no results",
        ),
        # 4: fewer results than planned
        (judged(SHORT, 0), "FAIL", "1 of 3 planned results, but exit code 0"),
        # 5: nothing but skips
        (judged(ALL_SKIPPED, 0), "SKIP", "no pages"),
        (judged(PLAN_SKIP, 0), "SKIP", "no userfaultfd"),
        # 6: success
        (judged(GOOD, 0), "PASS", ""),
        (judged(NO_PLAN, 0), "PASS", ""),
        (judged(SOME_SKIPPED, 0), "PASS", "1 of 2 results skipped: two: no pages"),
        (judged("", 0), "PASS", "by its exit code; it prints no results"),
        (judged(UFFD, 0), "PASS", "1 of 2 results skipped: move on shmem: no such feature"),
        (judged(UFFD + UFFD_FAILED, 1), "FAIL", "wp on hugetlb: faulting 0x10; now"),
        (judged(SOME_XFAIL, 0), "PASS", ""),
        # 7 and 8: what was expected to fail
        (judged(XFAIL, 2), "SKIP", "expected to fail, and failed: known to be so"),
        (judged(XFAIL, 3), "PASS", "passed although expected to fail: known to be so"),
        # 9: anything else
        (judged(GOOD, 1), "FAIL", "exit code 1: ok 2 two"),
        (judged("", 1), "FAIL", "exit code 1: no output"),
        (
            judged("", 2, stderr="shmat: Cannot allocate memory\n"),
            "FAIL",
            "exit code 2: shmat: Cannot allocate memory",
        ),
        (judged(GOOD, 3), "FAIL", "exit code 3: ok 2 two"),
        (
            judged("set up\nnr_pages failed [reason: EINVAL]\nbye\n", 1),
            "FAIL",
            "exit code 1: nr_pages failed [reason: EINVAL]",
        ),
        # what every probe is judged by
        (judged("", 139), "FAIL", "killed by SIGSEGV, before its first result"),
        (
            judged(GOOD, 0, console=WARNING),
            "FAIL",
            "kernel: WARNING: CPU: 1 PID: 4 at mm/hugetlb.c:8 f+0x1/0x2",
        ),
    ],
)
def test_a_test_of_the_kernels_own(result: ProbeResult, status: str, reason: str) -> None:
    assert (result.status, result.reason) == (status, reason)


def test_by_the_rules_of_ktap_the_same_output_fails() -> None:
    evidence = msgspec.structs.replace(EVIDENCE, rules="ktap")
    assert judge_probe(evidence, "done\n", "", ConsoleSlice("", 0)).status == "FAIL"
    assert judge_probe(EVIDENCE, "done\n", "", ConsoleSlice("", 0)).status == "PASS"


DATA = Path(__file__).parents[2] / "data" / "kselftest"


@pytest.mark.parametrize(
    "case", sorted(DATA.glob("*/*")), ids=lambda path: "/".join(path.parts[-2:])
)
def test_output_recorded_in_guests(case: Path) -> None:
    expected = json.loads((case / "expected.json").read_text())
    stdout, stderr = (decode((case / name).read_bytes()) for name in ("stdout", "stderr"))
    evidence = msgspec.structs.replace(EVIDENCE, exit_code=expected["exit_code"])
    result = judge_probe(evidence, stdout, stderr, ConsoleSlice("", 0))
    found = {s: sum(t.status == s for t in result.subtests) for s in ("PASS", "FAIL", "SKIP")}
    assert (result.status, result.reason) == (expected["status"], expected["reason"])
    assert found == expected["results"]


def test_there_are_recordings_of_every_kind() -> None:
    cases = [json.loads(path.read_text()) for path in DATA.glob("*/*/expected.json")]
    assert {case["status"] for case in cases} == {"PASS", "FAIL", "SKIP"}
    assert {0, 1, 4} <= {case["exit_code"] for case in cases}
    assert any(case["exit_code"] > 128 for case in cases)
