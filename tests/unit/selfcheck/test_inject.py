# SPDX-License-Identifier: GPL-2.0-only
"""When the end of a run with an injected fault is right, when the fault comes, and the report."""

import struct
from typing import Any

import msgspec
import pytest

from harness.errors import INTERNAL, SpecError
from harness.records.machine import GuestOrigin
from harness.records.outcome import Outcome
from harness.records.probe import ProbeResult, Splat, Status
from harness.records.run import RunRecord
from harness.selfcheck.injection import actions, catalogue, observe, oracle, report, runner
from harness.selfcheck.injection.campaign import Injections
from harness.selfcheck.injection.catalogue import Moment
from harness.selfcheck.injection.oracle import AllowedEnd, Observation
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


def seen(found: RunRecord | None, **changes: Any) -> Observation:
    """Return a run that ended as its record says, with evidence for each PASS."""
    passed = [p.name for p in found.probes if p.status == "PASS"] if found is not None else []
    start = Observation(
        exit_code=found.exit_code if found is not None else 3,
        seconds=1.0,
        record=found,
        rejudged=dict.fromkeys(passed, "PASS"),
        exited=tuple(passed),
        last_line="the last line",
    )
    return msgspec.structs.replace(start, **changes)


RESTORED = GuestOrigin(how="restored")
BOOTED = GuestOrigin(how="booted", reason="could not be saved: no space left on the disk")
SAVED_AGAIN = GuestOrigin(
    how="restored",
    reason="memory0 is not what was saved; it was made again",
)
NOT_RESTORED = GuestOrigin(how="booted", reason="could not be restored: QEMU ended")


PASSED = record("PASS", 0, {"a": "PASS", "b": "SKIP"})
LOST = record("ERROR", 3, {"a": "PASS", "b": "LOST"})
CUT = record("CUT", 3, {"a": "PASS", "b": "LOST"})


@pytest.mark.parametrize(
    ("ends", "what"),
    [
        (oracle.PASSES, seen(PASSED)),
        (oracle.PASSES_WITH_JUMP, seen(PASSED, jump=86400.0)),
        (oracle.ERROR, seen(LOST, before={"a": "PASS"})),
        (oracle.PASSES_OR_ERROR, seen(PASSED)),
        (oracle.PASSES_OR_ERROR, seen(LOST)),
        (oracle.CONSOLE_GAP, seen(record("FAIL", 1, {"a": "FAIL"}, (GAP,)))),
        (oracle.CONSOLE_GAP, seen(PASSED, rejudged={})),  # a result from before the cut stands
        (oracle.DISK_FULL, seen(CUT)),
        (oracle.NOT_SAVED, seen(msgspec.structs.replace(PASSED, guests=(BOOTED,)))),
        (oracle.SAVED_AGAIN, seen(msgspec.structs.replace(PASSED, guests=(SAVED_AGAIN, RESTORED)))),
        (
            oracle.RESTORED_WITH_JUMP,
            seen(msgspec.structs.replace(PASSED, guests=(RESTORED,)), jump=86400.0),
        ),
        (oracle.NOT_RESTORED, seen(msgspec.structs.replace(PASSED, guests=(NOT_RESTORED,)))),
        (oracle.NOT_RESTORED, seen(LOST)),  # an error before a guest came to be
        (oracle.INTERRUPTED, seen(record("INTERRUPTED", 130, {"a": "LOST"}))),
        (oracle.KILLED, seen(CUT, exit_code=137, last_line="")),
    ],
)
def test_a_right_end_has_no_violation(ends: AllowedEnd, what: Observation) -> None:
    assert oracle.violations(ends, what) == ()


@pytest.mark.parametrize(
    ("ends", "what", "line"),
    [
        (oracle.ERROR, seen(LOST, exit_code=None), "it did not end within 1 s"),
        (oracle.ERROR, seen(PASSED), "exit code 0, not 3"),
        (oracle.ERROR, seen(PASSED), "verdict PASS, not ERROR"),
        (oracle.ERROR, seen(LOST, traceback=True), "it ended in a traceback"),
        (
            oracle.DISK_FULL,
            seen(LOST, last_line=f"hgm: {INTERNAL}: EOFError()"),
            f"{INTERNAL}: EOFError()",
        ),
        (oracle.ERROR, seen(LOST, last_line=""), "it printed nothing"),
        (oracle.PASSES_WITH_JUMP, seen(PASSED), "its clock did not jump, so nothing was tested"),
        *(
            (oracle.NOT_RESTORED, seen(each), oracle.untested(oracle.NOT_RESTORED))
            for each in (
                PASSED,
                msgspec.structs.replace(PASSED, guests=(RESTORED, RESTORED)),
                msgspec.structs.replace(PASSED, guests=(BOOTED,)),
                msgspec.structs.replace(LOST, guests=(RESTORED,)),
            )
        ),
        *(
            (ends, seen(msgspec.structs.replace(PASSED, guests=(other,))), oracle.untested(ends))
            for ends, other in (
                (oracle.SAVED_AGAIN, RESTORED),
                (oracle.NOT_SAVED, NOT_RESTORED),
                (oracle.RESTORED_WITH_JUMP, NOT_RESTORED),
            )
        ),
        (oracle.ERROR, seen(LOST, damaged="half a file"), "damaged: half a file"),
        (
            oracle.PASSES_OR_ERROR,
            seen(LOST, exit_code=0),
            "exit code 0, but 3 in the record",
        ),
        (
            oracle.PASSES_OR_ERROR,
            seen(LOST, exit_code=0),
            "exit code 0, but not every probe passed",
        ),
        (
            oracle.PASSES_OR_ERROR,
            seen(record("PASS", 0, {})),
            "exit code 0, but not every probe passed",
        ),
        (oracle.ERROR, seen(None, before={"a": "PASS"}), "1 results were lost with the record"),
        (
            oracle.ERROR,
            seen(LOST, before={"b": "PASS"}),
            "b was PASS before the fault and is LOST after it",
        ),
        (
            oracle.ERROR,
            seen(LOST, before={"c": "FAIL"}),
            "c was FAIL before the fault and is gone after it",
        ),
        (oracle.ERROR, seen(LOST, exited=()), "a is PASS without evidence that it ran"),
        (
            oracle.ERROR,
            seen(record("ERROR", 3, {"a": "KNOWN", "b": "LOST"})),
            "a is KNOWN without evidence that it ran",
        ),
        (oracle.ERROR, seen(LOST, rejudged={"a": "FAIL"}), "a is PASS, but its evidence says FAIL"),
        (oracle.ERROR, seen(LOST, rejudged={}), "a is PASS, but its evidence says nothing"),
        (
            oracle.CONSOLE_GAP,
            seen(record("FAIL", 1, {"a": "FAIL"}, (WARNING,))),
            "a is FAIL, which blames the kernel: ",
        ),
        (
            oracle.ERROR,
            seen(record("ERROR", 3, {"a": "FAIL"}, (GAP,))),
            "a is FAIL, which blames the kernel: ",
        ),
        (
            oracle.PASSES_OR_ERROR,
            seen(record("ERROR", 3, {"a": "HANG"})),
            "a is HANG, which blames the kernel: ",
        ),
        (oracle.ERROR, seen(LOST, processes=("qemu (1)",)), "left running: qemu (1)"),
        (oracle.ERROR, seen(LOST, mounts=("/mnt",)), "left mounted: /mnt"),
        (oracle.ERROR, seen(LOST, files=("/tmp/x",)), "left over: /tmp/x"),
    ],
)
def test_violations(ends: AllowedEnd, what: Observation, line: str) -> None:
    assert line in oracle.violations(ends, what)


GONE = "hgm: the scheduler at tcp://127.0.0.1:1 is gone, and 2 runs with it; start it and repeat"


def cell(step: str, stamp: str, found: RunRecord, **changes: Any) -> Observation:
    outcome = Outcome.PROBES_RAN if found.verdict == "PASS" else Outcome.INFRASTRUCTURE
    run_dir = f"/runs/matrix-m-0/{step}/{stamp}"
    return seen(msgspec.structs.replace(found, run_dir=run_dir, outcome=outcome), **changes)


def command(code: int, *runs: Observation, **changes: Any) -> Observation:
    """Return the end of a matrix with these runs."""
    return seen(None, exit_code=code, last_line=GONE, runs=runs, **changes)


def test_a_matrix_without_its_scheduler_keeps_its_results_and_is_continued() -> None:
    first = command(3, cell("a", "1", PASSED, before={"a": "PASS"}), cell("b", "2", LOST))
    assert oracle.violations(oracle.SCHEDULER_GONE, first) == ()
    again = command(0, *first.runs, cell("b", "3", PASSED))
    assert oracle.continued(first, again, 2) == ()


@pytest.mark.parametrize(
    ("what", "line"),
    [
        (command(1), "exit code 1, not 3"),
        (command(3, cell("b", "2", CUT)), "run 1: verdict CUT, not PASS or ERROR"),
        (
            command(3, cell("a", "1", LOST, before={"b": "PASS"})),
            "run 1: b was PASS before the fault and is LOST after it",
        ),
        (
            msgspec.structs.replace(command(3), last_line="hgm: the scheduler is gone"),
            "it does not say what happened: hgm: the scheduler is gone",
        ),
        (command(3, processes=("qemu (1)",)), "left running: qemu (1)"),
    ],
)
def test_violations_of_a_matrix(what: Observation, line: str) -> None:
    assert line in oracle.violations(oracle.SCHEDULER_GONE, what)


@pytest.mark.parametrize(
    ("code", "runs", "line"),
    [
        (3, (("a", "1"), ("b", "3")), "continued: exit code 3, not 0"),
        (0, (("b", "3"), ("a", "4")), "the result in /runs/matrix-m-0/a/1 was lost"),
        (
            0,
            (("a", "1"), ("a", "2"), ("b", "3")),
            "the cell a was run again although it had a result",
        ),
        (0, (("a", "1"),), "1 of 2 cells have a result after the matrix was continued"),
    ],
)
def test_violations_of_a_continued_matrix(
    code: int, runs: tuple[tuple[str, str], ...], line: str
) -> None:
    first = command(3, cell("a", "1", PASSED), cell("b", "2", LOST))
    again = command(code, *(cell(*each, PASSED) for each in runs))
    assert line in oracle.continued(first, again, 2)


def test_a_matrix_that_lost_no_cell_was_over() -> None:
    (fault,) = catalogue.select(("scheduler-killed",))
    cells = [cell(step, "1", PASSED) for step in "abc"]
    assert runner._was_over(command(0, *cells), fault)
    assert not runner._was_over(command(0, *cells[:2]), fault)
    assert not runner._was_over(command(3, *cells), fault)


def test_moments_are_the_same_for_the_same_seed_and_earlier_with_each_attempt() -> None:
    for fault in catalogue.FAULTS:
        for number in range(50):
            first = catalogue.moment(fault, 7, number, 0)
            assert first == catalogue.moment(fault, 7, number, 0)
            assert first.stage in fault.stages
            assert 0 <= first.probe < len(fault.probes) - (first.stage == "cell")
            assert catalogue.moment(fault, 7, number, 3).probe < len(catalogue.PROBES) - 3
    drawn = {catalogue.moment(catalogue.FAULTS[0], 7, number, 0).delay for number in range(50)}
    assert len(drawn) > 40
    assert catalogue.moment(catalogue.FAULTS[0], 8, 1, 0) != catalogue.moment(
        catalogue.FAULTS[0], 7, 1, 0
    )


def test_faults_are_chosen_by_name() -> None:
    assert catalogue.select(()) == catalogue.FAULTS
    assert [fault.name for fault in catalogue.select(("disk-full", "disk-full"))] == ["disk-full"]
    with pytest.raises(SpecError, match="unknown host fault 'disk'"):
        catalogue.select(("disk",))


@pytest.mark.parametrize(
    ("user", "mounted", "name", "lacks"),
    [
        (0, True, "disk-full", ""),
        (0, False, "disk-full", "chroot"),
        (0, False, "qemu-killed", ""),
        (1000, True, "snapshot-disk-full", "only root"),
        (1000, True, "qemu-killed", ""),
        (1000, False, "scheduler-killed", ""),
    ],
)
def test_a_fault_that_cannot_be_injected_here_is_not_run(
    monkeypatch: pytest.MonkeyPatch, user: int, mounted: bool, name: str, lacks: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr(actions, "_root_is_mount", lambda: mounted)
    why = catalogue.unmet(catalogue.select((name,))[0])
    assert lacks in why
    assert bool(why) == bool(lacks)


def answer(inode: int, attributes: bytes) -> bytes:
    body = struct.pack("=BBBBIII", 1, 1, 1, 0, inode, 0, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), 20, 2, 1, 0) + body


def test_peers_are_read_from_sock_diag() -> None:
    name = struct.pack("=HH", 7, 0) + b"abc\0"  # an attribute of another kind, padded
    peer = struct.pack("=HHI", 8, 2, 12)
    data = answer(11, name + peer) + answer(13, b"")
    assert actions.parse_peers(data) == ({11: 12}, False)
    done = struct.pack("=IHHII", 20, 3, 2, 1, 0) + bytes(4)
    assert actions.parse_peers(data + done) == ({11: 12}, True)


def row(number: int, result: Any, **changes: Any) -> Injection:
    when = Moment(stage="probe", probe=1, delay=0.1)
    start = Injection(number=number, fault="ssh-reset", moment=when, result=result, seconds=4.0)
    return msgspec.structs.replace(start, **changes)


def found(*rows: Injection, after: Any = "right") -> Injections:
    last = Injection(number=9, fault="none", result=after, verdict="PASS", exit_code=0)
    return Injections(seed=3, host="Linux", release="6.12", rows=rows, after=last, directory="d")


def test_the_report_counts_right_ends_and_names_wrong_ones() -> None:
    good = row(1, "right", verdict="ERROR", exit_code=3, kept=2)
    bad = row(2, "wrong", verdict="FAIL", exit_code=1, violations=("a is HANG",))
    text = list(report.lines(found(good, bad)))
    assert text[0] == "wrong    002 ssh-reset: a is HANG"
    assert text[1] == "ssh-reset  1 of 2 right; 1 ERROR (3), 1 FAIL (1)"
    assert text[-1] == "FAIL: 1 of 2 runs with a fault ended right, the run after them: PASS"
    page = report.page(found(good, bad))
    assert "`hgm selfcheck inject --count 2 --seed 3 --markdown`" in page
    assert "| 1 of 2 | 0 | 0 | 0 | 0 | 2 | 0 | 1 ERROR (3), 1 FAIL (1) | 2 | 4.0 |" in page
    assert "- 002 `ssh-reset`: a is HANG" in page


def test_the_report_does_not_miss_the_record_of_a_matrix() -> None:
    night = row(1, "right", exit_code=3, again=command(0))
    lines = list(report.lines(found(night, row(2, "wrong", exit_code=3))))
    assert lines[1] == "ssh-reset  1 of 2 right; 1 a matrix (3), 1 no record (3)"


def test_a_fault_that_was_not_injected_is_not_a_success() -> None:
    none = row(1, "not run", moment=None, violations=("only root can",))
    assert found(none).exit_code == 1
    assert "not run" in report.page(found(none))
    assert report.verdict_line(found(none)).startswith(
        "FAIL: 0 of 0 runs with a fault ended right, 1"
    )
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
def test_a_moment_is_drawn_again_only_if_the_run_had_all_its_results(
    name: str, before: dict[str, Status], jump: float, over: bool
) -> None:
    ended = seen(record("PASS", 0, {"a": "PASS"}), before=before, jump=jump)
    assert runner._was_over(ended, catalogue.select((name,))[0]) == over
    failed = seen(LOST, before={"a": "PASS"})
    assert not runner._was_over(failed, catalogue.select((name,))[0])


@pytest.mark.parametrize(
    ("stage", "guests", "more", "restored"),
    [
        ("restore", (RESTORED,), {}, True),
        ("restore", (NOT_RESTORED,), {}, False),
        ("restore", (), {}, False),
        ("restore", (RESTORED,), {"processes": ("qemu (1)",)}, False),  # what is wrong stays wrong
        ("probe", (RESTORED,), {}, False),
    ],
)
def test_a_moment_is_drawn_again_if_the_guest_was_restored_before(
    stage: Any, guests: tuple[GuestOrigin, ...], more: dict[str, Any], restored: bool
) -> None:
    (fault,) = catalogue.select(("restore-qemu-killed",))
    ended = seen(msgspec.structs.replace(LOST, guests=guests), **more)
    when = Moment(stage=stage, probe=0, delay=0.1)
    violations = oracle.violations(fault.allowed, ended)
    assert runner._was_restored(ended, fault, when, violations) == restored


def test_a_truncated_log_still_has_its_dates() -> None:
    line = b'{"time": 7.5, "event": "STOP"}\n'
    assert observe.dates(line + b'{"time": 8.0}\n' + line[:20]) == [7.5, 8.0]
    assert observe.dates(b"") == observe.dates(line[:-1]) == []
