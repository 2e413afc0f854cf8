# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from harness.campaign.compare import (
    compare,
    fisher,
    rank_test,
    repeats_needed,
)
from harness.errors import RecordError
from harness.judge.lines import without_numbers
from harness.probes.summary import summaries
from harness.records.campaign import ChangeKind, Comparison
from harness.records.kernel import (
    ConfigIdentity,
    KernelSummary,
    PatchIdentity,
    SeriesIdentity,
    SourceIdentity,
)
from harness.records.machine import MachineSpec
from harness.records.outcome import Outcome
from harness.records.probe import ProbeResult, Splat, Status
from harness.records.run import RunRecord
from harness.report import compare as report

LETTERS: dict[str, Status] = {
    "P": "PASS",
    "S": "SKIP",
    "F": "FAIL",
    "K": "KNOWN",
    "C": "CRASH",
    "H": "HANG",
    "L": "LOST",
}


def probe(name: str, letter: str, reason: str = "", seconds: float = 1.0) -> ProbeResult:
    status = LETTERS[letter]
    reason = reason or ("" if status == "PASS" else f"it is {status}")
    return ProbeResult(name=name, status=status, reason=reason, seconds=seconds)


def run(*probes: ProbeResult, **fields: Any) -> RunRecord:
    given = {"verdict": "PASS", "stage": "done", "run_dir": "/runs/x", **fields}
    return RunRecord(probes=probes, **{"outcome": Outcome.PROBES_RAN, **given})


def repeated(name: str, letters: str) -> list[ProbeResult]:
    return [
        probe(name if number == 1 else f"{name}#{number}", letter)
        for number, letter in enumerate(letters, 1)
    ]


def compared(before: str, after: str) -> Comparison:
    """Compare one probe's repetitions, a letter each."""
    return compare(run(*repeated("p/x/1G", before)), run(*repeated("p/x/1G", after)))


@pytest.mark.parametrize(
    ("before", "after", "kind", "exit_code"),
    [
        ("P", "F", "newly failing", 1),
        ("P", "C", "newly failing", 1),
        ("P", "H", "newly failing", 1),
        ("S", "F", "newly failing", 1),
        ("P", "S", "newly skipped", 1),
        ("F", "S", "newly skipped", 0),
        ("S", "P", "newly passing", 0),
        ("F", "P", "newly passing", 0),
        ("H", "P", "newly passing", 0),
        ("F", "C", "changed reason", 0),
        ("P", "L", "newly lost", 3),
        ("S", "L", "newly lost", 3),
        ("L", "P", "newly passing", 0),
        ("L", "F", "newly failing", 0),
        ("PPP", "PFP", "newly failing", 1),
        ("PFP", "PPP", "newly passing", 0),
        ("PPPPPPPPF", "PFFFFFFFF", "failing more", 1),
        ("FFFFFFFFP", "PPPPPPPPF", "failing less", 0),
        ("PPLPP", "PLFFP", "newly failing", 1),
        ("P", "K", "newly failing", 1),
        ("K", "F", "newly failing", 1),
        ("K", "C", "newly failing", 1),
        ("KK", "KF", "newly failing", 1),
        ("F", "K", "changed reason", 0),
        ("K", "P", "newly passing", 0),
        ("PPPPPPPPK", "PKKKKKKKK", "failing more", 1),
    ],
)
def test_what_changed(before: str, after: str, kind: ChangeKind, exit_code: int) -> None:
    found = compared(before, after)
    assert [change.kind for change in found.changes] == [kind]
    assert found.exit_code == exit_code
    assert found.same == 0
    assert any(change.regression for change in found.changes) == (exit_code == 1)


@pytest.mark.parametrize(
    ("before", "after"),
    [("P", "P"), ("S", "S"), ("F", "F"), ("L", "L"), ("PFP", "FPF"), ("PFPFPF", "PFPPPP")],
)
def test_what_did_not_change(before: str, after: str) -> None:
    found = compared(before, after)
    assert (found.changes, found.same, found.exit_code) == ((), 1, 0)


def test_reasons_are_compared_without_their_numbers() -> None:
    was = run(probe("p/x", "F", "at 0x7f12 after 3.2 s"), probe("p/y", "S", "EINVAL"))
    now = run(probe("p/x", "F", "at 0x9a00 after 17 s"), probe("p/y", "S", "EOPNOTSUPP"))
    found = compare(was, now)
    assert [(change.name, change.kind) for change in found.changes] == [("p/y", "changed reason")]
    assert without_numbers("page ffff888012345678 in 2 of 3") == "page N in N of N"


def test_new_and_gone() -> None:
    found = compare(
        run(probe("p/old", "P"), probe("p/both", "P")),
        run(probe("p/both", "P"), probe("p/new", "P"), probe("p/bad", "F")),
    )
    assert [(c.name, c.kind, c.regression) for c in found.changes] == [
        ("p/new", "new", False),
        ("p/bad", "new", True),
        ("p/old", "gone", False),
    ]
    assert found.same == 1


def splat(title: str) -> Splat:
    return Splat(kind="warning", title=title, block=(title,), offset=0)


def test_new_splats_outside_of_probes() -> None:
    was = run(probe("p/x", "P"), splats=(splat("WARNING at mm/a.c:812"),))
    now = run(
        probe("p/x", "P"),
        splats=(splat("WARNING at mm/a.c:814"), splat("WARNING at mm/b.c:1")),
    )
    found = compare(was, now)
    assert found.splats == ("WARNING at mm/b.c:1",)
    assert found.exit_code == 1
    assert compare(now, was).exit_code == 0


def test_a_kernel_that_no_longer_builds() -> None:
    broken = run(verdict="ERROR", outcome=Outcome.NOT_COMPILED, reason="a.c:1: error: x")
    found = compare(run(probe("p/x", "P")), broken)
    assert (found.ended, found.exit_code) == ("a.c:1: error: x", 1)
    assert report.verdict(found) == "REGRESSION: a.c:1: error: x"
    with pytest.raises(RecordError, match="has no probes to compare with"):
        compare(broken, broken)


@pytest.mark.parametrize(
    "fields",
    [
        {"verdict": "CUT", "outcome": Outcome.CUT},
        {"verdict": "INTERRUPTED", "outcome": Outcome.INTERRUPTED},
        {"verdict": "ERROR", "outcome": Outcome.INFRASTRUCTURE},
    ],
)
def test_a_run_without_a_verdict_is_not_compared(fields: dict[str, str]) -> None:
    for records in ((run(probe("p/x", "P")), run(**fields)), (run(**fields), run())):
        with pytest.raises(RecordError, match="has no verdict to compare"):
            compare(*records)


def test_other_differences_are_reported() -> None:
    was = run(probe("p/x", "P"), image="a", machine=MachineSpec(hugepages=(), memory=1))
    now = msgspec.structs.replace(was, image="b", machine=MachineSpec(hugepages=(), memory=2))
    assert compare(was, now).differs == (
        "machine: huge pages, memory, CPUs or nodes",
        "guest image: a, b",
    )
    assert compare(was, was).differs == ()


def timed(times: dict[str, list[float]]) -> RunRecord:
    probes = [
        probe(name if not number else f"{name}#{number + 1}", "P", seconds=seconds)
        for name, all_seconds in times.items()
        for number, seconds in enumerate(all_seconds)
    ]
    return run(*probes)


def patched(record: RunRecord, *patches: str) -> RunRecord:
    """Return a run as one of a source with patches."""
    kernel = KernelSummary(
        release="6.12",
        key="k",
        source=SourceIdentity(spec="tree:x", kind="tree", origin="x", tree="t"),
        series=SeriesIdentity(
            spec="dir:x", patches=tuple(PatchIdentity(name=name, digest="d") for name in patches)
        ),
        config=ConfigIdentity(),
    )
    return msgspec.structs.replace(record, kernel=kernel)


@pytest.mark.parametrize(
    ("before", "after", "held"),
    [
        ("S", "P", True),
        ("F", "P", True),
        ("SF", "PP", True),
        ("P", "P", False),
        ("S", "S", False),
        ("SP", "PP", False),
        ("SS", "PF", False),
        ("C", "P", False),
    ],
)
def test_declared_transition(before: str, after: str, held: bool) -> None:
    one, two = (
        run(
            *(
                msgspec.structs.replace(each, without_series=("SKIP", "FAIL"))
                for each in repeated("p/x", letters)
            )
        )
        for letters in (before, after)
    )
    found = compare(patched(one), patched(two, "a.patch"))
    assert [each.held for each in found.transitions] == [held]
    text = "\n".join(report.lines(found, one, two))
    assert f"as declared without and with the series: {int(held)} of 1" in text
    assert ("declared: SKIP or FAIL -> PASS" in text) == (not held)
    # Only a source is compared with the same source plus patches.
    assert compare(patched(one, "a.patch"), patched(two, "a.patch")).transitions == ()
    assert compare(patched(one), patched(two)).transitions == ()


@pytest.mark.parametrize(
    ("reason", "held"), [("MADV_SPLIT: EINVAL", [False]), ("features 0x20000 are not offered", [])]
)
def test_a_probe_that_lacks_something_else_with_the_series_says_nothing_of_it(
    reason: str, held: list[bool]
) -> None:
    one, two = (
        run(msgspec.structs.replace(probe("p/x", "S", why), without_series=("SKIP",)))
        for why in ("MADV_SPLIT: EINVAL", reason)
    )
    found = compare(patched(one), patched(two, "a.patch"))
    assert [each.held for each in found.transitions] == held


STEADY = [1.0, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06]


def test_a_change_of_time_needs_repetitions() -> None:
    found = compare(timed({"p/x": [1.0, 1.1]}), timed({"p/x": [9.0, 9.1]}))
    assert found.times == ()
    assert found.notes == (
        "times: 2 repetitions are too few to compare the times of 1 probes; "
        "use --repeat 4 in both runs",
    )
    assert compare(timed({"p/x": [1.0]}), timed({"p/x": [9.0]})).notes == ()


def test_a_change_of_time_is_found() -> None:
    slower = [seconds * 1.5 for seconds in STEADY]
    found = compare(timed({"p/x": STEADY}), timed({"p/x": slower}))
    (change,) = found.times
    assert math.isclose(change.ratio, 1.5)
    assert change.p == pytest.approx(2 / math.comb(14, 7))
    assert found.exit_code == 0
    assert compare(timed({"p/x": STEADY}), timed({"p/x": STEADY[::-1]})).times == ()
    # Significant, but too small to report.
    little = [seconds * 1.07 for seconds in STEADY]
    assert compare(timed({"p/x": STEADY}), timed({"p/x": little})).times == ()


def test_a_busy_host_is_not_a_change_of_time() -> None:
    names = [f"p/{number}" for number in range(8)]
    was = timed(dict.fromkeys(names, STEADY))
    busy = {name: [seconds * 2 for seconds in STEADY] for name in names}
    found = compare(was, timed(busy))
    assert found.times == ()
    assert found.notes == ("times: divided by 2.00, the change that all probes have in common",)
    busy["p/3"] = [seconds * 3 for seconds in STEADY]
    (change,) = compare(was, timed(busy)).times
    assert change.name == "p/3"
    assert math.isclose(change.ratio, 1.5)


@pytest.mark.parametrize(
    ("counts", "chance"),
    # By hand from the hypergeometric distribution.
    [((0, 1, 1, 1), 1.0), ((0, 5, 5, 5), 2 / 252), ((0, 3, 1, 3), 1.0), ((1, 4, 4, 4), 1 / 7)],
)
def test_fisher(counts: tuple[int, int, int, int], chance: float) -> None:
    assert fisher(*counts) == pytest.approx(chance)


def test_rank_test() -> None:
    assert rank_test([1, 2, 3], [4, 5, 6]) == pytest.approx(2 / 20)
    assert rank_test([4, 5, 6], [1, 2, 3]) == pytest.approx(2 / 20)
    assert rank_test([1, 3, 5], [2, 4, 6]) == pytest.approx(14 / 20)
    assert rank_test([1, 1, 1], [1, 1, 1]) == 1.0


def test_repeats_needed() -> None:
    assert [repeats_needed(level) for level in (0.05, 0.01, 0.05 / 30)] == [4, 5, 7]


def test_repetitions_are_summarized() -> None:
    (found,) = summaries(repeated("p/x", "PSPF")).values()
    assert (found.status, found.reason) == ("FAIL", "it is FAIL")
    assert found.counts == {"PASS": 2, "SKIP": 1, "FAIL": 1}
    assert len(found.seconds) == 2


def test_table() -> None:
    was = run(probe("p/x", "S", "EINVAL"), probe("p/y", "P"), probe("p/z", "P"))
    now = run(probe("p/x", "P"), probe("p/y", "F", "got 1"), probe("p/z", "P"))
    text = "\n".join(report.lines(compare(was, now), was, now))
    assert "newly failing\n! p/y  PASS -> FAIL\n    got 1\n" in text
    assert "newly passing\n  p/x  SKIP -> PASS\n" in text
    assert text.endswith("REGRESSION: 1 newly failing, 1 newly passing, 1 as before")


def test_mail_is_fit_for_a_list() -> None:
    long = "a reason that goes on and on, " * 8
    was = run(
        probe("p/x", "S", long),
        command=("env", "-C", "/a b/hgm", "/c/hgm", "run", "--runs-dir", "x"),
    )
    now = run(probe("p/x", "P"), command=("/c/hgm", "run", "--probe", "p/*"))
    text = "\n".join(report.for_mail(compare(was, now), was, now, b""))
    assert all(len(line) <= 72 for line in text.splitlines())
    assert "Newly passing (1):\n\n- p/x: SKIP -> PASS\n" in text
    assert "No regression." in text
    assert text.endswith("  ./hgm run\n  ./hgm run --probe 'p/*'")
    assert "Tested-by" not in text
