# SPDX-License-Identifier: GPL-2.0-only
"""When a disturbed run's end is right, when its fault comes, and how it is told."""

import struct
from typing import Any

import msgspec
import pytest

from harness.errors import INTERNAL, SpecError
from harness.records.probe import ProbeResult, Splat, Status
from harness.records.run import RunRecord
from harness.selfcheck.injection import actions, catalogue, oracle, report, runner
from harness.selfcheck.injection.campaign import Injections
from harness.selfcheck.injection.catalogue import Moment
from harness.selfcheck.injection.oracle import Ends, Seen
from harness.selfcheck.injection.runner import Injection

GAP = Splat(kind="console-gap", title="bytes are missing", block=(), offset=0)
WARNING = Splat(kind="warning", title="WARNING", block=(), offset=0)


def record(
    verdict: Any, code: int, statuses: dict[str, Status], splats: tuple[Splat, ...] = ()
) -> RunRecord:
    probes = tuple(
        ProbeResult(name=name, status=status, splats=splats if status == "FAIL" else ())
        for name, status in statuses.items()
    )
    return RunRecord(verdict=verdict, exit_code=code, reason="why", probes=probes)


def seen(found: RunRecord | None, **changes: Any) -> Seen:
    """Return a run that ended as its record says, with evidence for each PASS."""
    passed = [p.name for p in found.probes if p.status == "PASS"] if found is not None else []
    start = Seen(
        exit_code=found.exit_code if found is not None else 3,
        seconds=1.0,
        record=found,
        again=dict.fromkeys(passed, "PASS"),
        evidence=tuple(passed),
        last_line="the last line",
    )
    return msgspec.structs.replace(start, **changes)


PASSED = record("PASS", 0, {"a": "PASS", "b": "SKIP"})
LOST = record("ERROR", 3, {"a": "PASS", "b": "LOST"})
CUT = record("CUT", 3, {"a": "PASS", "b": "LOST"})


@pytest.mark.parametrize(
    ("ends", "what"),
    [
        (oracle.UNMOVED, seen(PASSED)),
        (oracle.TIMELESS, seen(PASSED, jump=86400.0)),
        (oracle.FAILED, seen(LOST, before={"a": "PASS"})),
        (oracle.EITHER, seen(PASSED)),
        (oracle.EITHER, seen(LOST)),
        (oracle.HOLED, seen(record("FAIL", 1, {"a": "FAIL"}, (GAP,)))),
        (oracle.HOLED, seen(PASSED, again={})),  # a result from before the cut stands
        (oracle.UNWRITABLE, seen(CUT)),
        (oracle.INTERRUPTED, seen(record("INTERRUPTED", 130, {"a": "LOST"}))),
        (oracle.CUT, seen(CUT, exit_code=137, last_line="")),
    ],
)
def test_a_right_end_has_nothing_wrong(ends: Ends, what: Seen) -> None:
    assert oracle.wrongs(ends, what) == ()


@pytest.mark.parametrize(
    ("ends", "what", "line"),
    [
        (oracle.FAILED, seen(LOST, exit_code=None), "it did not end within 1 s"),
        (oracle.FAILED, seen(PASSED), "exit code 0, not 3"),
        (oracle.FAILED, seen(PASSED), "verdict PASS, not ERROR"),
        (oracle.FAILED, seen(LOST, traceback=True), "it ended in a traceback"),
        (
            oracle.UNWRITABLE,
            seen(LOST, last_line=f"hgm: {INTERNAL}: EOFError()"),
            f"{INTERNAL}: EOFError()",
        ),
        (oracle.FAILED, seen(LOST, last_line=""), "it said nothing"),
        (oracle.TIMELESS, seen(PASSED), "its clock did not jump, so nothing was shown"),
        (oracle.FAILED, seen(LOST, damaged="half a file"), "damaged: half a file"),
        (
            oracle.EITHER,
            seen(LOST, exit_code=0),
            "exit code 0, and 3 in the record",
        ),
        (oracle.EITHER, seen(LOST, exit_code=0), "exit code 0, and not every probe passed"),
        (oracle.EITHER, seen(record("PASS", 0, {})), "exit code 0, and not every probe passed"),
        (oracle.FAILED, seen(None, before={"a": "PASS"}), "1 results were lost with the record"),
        (oracle.FAILED, seen(LOST, before={"b": "PASS"}), "b was PASS before, and is LOST"),
        (oracle.FAILED, seen(LOST, before={"c": "FAIL"}), "c was FAIL before, and is gone"),
        (oracle.FAILED, seen(LOST, evidence=()), "a is PASS, without evidence that it ran"),
        (oracle.FAILED, seen(LOST, again={"a": "FAIL"}), "a is PASS, and its evidence says FAIL"),
        (oracle.FAILED, seen(LOST, again={}), "a is PASS, and its evidence says nothing"),
        (
            oracle.HOLED,
            seen(record("FAIL", 1, {"a": "FAIL"}, (WARNING,))),
            "a is FAIL, through no fault of its own: ",
        ),
        (
            oracle.FAILED,
            seen(record("ERROR", 3, {"a": "FAIL"}, (GAP,))),
            "a is FAIL, through no fault of its own: ",
        ),
        (
            oracle.EITHER,
            seen(record("ERROR", 3, {"a": "HANG"})),
            "a is HANG, through no fault of its own: ",
        ),
        (oracle.FAILED, seen(LOST, processes=("qemu (1)",)), "left running: qemu (1)"),
        (oracle.FAILED, seen(LOST, mounts=("/mnt",)), "left mounted: /mnt"),
        (oracle.FAILED, seen(LOST, files=("/tmp/x",)), "left behind: /tmp/x"),
    ],
)
def test_a_wrong_end_is_told(ends: Ends, what: Seen, line: str) -> None:
    assert line in oracle.wrongs(ends, what)


def test_moments_are_the_same_for_the_same_seed_and_earlier_with_each_attempt() -> None:
    for kind in catalogue.KINDS:
        for number in range(50):
            first = catalogue.moment(kind, 7, number, 0)
            assert first == catalogue.moment(kind, 7, number, 0)
            assert first.stage in kind.stages
            assert 0 <= first.probe < len(catalogue.PROBES)
            assert catalogue.moment(kind, 7, number, 3).probe < len(catalogue.PROBES) - 3
    drawn = {catalogue.moment(catalogue.KINDS[0], 7, number, 0).delay for number in range(50)}
    assert len(drawn) > 40
    assert catalogue.moment(catalogue.KINDS[0], 8, 1, 0) != catalogue.moment(
        catalogue.KINDS[0], 7, 1, 0
    )


def test_faults_are_chosen_by_name() -> None:
    assert catalogue.select(()) == catalogue.KINDS
    assert [kind.name for kind in catalogue.select(("disk-full", "disk-full"))] == ["disk-full"]
    with pytest.raises(SpecError, match="'disk' is no fault"):
        catalogue.select(("disk",))


@pytest.mark.parametrize(
    ("root", "name", "lacks"),
    [(True, "disk-full", False), (False, "disk-full", True), (False, "qemu-killed", False)],
)
def test_what_needs_root_is_not_run_without(
    monkeypatch: pytest.MonkeyPatch, root: bool, name: str, lacks: bool
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0 if root else 1000)
    assert bool(catalogue.unmet(catalogue.select((name,))[0])) == lacks


def answer(inode: int, attributes: bytes) -> bytes:
    body = struct.pack("=BBBBIII", 1, 1, 1, 0, inode, 0, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), 20, 2, 1, 0) + body


def test_peers_are_read_from_what_the_kernel_answers() -> None:
    name = struct.pack("=HH", 7, 0) + b"abc\0"  # an attribute of another kind, padded
    peer = struct.pack("=HHI", 8, 2, 12)
    data = answer(11, name + peer) + answer(13, b"")
    assert actions.parse_peers(data) == ({11: 12}, False)
    done = struct.pack("=IHHII", 20, 3, 2, 1, 0) + bytes(4)
    assert actions.parse_peers(data + done) == ({11: 12}, True)


def row(number: int, outcome: Any, **changes: Any) -> Injection:
    when = Moment(stage="probe", probe=1, delay=0.1)
    start = Injection(number=number, kind="ssh-reset", moment=when, outcome=outcome, seconds=4.0)
    return msgspec.structs.replace(start, **changes)


def found(*rows: Injection, after: Any = "right") -> Injections:
    last = Injection(number=9, kind="none", outcome=after, verdict="PASS", exit_code=0)
    return Injections(seed=3, host="Linux", release="6.12", rows=rows, after=last, directory="d")


def test_the_report_counts_what_was_right_and_names_what_was_not() -> None:
    good = row(1, "right", verdict="ERROR", exit_code=3, kept=2)
    bad = row(2, "wrong", verdict="FAIL", exit_code=1, wrong=("a is HANG",))
    text = list(report.lines(found(good, bad)))
    assert text[0] == "wrong    002 ssh-reset: a is HANG"
    assert text[1] == "ssh-reset  1 of 2 right; 1 ERROR (3), 1 FAIL (1)"
    assert text[-1] == "FAIL: 1 of 2 disturbed runs ended right, the run after them: PASS"
    page = report.markdown(found(good, bad))
    assert "`hgm selfcheck inject --count 2 --seed 3 --markdown`" in page
    assert "| 1 of 2 | 0 | 0 | 2 | 1 ERROR (3), 1 FAIL (1) | 2 | 4.0 |" in page
    assert "- 002 `ssh-reset`: a is HANG" in page


def test_what_was_not_run_is_no_success() -> None:
    none = row(1, "not run", moment=None, wrong=("only root can",))
    assert found(none).exit_code == 1
    assert "not run" in report.markdown(found(none))
    assert report.verdict_line(found(none)).startswith("FAIL: 0 of 0 disturbed runs ended right, 1")
    assert found(row(1, "right")).exit_code == 0
    assert found(row(1, "right"), after="wrong").exit_code == 1


@pytest.mark.parametrize(
    ("name", "before", "jump", "over"),
    [
        ("qemu-killed", {"a": "PASS"}, 0.0, True),
        ("qemu-killed", {}, 0.0, False),  # a PASS after the fault is judged, and never drawn again
        ("harness-sigkill", {"a": "PASS"}, 0.0, True),
        ("qemu-paused", {"a": "PASS"}, 0.0, False),
        ("clock-back", {"a": "PASS"}, 0.0, True),
        ("clock-back", {"a": "PASS"}, -3600.0, False),
        ("clock-back", {}, 0.0, False),
    ],
)
def test_a_moment_is_drawn_again_only_where_the_run_had_all_its_results(
    name: str, before: dict[str, Status], jump: float, over: bool
) -> None:
    ended = seen(record("PASS", 0, {"a": "PASS"}), before=before, jump=jump)
    assert runner._was_over(ended, catalogue.select((name,))[0]) == over
    failed = seen(LOST, before={"a": "PASS"})
    assert not runner._was_over(failed, catalogue.select((name,))[0])


def test_a_log_that_a_full_disk_cut_still_has_its_dates() -> None:
    line = b'{"time": 7.5, "event": "STOP"}\n'
    assert runner.dates(line + b'{"time": 8.0}\n' + line[:20]) == [7.5, 8.0]
    assert runner.dates(b"") == runner.dates(line[:-1]) == []
